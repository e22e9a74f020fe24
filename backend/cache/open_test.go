package cache

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

func reopen(t *testing.T, dir string, size int64) *Cache {
	t.Helper()
	c, err := Open(Config{Dir: dir, SizeBytes: size})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func keepAll(r SlotRecord) Verdict {
	if r.Dirty {
		return KeepDirty
	}
	return KeepClean
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	want := func(err error, text string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Fatalf("error %v, want one with %q", err, text)
		}
	}
	_, err := Open(Config{Dir: dir, SizeBytes: MinSizeBytes - 1})
	want(err, "must be at least")
	_, err = Open(Config{Dir: dir, SizeBytes: 1 << 50})
	if err == nil {
		t.Fatal("a petabyte was found")
	}
	if l, _ := os.ReadDir(dir); len(l) != 0 {
		t.Fatalf("a failed Open has left %v", l)
	}
	c := reopen(t, dir, MinSizeBytes)
	_, err = Open(Config{Dir: dir, SizeBytes: MinSizeBytes})
	want(err, "in use by another sliod")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "slots")
	good, _ := os.ReadFile(name)
	for _, x := range []struct {
		at   int
		b    byte
		text string
	}{{0, 'X', "mark of a slot table"}, {8, 2, "newer sliod"}, {20, 1, "checksum"}} {
		bad := bytes.Clone(good)
		bad[x.at] = x.b
		os.WriteFile(name, bad, 0o600)
		_, err = Open(Config{Dir: dir, SizeBytes: MinSizeBytes})
		want(err, x.text)
	}
	os.WriteFile(name, good, 0o600)
	os.Truncate(filepath.Join(dir, "arena"), 1<<20)
	_, err = Open(Config{Dir: dir, SizeBytes: MinSizeBytes})
	want(err, "it was cut")
	os.Remove(name)
	_, err = Open(Config{Dir: dir, SizeBytes: MinSizeBytes})
	want(err, "slot table")
}

// A disk that is full: what is needed and what there is, and nothing left behind.
func TestOpenNoRoom(t *testing.T) {
	var fs unix.Statfs_t
	dir := t.TempDir()
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	size := int64(fs.Blocks)*fs.Bsize + 1<<30
	_, err := Open(Config{Dir: filepath.Join(dir, "c"), SizeBytes: size})
	if err == nil || !strings.Contains(err.Error(), "MiB available: make room") {
		t.Fatal(err)
	}
	if l, _ := os.ReadDir(filepath.Join(dir, "c")); len(l) != 0 {
		t.Fatalf("left behind: %v", l)
	}
	// Growing fails in the same way and leaves the cache as it was.
	c := reopen(t, dir, MinSizeBytes)
	c.Close()
	if _, err := Open(Config{Dir: dir, SizeBytes: size}); err == nil {
		t.Fatal("grown")
	}
	reopen(t, dir, MinSizeBytes).Close()
}

