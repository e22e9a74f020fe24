package cache

import (
	"bytes"
	stderrors "errors"
	"testing"

	"github.com/cespare/xxhash/v2"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

func TestCopyClean(t *testing.T) {
	c, _ := open(t)
	buf := make([]byte, sliver.Size)
	k := sliver.Key{File: 7, No: 1}
	copyErr := func(v sliver.Version, want error) {
		t.Helper()
		if _, _, err := c.CopyClean(k, v, buf); !stderrors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
	}
	copyErr(1, ErrAbsent)
	p := pattern(3, 5000)
	if _, err := c.Write(k, hole, 0, p, &newAnswer().Waiter); err != nil {
		t.Fatal(err)
	}
	_, v, err := c.BeginArchive(k, buf)
	if err != nil {
		t.Fatal(err)
	}
	copyErr(v, ErrChanged) // it is being archived
	c.EndArchive(k, v, xxhash.Sum64(p), true)
	clear(buf)
	n, sum, err := c.CopyClean(k, v, buf)
	if err != nil || sum != xxhash.Sum64(p) || !bytes.Equal(buf[:n], p) {
		t.Fatalf("%d bytes, %x, %v", n, sum, err)
	}
	copyErr(v+1, ErrChanged)
	if _, _, err := c.CopyClean(k, v, buf[:100]); err == nil {
		t.Error("5000 bytes went into a buffer of 100")
	}

	// What is not what it should be is let go: it is on tape.
	c.mu.Lock()
	e := c.lookup(k)
	off := e.slot.off()
	c.mu.Unlock()
	if err := c.st.arena.pwrite([]byte{0xff}, off+17); err != nil {
		t.Fatal(err)
	}
	copyErr(v, ErrAbsent)
	if st := c.State(k, absent(5000)); st != sliver.Absent {
		t.Errorf("a slot with another content than its checksum is %v", st)
	}
	if c.Stats().VerifyFailed != 1 {
		t.Error("that is not counted")
	}
}

// A sliver that is evicted while it is copied was not written: its copy is good, or it is
// absent. The mover would let a copy that was "written since" be.
func TestCopyCleanWhileEvicted(t *testing.T) {
	c, _ := open(t)
	k := sliver.Key{File: 7, No: 1}
	p := pattern(3, sliver.Size)
	buf := make([]byte, sliver.Size)
	copied := 0
	for range 200 {
		seq, started := c.Want(k, absent(len(p)), vfs.Client)
		if !started {
			t.Fatal("it is there")
		}
		deliver(t, c, k, seq, p)
		evicted := make(chan error)
		go func() { evicted <- c.Evict(k) }()
		n, _, err := c.CopyClean(k, 1, buf)
		switch {
		case err == nil && bytes.Equal(buf[:n], p):
			copied++
		case err != ErrAbsent:
			t.Fatalf("%d bytes, %v", n, err)
		}
		if err := <-evicted; err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of 200 were copied", copied)
}
