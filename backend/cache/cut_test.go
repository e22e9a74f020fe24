package cache

import (
	"testing"

	"sliod/backend/sliver"
)

// A truncate that the catalog has, but not on disk yet, leaves the record on disk
// as long as it was: after a crash the older catalog finds all bytes that it names.
// What is to be committed has the new length, also if it is asked for again.
func TestCutSlotKeepsItsRecord(t *testing.T) {
	c := reopen(t, t.TempDir(), MinSizeBytes)
	defer c.Close()
	k := sliver.Key{File: 7, No: 0}
	if _, err := c.Write(k, Behind{}, 0, pattern(1, 8000), nil); err != nil {
		t.Fatal(err)
	}
	first, err := c.SyncFile(7)
	if err != nil {
		t.Fatal(err)
	}
	c.Truncate(k, 100)
	if n, ok := c.Current(first[0]); !ok || n != 100 {
		t.Errorf("after the truncate %d bytes are to be committed (%v)", n, ok)
	}
	for range 2 {
		refs, err := c.SyncFile(7)
		if err != nil || len(refs) != 1 || refs[0].Len != 100 {
			t.Fatalf("sync: %+v, %v", refs, err)
		}
	}
	c.mu.Lock()
	if n := c.lookup(k).slot.rest.len; n != 8000 {
		t.Errorf("the record says %d bytes; the catalog on disk may name 8000", n)
	}
	c.mu.Unlock()
}

// If the owner cannot decide about a slot, Recover fails, and the next start finds
// all as it was.
func TestRecoverStopped(t *testing.T) {
	dir := t.TempDir()
	c := reopen(t, dir, MinSizeBytes)
	for no, n := range []int{100, 5000, sliver.Size} {
		if _, err := c.Write(sliver.Key{File: 7, No: sliver.No(no)}, Behind{}, 0, pattern(byte(no), n), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = reopen(t, dir, MinSizeBytes)
	asked := 0
	_, err := c.Recover(func(SlotRecord) Verdict {
		if asked++; asked == 2 {
			return Stop
		}
		return Drop
	})
	if err == nil {
		t.Fatal("a recovery that was stopped succeeds")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = reopen(t, dir, MinSizeBytes)
	defer c.Close()
	if rs, err := c.Recover(keepAll); err != nil || rs.Dirty != 3 || rs.Unclean {
		t.Fatalf("%+v, %v", rs, err)
	}
}