func TestWarmRestartGrowAndShrink(t *testing.T) {
	dir := t.TempDir()
	c := reopen(t, dir, MinSizeBytes)
	sizes := []int{1, 4096, 4097, 16384, 50000, 200000, sliver.Size}
	for i, n := range sizes {
		w := newAnswer()
		if _, err := c.Write(sliver.Key{File: 2, No: sliver.No(i)}, hole, 0, pattern(byte(i+1), n), &w.Waiter); err != nil {
			t.Fatal(err)
		}
		k := sliver.Key{File: 3, No: sliver.No(i)}
		seq, _ := c.Want(k, absent(n), vfs.Client)
		deliver(t, c, k, seq, pattern(byte(i+101), n))
	}
	v := c.NextVersion()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	check := func(c *Cache) {
		t.Helper()
		rs, err := c.Recover(keepAll)
		if err != nil || rs.Unclean || rs.Clean != len(sizes) || rs.Dirty != len(sizes) || rs.Bad != 0 {
			t.Fatalf("%+v %v", rs, err)
		}
		for i, n := range sizes {
			if !bytes.Equal(mustRead(t, c, sliver.Key{File: 2, No: sliver.No(i)}, 0, n), pattern(byte(i+1), n)) ||
				!bytes.Equal(mustRead(t, c, sliver.Key{File: 3, No: sliver.No(i)}, 0, n), pattern(byte(i+101), n)) {
				t.Fatal("content", i)
			}
		}
	}
	c = reopen(t, dir, 2*MinSizeBytes)
	check(c)
	if c.NextVersion() <= v {
		t.Fatal("versions repeat")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = reopen(t, dir, MinSizeBytes) // the tail is free
	check(c)
	for i := range 8 {
		w := newAnswer()
		c.Write(sliver.Key{File: 4, No: sliver.No(i)}, hole, 0, pattern(1, sliver.Size), &w.Waiter)
		c.Cancel(&w.Waiter)
	}
	c.Close()
	c = reopen(t, dir, 2*MinSizeBytes)
	c.Recover(keepAll)
	for i := range 20 {
		w := newAnswer()
		c.Write(sliver.Key{File: 4, No: sliver.No(i)}, hole, 0, pattern(1, sliver.Size), &w.Waiter)
		c.Cancel(&w.Waiter)
	}
	c.Close()
	if _, err := Open(Config{Dir: dir, SizeBytes: MinSizeBytes}); err == nil || !strings.Contains(err.Error(), `cannot shrink from 32MiB to 16MiB: `) ||
		!strings.Contains(err.Error(), ` of the 16 MiB at its end are in use. Set cache.size back to "32MiB"; or`) {
		t.Fatal(err)
	}
	c = reopen(t, dir, 2*MinSizeBytes)
	killed := t.TempDir()
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil { // as kill -9 leaves it
		t.Fatal(err)
	}
	c.Close()
	if _, err := Open(Config{Dir: killed, SizeBytes: MinSizeBytes}); err == nil ||
		!strings.Contains(err.Error(), `was not shut down properly, so what its end holds is not known. Start it with cache.size = "32MiB" and stop it`) {
		t.Fatal(err)
	}
}

// Closing without Recover leaves what was found as it was.
func TestCloseWithoutRecover(t *testing.T) {
	dir := t.TempDir()
	c := reopen(t, dir, MinSizeBytes)
	w := newAnswer()
	c.Write(k0, hole, 0, []byte("precious"), &w.Waiter)
	c.Close()
	c = reopen(t, dir, MinSizeBytes)
	if _, err := c.Write(k0, hole, 0, []byte("x"), &w.Waiter); err == nil {
		t.Fatal("slots given out before Recover")
	}
	c.Close()
	c = reopen(t, dir, MinSizeBytes)
	defer c.Close()
	if rs, _ := c.Recover(keepAll); rs.Dirty != 1 || rs.Unclean {
		t.Fatalf("%+v", rs)
	}
	if string(mustRead(t, c, k0, 0, 8)) != "precious" {
		t.Fatal("lost")
	}
}

// Content that differs from its sum is never given out after an unclean shutdown,
// also if a proper shutdown lies between.
func TestDamagedCleanSlotIsDropped(t *testing.T) {
	dir := t.TempDir()
	c := reopen(t, dir, MinSizeBytes)
	seq, _ := c.Want(k0, absent(5000), vfs.Client)
	deliver(t, c, k0, seq, pattern(1, 5000))
	k1 := sliver.Key{File: 5, No: 1}
	seq, _ = c.Want(k1, absent(5000), vfs.Client)
	deliver(t, c, k1, seq, pattern(2, 5000))
	off := c.lookup(k0).slot.off()
	c.st.arena.close(false) // as kill -9 would
	c.st.slots.close(false)
	f, _ := os.OpenFile(filepath.Join(dir, "arena"), os.O_RDWR, 0)
	f.WriteAt([]byte{77}, off+4000)
	f.Close()
	for range 2 {
		c = reopen(t, dir, MinSizeBytes)
		if rs, err := c.Recover(keepAll); err != nil || rs.Clean != 2 {
			t.Fatalf("%+v %v", rs, err)
		}
		c.Close()
	}
	c = reopen(t, dir, MinSizeBytes)
	defer c.Close()
	c.Recover(keepAll)
	a := parkRead(t, c, k0, absent(5000)) // dropped: a fault
	if !bytes.Equal(mustRead(t, c, k1, 0, 5000), pattern(2, 5000)) || c.lookup(k1).verify {
		t.Fatal("the good one")
	}
	if c.Stats().VerifyFailed != 1 {
		t.Fatal("not counted")
	}
	c.Cancel(&a.Waiter)
}

// A sync that failed is tried again with pages that are made dirty again.
func TestSyncErrorIsNotForgotten(t *testing.T) {
	c, _ := open(t)
	w := newAnswer()
	c.Write(k0, hole, 0, []byte("abc"), &w.Waiter)
	rewrites, bad := 0, true
	c.st.arena.fail = func(op string, off, n int64) error {
		if op == "write again" {
			rewrites++
		}
		if op == "sync" && bad {
			return unix.EIO
		}
		return nil
	}
	if _, err := c.SyncFile(5); err == nil {
		t.Fatal("no error")
	}
	bad = false
	refs, err := c.SyncFile(5)
	if err != nil || len(refs) != 1 || rewrites != 1 {
		t.Fatal(refs, err, rewrites)
	}
	again, _ := c.SyncFile(5)
	if len(again) != 1 || again[0] != refs[0] {
		t.Fatal("a second fsync must know of what is not committed")
	}
	c.Committed(refs)
	if again, _ = c.SyncFile(5); len(again) != 0 {
		t.Fatal("synced twice", again)
	}
	// A write that comes during the sync is not forgotten.
	c.Write(k0, hole, 0, []byte("d"), &w.Waiter)
	once := false
	c.st.arena.fail = func(op string, off, n int64) error {
		if op == "sync" && !once {
			once = true
			c.Write(k0, hole, 1, []byte("e"), &w.Waiter)
		}
		return nil
	}
	first, _ := c.SyncFile(5)
	second, _ := c.SyncFile(5)
	if len(first) != 1 || len(second) != 1 || second[0].Version <= first[0].Version {
		t.Fatal(first, second)
	}
}

// A slot that the catalog may name as the only copy is not given out again.
func TestSupersededSlotStaysUntilCommitted(t *testing.T) {
	c, _ := open(t)
	w := newAnswer()
	c.Write(k0, hole, 0, pattern(1, 4000), &w.Waiter)
	refs, _ := c.SyncFile(5)
	c.Committed(refs)
	c.Write(k0, hole, 4000, pattern(2, 4000), &w.Waiter) // moves to 16 KiB
	if u := c.Stats().UsedBytes; u != 20<<10 {
		t.Fatalf("used %d", u)
	}
	refs, _ = c.SyncFile(5)
	if u := c.Stats().UsedBytes; u != 20<<10 {
		t.Fatalf("used %d before the catalog knows", u)
	}
	c.Committed(refs)
	mark, n := c.Quarantine()
	if n != 1 || c.Stats().UsedBytes != 20<<10 {
		t.Fatal("given out before the catalog was synced")
	}
	c.ReleaseQuarantine(mark)
	if u := c.Stats().UsedBytes; u != 16<<10 {
		t.Fatalf("used %d after", u)
	}
	c.Drop(5, 0)
	mark, n = c.Quarantine()
	if n != 1 || c.Stats().UsedBytes != 16<<10 {
		t.Fatal("not in quarantine")
	}
	c.ReleaseQuarantine(mark)
	if c.Stats().UsedBytes != 0 {
		t.Fatal("not released")
	}
	// Dropped before the catalog was told of the move: it still names the old slot.
	c.Write(k0, hole, 0, pattern(1, 4000), &w.Waiter)
	refs, _ = c.SyncFile(5)
	c.Write(k0, hole, 4000, pattern(2, 4000), &w.Waiter)
	if _, ok := c.Current(refs[0]); !ok {
		t.Fatal("the only content on disk is not to be named")
	}
	c.Drop(5, 0)
	if _, ok := c.Current(refs[0]); ok {
		t.Fatal("dropped, and still to be named")
	}
	c.Committed(refs)
	if mark, n = c.Quarantine(); n != 1 || c.Stats().UsedBytes != 4<<10 {
		t.Fatal("superseded slot not in quarantine", n)
	}
	c.ReleaseQuarantine(mark)
}

// A write that was under way when the sync began is synced by the next one.
func TestSyncDuringWrite(t *testing.T) {
	c, _ := open(t)
	w := newAnswer()
	c.Write(k0, hole, 0, []byte("abc"), &w.Waiter)
	var first []Ref
	c.st.arena.fail = func(op string, off, n int64) error {
		if op == "write" && n == 7 {
			first, _ = c.SyncFile(5)
		}
		return nil
	}
	c.Write(k0, hole, 0, pattern(1, 7), &w.Waiter)
	c.Committed(first)
	second, err := c.SyncFile(5)
	if err != nil || len(first) != 1 || first[0].Len != 3 || len(second) != 1 || second[0].Len != 7 || second[0].Version <= first[0].Version {
		t.Fatal(first, second, err)
	}
}

func TestRecordRoundTrip(t *testing.T) {
	r := record{kind: recClean, class: class60K, len: 60000, key: sliver.Key{File: 7, No: 9}, seq: 3, version: 4, sum: 5, unchecked: true}
	var b [recordSize]byte
	r.encode(b[:], 11, 12, 13)
	if got, ok := decodeRecord(b[:], 11, 12, 13); !ok || got != r {
		t.Fatal(got, ok)
	}
	for _, x := range [][3]uint64{{0, 12, 13}, {11, 0, 13}, {11, 12, 0}} {
		if _, ok := decodeRecord(b[:], x[0], x[1], x[2]); ok {
			t.Fatal("a record of another place was taken", x)
		}
	}
	for i := range b {
		b[i] ^= 0x40
		if got, ok := decodeRecord(b[:], 11, 12, 13); ok {
			t.Fatal("byte", i, got)
		}
		b[i] ^= 0x40
	}
	for cl, x := range classInfo {
		if x.first+x.count*x.size > chunkSize || class(cl) < classWhole && x.count*recordSize > x.first {
			t.Errorf("class %d does not fit", cl)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for _, k := range []recordKind{recEmpty, recClean, recDirty, recCut} {
		r := record{kind: k, class: class16K, len: 100, key: sliver.Key{File: 2, No: 3}, seq: 4, version: 5, sum: 6}
		var b [recordSize]byte
		r.encode(b[:], 1, 2, 0)
		f.Add(b[:], true)
		f.Add(b[:40], false)
	}
	f.Fuzz(func(t *testing.T, b []byte, fix bool) {
		if fix && len(b) >= recordSize {
			b = bytes.Clone(b)
			binary.LittleEndian.PutUint64(b[56:], recordSum(b, 1, 2, 0))
		}
		r, ok := decodeRecord(b, 1, 2, 0)
		if !ok {
			return
		}
		if r.class >= numClasses || r.kind > recCut || r.kind != recCut && int(r.len) > r.class.size() {
			t.Fatalf("%+v", r)
		}
		var again [recordSize]byte
		r.encode(again[:], 1, 2, 0)
		if got, ok := decodeRecord(again[:], 1, 2, 0); !ok || got != r {
			t.Fatalf("%+v, again %+v", r, got)
		}
	})
}

func FuzzDecodeHeader(f *testing.F) {
	h := header{version: 1, clean: true, epoch: 3, chunks: 16, secret: 9}
	var b [headerSize]byte
	h.encode(b[:])
	f.Add(b[:], false)
	f.Add(b[:headerUsed], true)
	f.Add([]byte(formatMagic), false)
	f.Fuzz(func(t *testing.T, b []byte, fix bool) {
		if fix && len(b) >= headerUsed {
			b = bytes.Clone(b)
			binary.LittleEndian.PutUint64(b[56:], xxhash.Sum64(b[:56]))
		}
		if h, err := decodeHeader(b); err == nil && (h.chunks == 0 || h.version != 1) {
			t.Fatalf("%+v", h)
		}
	})
}
