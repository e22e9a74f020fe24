package backend

import (
	"bytes"
	"sync"
	"testing"
	"time"

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

// TestArchivedTwiceAtOnce: whoever has a file archived that is being archived just now is not told that it is on tape before
// it is.
func TestArchivedTwiceAtOnce(t *testing.T) {
	w := newWorld(t, oneDrive)
	w.premigrated("f", pattern(1, 3*mib))
	want := pattern(2, 3*mib)
	f, done := w.openFile("f")
	w.write(f, 0, want) // and not synced: of its attributes nothing has to go to tape
	done()
	writes, flushes := make(chan struct{}), make(chan struct{}) // each time the drive stands there, and goes on
	stop := func(c chan struct{}, once *sync.Once) {
		once.Do(func() {
			c <- struct{}{}
			<-c
		})
	}
	var write, flush sync.Once
	w.lib.Hook(func(e virtual.Event) {
		switch {
		case at(opWrite6, false)(e):
			stop(writes, &write)
		case at(opFilemarks6, false)(e):
			stop(flushes, &flush)
		}
	})
	begin := func() *job {
		id, err := w.fs.StartJob(JobArchive, []string{"/f"})
		if err != nil {
			t.Fatal(err)
		}
		return w.fs.jobs.find(id)
	}
	jobs := []*job{begin()}
	soon(t, writes, "nothing is written")
	jobs = append(jobs, begin())
	eventually(t, "the second one waits", func() bool { return w.fs.mover.Status().Archive > 0 })
	writes <- struct{}{}
	soon(t, flushes, "nothing is flushed")
	select {
	case <-jobs[0].finished:
		t.Error("the first job is done before the flush")
	case <-jobs[1].finished:
		t.Error("the second job is done before the flush")
	case <-time.After(100 * time.Millisecond): // that something does not happen
	}
	flushes <- struct{}{}
	for _, j := range jobs {
		soon(t, j.finished, "a job does not end")
		if s := j.status(); s.State != "done" {
			t.Errorf("%+v", s)
		}
	}
	w.job(JobEvict, "/f")
	w.wantContent("f", want)
}
