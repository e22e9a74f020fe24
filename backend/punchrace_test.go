package backend

import (
	"testing"
	"time"

	"sliod/backend/catalog"
)

// The tape brings a sliver with a write that waited behind the end of the file while that is being punched up to its end: the
// write was answered, and nobody has asked for its bytes to go.
func TestPunchToEndAndMergedWrite(t *testing.T) {
	for _, from := range []uint64{0, mib} {
		w := newWorld(t, oneDrive)
		want := pattern(1, mib+mib/2)
		w.archived("f", want)
		f, done := w.openFile("f")
		g := w.holdRead(1)
		late := w.writeReq(f, mib+700<<10, pattern(2, 4096)).mustPark()
		g.wait()
		// The punch has looked at the file and waits for the catalog.
		in, out := make(chan struct{}), make(chan struct{})
		go w.fs.cat.Update(func(*catalog.Tx) error {
			close(in)
			<-out
			return nil
		})
		<-in
		punch := make(chan error)
		go func() { punch <- allocate(f, punchHole, from, mib+mib/2-from) }()
		ino := f.(*file).ino
		eventually(t, "the punch has the file", func() bool {
			if ino.mu.TryLock() {
				ino.mu.Unlock()
				return false
			}
			return true
		})
		time.Sleep(10 * time.Millisecond) // for its look at the size; if that comes later, nothing is tested
		g.release()
		late.wantWrote(4096)
		close(out)
		if err := <-punch; err != nil {
			t.Fatal(err)
		}
		end := mib + 700<<10 + 4096
		want = append(want, make([]byte, end-len(want))...)
		want = overlay(punched(want, int(from), mib+mib/2-int(from)), mib+700<<10, pattern(2, 4096))
		w.wantContent("f", want)
		done()
		w.restart()
		w.wantContent("f", want)
		w.job(JobArchive, "/f")
		w.job(JobEvict, "/f")
		w.wantContent("f", want)
		w.quiet()
	}
}
