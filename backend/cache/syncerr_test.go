package cache

import (
	"bytes"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"sliod/backend/sliver"
)

// badDisk is an arena of which one sync fails, as when the kernel could not write a page of
// anybody's; and what was written again since.
type badDisk struct {
	mu    sync.Mutex
	fails int // syncs that are to fail
	again map[int64]int
}

func breakDisk(c *Cache) *badDisk {
	b := &badDisk{again: map[int64]int{}}
	c.st.arena.fail = func(op string, off, _ int64) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch {
		case op == "write again":
			b.again[off]++
		case op == "sync" && b.fails > 0:
			b.fails--
			return unix.EIO
		}
		return nil
	}
	return b
}

// failSync has the sync of a file of its own be told of the failure.
func (b *badDisk) failSync(t *testing.T, c *Cache) {
	t.Helper()
	w := newAnswer()
	if _, err := c.Write(sliver.Key{File: 99}, hole, 0, pattern(9, 5000), &w.Waiter); err != nil {
		t.Fatal(err)
	}
	b.fails = 1
	if _, err := c.SyncFile(99); err == nil || b.fails != 0 {
		t.Fatal("the sync has not failed")
	}
}

func (c *Cache) slotOf(k sliver.Key) *slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lookup(k).slot
}

// wantSynced syncs a file of one sliver, and says whether it was written again.
func (b *badDisk) wantSynced(t *testing.T, c *Cache, k sliver.Key, again bool) {
	t.Helper()
	refs, err := c.SyncFile(k.File)
	if err != nil || len(refs) != 1 {
		t.Fatal(refs, err)
	}
	if n := b.again[c.slotOf(k).off()]; n > 0 != again {
		t.Fatalf("sliver %v was written again %d times, want %v", k, n, again)
	}
}

// The kernel tells one of all who sync that a page was not written, and takes it for clean. Another
// file's next sync is believed only if it writes its pages again.
func TestSyncErrorIsToldToAnother(t *testing.T) {
	c, r := open(t)
	b := breakDisk(c)
	w := newAnswer()
	dirty, staged, later := sliver.Key{File: 6}, sliver.Key{File: 7}, sliver.Key{File: 8}
	if _, err := c.Write(dirty, hole, 0, pattern(1, 3000), &w.Waiter); err != nil {
		t.Fatal(err)
	}
	parkWrite(t, c, staged, absent(1000), 500, pattern(2, 100))
	b.failSync(t, c)
	deliver(t, c, staged, r.lastFault(), pattern(3, 1000))
	if _, err := c.Write(later, hole, 0, pattern(4, 3000), &w.Waiter); err != nil {
		t.Fatal(err)
	}
	b.wantSynced(t, c, dirty, true)
	b.wantSynced(t, c, staged, true)
	b.wantSynced(t, c, later, false)
	b.wantSynced(t, c, dirty, true)
	if n := b.again[c.slotOf(dirty).off()]; n != 1 {
		t.Fatalf("written again %d times after one failure", n)
	}
}

// The page may be that of a clean sliver: it is compared before it is read, and written again.
func TestSyncErrorOfCleanSliver(t *testing.T) {
	c, r := open(t)
	b := breakDisk(c)
	clean := func(f sliver.FileID) sliver.Key {
		k := sliver.Key{File: f}
		parkRead(t, c, k, absent(5000))
		deliver(t, c, k, r.lastFault(), pattern(5, 5000))
		return k
	}
	lost, good, copied, faulting := clean(20), clean(21), clean(22), sliver.Key{File: 23}
	archived := sliver.Key{File: 24}
	w, buf := newAnswer(), make([]byte, sliver.Size)
	if _, err := c.Write(archived, hole, 0, pattern(5, 5000), &w.Waiter); err != nil {
		t.Fatal(err)
	}
	_, v, err := c.BeginArchive(archived, buf)
	if err != nil {
		t.Fatal(err)
	}
	parkRead(t, c, faulting, absent(5000))
	if err := c.Reserve(faulting, r.lastFault()); err != nil {
		t.Fatal(err)
	}
	b.failSync(t, c)
	deliver(t, c, faulting, r.lastFault(), pattern(5, 5000))
	c.EndArchive(archived, v, c.lookup(good).sum, true)
	// The kernel has let go of the page, and reads what was on the disk before.
	if err := c.st.arena.put(pattern(6, 5000), c.slotOf(lost).off()); err != nil {
		t.Fatal(err)
	}
	parkRead(t, c, lost, absent(5000))
	if _, _, err := c.CopyClean(copied, 1, buf); err != nil {
		t.Fatal(err)
	}
	for _, k := range []sliver.Key{good, copied, faulting, archived} {
		for range 2 {
			if !bytes.Equal(mustRead(t, c, k, 0, 5000), pattern(5, 5000)) {
				t.Fatal("content", k)
			}
		}
		if n := b.again[c.slotOf(k).off()]; n != 1 {
			t.Errorf("sliver %v was written again %d times", k, n)
		}
	}
}

