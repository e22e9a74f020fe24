package mover

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
	"sliod/tape/schedule"
	"sliod/tape/virtual"
)

// parkAs parks a reader of a class on a sliver. Its waker tells done the key.
func (r *rig) parkAs(k sliver.Key, class vfs.Class, done func(sliver.Key)) *vfs.Waiter {
	r.t.Helper()
	w := &vfs.Waiter{Class: class, Waker: wakeFunc(func(error) { done(k) })}
	r.tree.mu.Lock()
	defer r.tree.mu.Unlock()
	if _, err := r.cache.Read(k, r.behind(k), 0, 1, w); err != vfs.ErrParked {
		r.t.Fatalf("read of sliver %v: %v", k, err)
	}
	return w
}

type wakeFunc func(error)

func (f wakeFunc) Wake(_ int, err error) { f(err) }

// TestClientGoesBeforeABulkJob: on one volume, a sliver that a client comes to want is
// read before the rest of a job that wants it as well, and no longer when the client has gone.
func TestClientGoesBeforeABulkJob(t *testing.T) {
	r := newRig(t, setup{cfg: Config{ReadAhead: -1}})
	f := r.fill(1, 8*mib)[0]
	r.archive(f)
	r.evict(f)
	release := r.lib.Hang(0)
	var mu sync.Mutex
	var order []sliver.No
	var all sync.WaitGroup
	done := func(k sliver.Key) {
		mu.Lock()
		order = append(order, k.No)
		mu.Unlock()
		all.Done()
	}
	all.Add(8)
	r.parkAs(keyOf(f, 0), vfs.Bulk, done)
	r.eventually("the drive reads", func(s Status) bool { return s.Drives[0].State == "reading" })
	for no := sliver.No(1); no < 8; no++ {
		r.parkAs(keyOf(f, no), vfs.Bulk, done)
	}
	classOf := func(no sliver.No, class schedule.Class) func(Status) bool {
		return func(Status) bool {
			r.m.mu.Lock()
			defer r.m.mu.Unlock()
			rc := r.m.recalls[keyOf(f, no)]
			return rc != nil && rc.state == queued && rc.class == class
		}
	}
	for no := sliver.No(1); no < 8; no++ {
		r.eventually("all are queued", classOf(no, schedule.Bulk))
	}
	all.Add(2)
	r.parkAs(keyOf(f, 6), vfs.Client, func(sliver.Key) { all.Done() })
	gone := r.parkAs(keyOf(f, 5), vfs.Client, done)
	r.eventually("the client's sliver is raised", classOf(6, schedule.Client))
	r.eventually("the client's sliver is raised", classOf(5, schedule.Client))
	if !r.cache.Cancel(gone) {
		t.Fatal("it was not parked")
	}
	all.Done()
	r.eventually("it is lowered again", classOf(5, schedule.Bulk))
	release()
	all.Wait()
	// The bulk job goes on along the tape: from where the client's sliver is, or with what it was at.
	want := [][]sliver.No{{0, 6, 7, 1, 2, 3, 4, 5}, {0, 6, 1, 2, 3, 4, 5, 7}}
	if !slices.ContainsFunc(want, func(w []sliver.No) bool { return slices.Equal(order, w) }) {
		t.Errorf("read in the order %v, want one of %v", order, want)
	}
}

// TestShares: how many drives may do what is a share of them, of at least one.
func TestShares(t *testing.T) {
	for _, x := range []struct {
		of      float64
		n, want int
	}{{0.5, 1, 1}, {0.5, 2, 1}, {0.5, 3, 1}, {0.5, 4, 2}, {1, 3, 3}, {0.1, 4, 1}, {0.75, 4, 3}, {0.7, 10, 7}} {
		if got := schedule.Share(x.of, x.n); got != x.want {
			t.Errorf("%v of %d drives: %d, want %d", x.of, x.n, got, x.want)
		}
	}
}

// TestReadShareLeavesADriveToWriting: with two drives that are wanted for recalls and
// for archiving, and a read share of one, both kinds of work are under way at once; without
// archive work both drives recall.
func TestReadShareLeavesADriveToWriting(t *testing.T) {
	r := newRig(t, setup{drives: 2, slots: 6, cfg: Config{RecallDrives: 1, ArchiveDrives: 1}})
	m := r.m
	m.mu.Lock()
	defer m.mu.Unlock()
	a, b := m.drives[0], m.drives[1]
	if !m.mayRecallLocked(a) || !m.mayRecallLocked(b) {
		t.Error("without archive work a drive may not recall")
	}
	m.enqueueLocked(&archiveItem{file: 7})
	defer m.drainLocked(newContent)
	b.recalling = true
	defer func() { b.recalling = false }()
	if m.mayRecallLocked(a) || !m.mayRecallLocked(b) {
		t.Error("both drives may recall while there is archive work")
	}
	b.recalling, b.archiving = false, true
	defer func() { b.archiving = false }()
	if !m.mayRecallLocked(a) {
		t.Error("a drive may not recall though the other one archives")
	}
}

// TestNoScratchMeanwhile: what comes while a volume gets its index, or is on its way home, goes to that volume, and not
// with another drive to another one.
func TestNoScratchMeanwhile(t *testing.T) {
	for job, cfg := range map[string]Config{
		"index":   {IndexInterval: time.Nanosecond},
		"unmount": {Linger: time.Nanosecond},
	} {
		t.Run(job, func(t *testing.T) {
			cfg.ArchiveDrives = 1
			r := newRig(t, setup{drives: 2, cfg: cfg})
			fs := r.fill(2, mib)
			at, goOn := make(chan struct{}), make(chan struct{})
			held := atomic.Bool{}
			r.lib.Hook(func(e virtual.Event) {
				if e.Opcode == opWrite && e.Device >= 0 && strings.HasPrefix(r.m.Status().Drives[e.Device].Job, job) && held.CompareAndSwap(false, true) {
					close(at)
					<-goOn
				}
			})
			r.archive(fs[0])
			<-at
			done := make(chan struct{})
			go func() {
				r.archive(fs[1])
				close(done)
			}()
			r.eventually("the second file is queued", func(s Status) bool { return s.Archive == 1 })
			close(goOn)
			<-done
			used := 0
			for _, v := range r.m.Status().Volumes {
				if v.Used > 0 {
					used++
				}
			}
			if used != 1 {
				t.Errorf("%d volumes are used", used)
			}
		})
	}
}
