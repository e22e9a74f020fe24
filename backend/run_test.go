package backend

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"sliod/tape/virtual"
)

// busyClock is a clock that stands still but for what the devices of a library take, which it adds
// up, and what a test lets pass.
type busyClock struct {
	mu   sync.Mutex
	now  time.Time
	busy time.Duration
	fast time.Time // since when it goes a thousand times as fast as it should; zero: it stands still
}

func (c *busyClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.fast.IsZero() {
		return c.now.Add(1000 * time.Since(c.fast))
	}
	return c.now
}

// stop has it stand still from now on.
func (c *busyClock) stop() {
	now := c.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.fast = now, time.Time{}
}

func (c *busyClock) Sleep(_ context.Context, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy += d
	c.now = c.now.Add(d)
}

func (c *busyClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *busyClock) taken() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.busy
}

// trickle writes files one after the other as a program does that makes one now and then, and
// returns what it took to archive them: batches, and the time of the library's devices.
func trickle(t *testing.T, runBytes int64) (batches int64, busy time.Duration) {
	clock := &busyClock{now: time.Unix(1e9, 0), fast: time.Now()} // while the volume is fetched
	w := newWorld(t, func(o *Options, c *virtual.Config) {
		o.ArchiveIdle, o.SyncInterval, o.RunBytes, o.RunWait = 1, 20*time.Millisecond, runBytes, time.Hour
		o.Mover.Linger, o.Mover.IndexIdle = time.Hour, time.Hour
		c.Speed, c.Clock = 1, clock
	})
	w.putAt("/first", []byte("has the volume formatted and mounted"))
	w.job(JobArchive, "/")
	clock.stop()
	before, start := clock.taken(), w.fs.mover.Status().Stats.Batches
	const n = 24
	for i := range n {
		w.putAt(fmt.Sprintf("/f%d", i), make([]byte, 1<<20))
		if runBytes == 0 {
			eventually(t, "it is on tape", func() bool { return w.state(fmt.Sprintf("/f%d", i)) == string(Premigrated) })
		}
		clock.pass(10 * time.Second)
	}
	if runBytes > 0 {
		// How many files the first run has is by chance: what comes behind it may be no run, and waits. The job is not
		// waited for: it ends when attributes that changed meanwhile are on tape too, with the next index in an hour.
		if _, err := w.fs.StartJob(JobArchive, []string{"/"}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all is on tape", func() bool {
		for i := range n {
			if w.state(fmt.Sprintf("/f%d", i)) != string(Premigrated) {
				return false
			}
		}
		return true
	})
	return w.fs.mover.Status().Stats.Batches - start, clock.taken() - before
}

// TestRuns: what comes little by little is archived in runs, which takes the library less time.
func TestRuns(t *testing.T) {
	b0, t0 := trickle(t, 0)
	b1, t1 := trickle(t, 12<<20)
	t.Logf("as it comes: %d batches, %v of the library; in runs of 12 MiB: %d batches, %v", b0, t0.Round(time.Second/10), b1, t1.Round(time.Second/10))
	// How many files are in the first run, and which batches the rest is in, is by chance.
	if b1 >= b0 || t1 >= t0 {
		t.Errorf("runs cost no less")
	}
}

// TestRunWaits: what is no run waits, and for no longer than it may; a command does not wait.
func TestRunWaits(t *testing.T) {
	w := newWorld(t, func(o *Options, _ *virtual.Config) { o.ArchiveIdle, o.RunBytes, o.RunWait = 1, 2<<20, time.Hour })
	onTape := func(p string) bool { return w.state(p) == string(Premigrated) }
	w.putAt("/a", []byte("little"))
	if err := w.fs.syncAll(); err != nil {
		t.Fatal(err)
	}
	w.fs.archivePending(t.Context(), false)
	w.fs.archivePending(t.Context(), false)
	if w.fs.mover.Status().Archive != 0 || onTape("/a") {
		t.Fatal("a few bytes were archived at once")
	}
	w.job(JobArchive, "/a")
	w.putAt("/b", []byte("little"))
	w.fs.opts.RunWait = 0
	w.fs.archivePending(t.Context(), false)
	eventually(t, "what has waited is on tape", func() bool { return onTape("/b") })
	w.fs.opts.RunWait = time.Hour
	eventually(t, "nothing is under way", func() bool { return !w.fs.pending.isBusy("default") })
	w.putAt("/c", make([]byte, 1<<20))
	w.fs.archivePending(t.Context(), false)
	if w.fs.mover.Status().Archive != 0 || onTape("/c") {
		t.Fatal("less than a run was archived at once")
	}
	w.putAt("/d", make([]byte, 1<<20))
	w.fs.archivePending(t.Context(), false)
	eventually(t, "a run is on tape", func() bool { return onTape("/c") && onTape("/d") })
	w.putAt("/e", []byte("little"))
	w.fs.archivePending(t.Context(), true)
	eventually(t, "what a short cache needs is on tape", func() bool { return onTape("/e") })
}
