package backend

import (
	"slices"
	"sync"
	"testing"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/vfs"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// askGate counts what it is asked, and lets through what it may.
type askGate struct {
	mu    sync.Mutex
	asked []int64
	err   error
}

func (g *askGate) Recall(_ uint64, bytes int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, bytes)
	return g.err
}

func (g *askGate) wants(t *testing.T, want ...int64) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.Equal(g.asked, want) {
		t.Errorf("asked for %d, want %d", g.asked, want)
	}
	g.asked = nil
}

// TestGate: who has a gate asks it before a fault, for the bytes that come from tape, and
// not for what is in the cache, on its way, or replaced. A refusal changes nothing.
func TestGate(t *testing.T) {
	w := newWorld(t, func(o *Options, c *virtual.Config) { c.Drives = 1; o.Mover.ReadAhead = 2 })
	old := pattern(1, 5*mib+1000)
	w.archived("f", old)
	w.archived("other", pattern(4, 1000))
	w.job(JobEvict, "/")
	g := &askGate{err: linux.EAGAIN}
	cred := &vfs.Cred{Recalls: g}
	n := w.node("/f")
	defer n.Release()
	f, err := n.Open(cred, openReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	refused := func(err error) {
		t.Helper()
		if err != linux.EAGAIN {
			t.Errorf("got %v, want EAGAIN", err)
		}
		if s := w.fs.Status(); s.Faults != 0 || s.Parked != 0 {
			t.Errorf("something is queued: %+v", s)
		}
	}
	_, err = f.ReadAt(10, 5, &newWaiter().Waiter)
	refused(err)
	g.wants(t, 3*mib) // with what is read ahead
	_, err = f.WriteAt(4*mib+7, []byte("abc"), &newWaiter().Waiter)
	refused(err)
	g.wants(t, mib+1000)
	_, err = f.(vfs.Extended).Allocate(vfs.ZeroRange, 7, 5, &newWaiter().Waiter)
	refused(err)
	g.wants(t, 3*mib)
	// A write over a whole sliver needs no fault, one to the end of the file as well.
	w.write(f, mib, pattern(2, mib))
	copy(old[mib:], pattern(2, mib))
	w.write(f, 5*mib, pattern(3, 1000))
	copy(old[5*mib:], pattern(3, 1000))
	g.wants(t)

	// Somebody else has asked: it is on its way.
	stand := w.hold(at(scsi.OpRead6, false))
	plain, done := w.openFile("/f")
	defer done()
	first := w.readReq(plain, 0, 100)
	stand.wait()
	done0 := w.fs.Status().FaultsDone
	second := w.readReq(f, 50, 100) // what is read ahead for the first one is on its way as well
	g.wants(t)
	third := w.readReq(f, 2*mib+50, 100)
	g.wants(t, 2*mib) // for read-ahead alone, and refused
	if !first.parked || !second.parked || !third.parked {
		t.Fatal("not parked")
	}
	stand.release()
	first.wantRead(old[:100])
	second.wantRead(old[50:150])
	third.wantRead(old[2*mib+50 : 2*mib+150])
	w.quiet()
	eventually(t, "those two that were read came from tape", func() bool { return w.fs.Status().FaultsDone == done0+2 })

	// Two wait for what the drive has not begun to read: the first one has asked for what follows.
	stand = w.hold(at(scsi.OpRead6, false))
	other, done := w.openFile("/other")
	defer done()
	first = w.readReq(other, 0, 1000)
	stand.wait()
	g.err = nil
	second = w.readReq(f, 3*mib, 100)
	g.wants(t, 2*mib)
	third = w.readReq(f, 3*mib+100, 100)
	g.wants(t)
	g.err = linux.EAGAIN
	stand.release()
	first.wantRead(pattern(4, 1000))
	second.wantRead(old[3*mib : 3*mib+100])
	third.wantRead(old[3*mib+100 : 3*mib+200])
	w.quiet()

	// On purpose: the command and the attribute.
	if err := n.SetXattr(cred, "user.sliod.recall", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is in the cache", func() bool { return w.state("/f") == string(Resident) })
	g.wants(t)
	w.wantContent("f", old)

	// And with leave.
	g.err = nil
	w.job(JobArchive, "/")
	w.job(JobEvict, "/")
	if got := w.read(f, 0, len(old)); !slices.Equal(got, old) {
		t.Error("content differs")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	sum := int64(0)
	for _, n := range g.asked {
		sum += n
	}
	// One who waits for what is on its way may be too late for read-ahead, and is asked all the same.
	if sum < int64(len(old)) || sum > int64(2*len(old)) {
		t.Errorf("%d bytes were read, the gate was asked for %d", len(old), g.asked)
	}
}