// The record of a cut is written once: if that may be lost, once more, for the sake of the next
// slot that is synced.
func TestSyncErrorOfCutRecord(t *testing.T) {
	c, r := open(t)
	b := breakDisk(c)
	clean, dirty := sliver.Key{File: 20}, sliver.Key{File: 21}
	parkRead(t, c, clean, absent(1000))
	deliver(t, c, clean, r.lastFault(), pattern(5, 1000))
	w := newAnswer()
	if _, err := c.Write(dirty, hole, 0, pattern(5, 1000), &w.Waiter); err != nil {
		t.Fatal(err)
	}
	ch := c.slotOf(clean).ch
	if c.slotOf(dirty).ch != ch || !ch.cutOn {
		t.Fatal("two small slots are not in a chunk")
	}
	b.failSync(t, c)
	written := 0
	c.st.slots.fail = func(op string, off, _ int64) error {
		if op == "write" && off == chunkRecordOff(ch.no) {
			written++
		}
		return nil
	}
	b.wantSynced(t, c, dirty, true)
	if written != 1 {
		t.Fatalf("the record of the cut was written %d times", written)
	}
}

// One sync is told of another's failure while both are in it: the other is not believed, though it
// was told of none.
func TestSyncErrorOfTwoAtOnce(t *testing.T) {
	for _, table := range []bool{false, true} {
		c, _ := open(t)
		b := breakDisk(c)
		one, other := sliver.Key{File: 6}, sliver.Key{File: 7}
		for _, k := range []sliver.Key{one, other} {
			w := newAnswer()
			if _, err := c.Write(k, hole, 0, pattern(1, sliver.Size), &w.Waiter); err != nil {
				t.Fatal(err)
			}
		}
		d := &c.st.arena
		if table {
			d = &c.st.slots
		}
		entered, release := make(chan struct{}), make(chan struct{})
		before, first := d.fail, true
		d.fail = func(op string, at, n int64) error {
			b.mu.Lock()
			mine := op == "sync" && first
			first = first && !mine
			b.mu.Unlock()
			if mine {
				close(entered)
				<-release // the other is told meanwhile
				return nil
			}
			if before != nil {
				return before(op, at, n)
			}
			return nil
		}
		done := make(chan []Ref, 1)
		go func() {
			refs, err := c.SyncFile(other.File)
			if err != nil {
				t.Error(err)
			}
			done <- refs
		}()
		<-entered
		b.mu.Lock()
		b.fails = 1
		b.mu.Unlock()
		if _, err := c.SyncFile(one.File); err == nil {
			t.Error("no error")
		}
		close(release)
		if refs := <-done; len(refs) != 1 || b.again[c.slotOf(other).off()] != 1 {
			t.Errorf("%v; written again: %v", refs, b.again)
		}
		b.wantSynced(t, c, one, true)
		d.fail = before
	}
}

// A sync that finds the failure of another again and again ends with an error.
func TestSyncErrorsWithoutEnd(t *testing.T) {
	c, _ := open(t)
	w := newAnswer()
	k := sliver.Key{File: 6}
	if _, err := c.Write(k, hole, 0, pattern(1, 3000), &w.Waiter); err != nil {
		t.Fatal(err)
	}
	bad := true
	c.st.slots.fail = func(op string, _, _ int64) error {
		if bad && op == "sync" {
			c.mu.Lock()
			c.distrust()
			c.mu.Unlock()
		}
		return nil
	}
	if _, err := c.SyncFile(k.File); err != errOtherFailed {
		t.Fatal(err)
	}
	bad = false
	if refs, err := c.SyncFile(k.File); err != nil || len(refs) != 1 {
		t.Fatal(refs, err)
	}
}

// A sync fails while something is being written that is not written again: it does not count.
func TestSyncErrorMeanwhile(t *testing.T) {
	c := withHeads(t)
	r := &rec{}
	c.SetEvents(r)
	during := func(d *disk, size int64) (did *bool) {
		did = new(bool)
		d.fail = func(op string, _, n int64) error {
			if op == "write" && n == size && !*did {
				*did = true
				c.mu.Lock()
				c.distrust()
				c.mu.Unlock()
			}
			return nil
		}
		return did
	}
	k := sliver.Key{File: 20}
	head := during(&c.st.arena, int64(c.heads.size))
	parkRead(t, c, k, absent(sliver.Size))
	deliver(t, c, k, r.lastFault(), pattern(5, sliver.Size))
	if _, ok := c.ReadHead(k.File, 1, 0, 10); ok || !*head || c.heads.held != 0 {
		t.Error("a head that may be lost was made", *head)
	}
	small := sliver.Key{File: 21, No: 1}
	cut := during(&c.st.slots, recordSize)
	parkRead(t, c, small, absent(1000))
	deliver(t, c, small, r.lastFault(), pattern(5, 1000))
	if !*cut || c.slotOf(small).ch.cutOn {
		t.Error("a record of a cut that may be lost counts as written", *cut)
	}
}

// A page that cannot be written again either is not kept: the content is on tape.
func TestSyncErrorThatStays(t *testing.T) {
	c, r := open(t)
	b := breakDisk(c)
	k := sliver.Key{File: 20}
	parkRead(t, c, k, absent(5000))
	deliver(t, c, k, r.lastFault(), pattern(5, 5000))
	b.failSync(t, c)
	b.fails = 1
	parkRead(t, c, k, absent(5000))
	if s := c.State(k, absent(5000)); s != sliver.Faulting {
		t.Errorf("the sliver is %v", s)
	}
}
