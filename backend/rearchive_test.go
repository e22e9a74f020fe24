package backend

import (
	"bytes"
	"testing"

	"sliod/backend/sliver"
	"sliod/tape/virtual"
)

// TestWrittenWhileArchived: what is written while a file is on its way to tape is archived after
// it, and what was written of the old content to tape is dead: nothing is a mixture of both.
func TestWrittenWhileArchived(t *testing.T) {
	for _, stop := range []struct {
		name   string
		opcode byte
		after  bool
	}{{"before a record", opWrite6, false}, {"after a record", opWrite6, true}, {"before the flush", opFilemarks6, false}, {"after the flush", opFilemarks6, true}} {
		t.Run(stop.name, func(t *testing.T) {
			w := newWorld(t, oneDrive, func(_ *Options, c *virtual.Config) { c.Slots = 3 })
			w.premigrated("first", []byte("so that the volume is mounted"))
			old := bytes.Repeat([]byte("old "), 3<<18)
			w.put("f", old)
			g := w.hold(at(stop.opcode, stop.after))
			id, err := w.fs.StartJob(JobArchive, []string{"/f"})
			if err != nil {
				t.Fatal(err)
			}
			g.wait()
			fresh := bytes.Clone(old)
			f, done := w.openFile("/f")
			for no := range 3 {
				copy(fresh[no<<20+5:], "NEW CONTENT")
				w.write(f, uint64(no<<20+5), []byte("NEW CONTENT"))
			}
			done()
			g.release()
			w.fs.jobs.mu.Lock()
			j := w.fs.jobs.m[id]
			w.fs.jobs.mu.Unlock()
			<-j.finished
			if s := j.status(); s.State != "done" {
				t.Fatalf("%+v", s)
			}
			ino := w.inode("/f")
			if !w.fs.pending.has(ino.id) {
				t.Error("the file is not pending")
			}
			w.audit()
			// What is on tape of it is old or new as a whole.
			for no := range sliver.No(3) {
				if len(w.copiesOf("/f", no)) > 0 && w.fs.cache.DirtySlivers(ino.id) == nil {
					t.Errorf("sliver %d is on tape, and none is dirty", no)
				}
			}
			w.wantContent("/f", fresh)
			w.job(JobArchive, "/f")
			w.job(JobEvict, "/f")
			w.wantContent("/f", fresh)
			w.audit()
			if w.fs.pending.has(ino.id) {
				t.Error("the file is pending still")
			}
		})
	}
}
