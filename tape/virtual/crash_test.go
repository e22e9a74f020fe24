package virtual

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/sirupsen/logrus"

	"sliod/tape/tapetest"
)

// newPartition makes an empty partition in dir.
func newPartition(t testing.TB, dir string) (index, data string) {
	t.Helper()
	index, data = filepath.Join(dir, "0-0.index"), filepath.Join(dir, "0-0.data")
	if err := createPartition(index, data, 0x1234); err != nil {
		t.Fatal(err)
	}
	return index, data
}

func openP(t testing.TB, index, data string) *partition {
	t.Helper()
	p, _, err := openPartition(index, data, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

// TestTornIndex cuts the index after every byte, and damages every byte of it: what is
// before the damage stays, and what is there can be read and appended to.
func TestTornIndex(t *testing.T) {
	dir := t.TempDir()
	index, data := newPartition(t, dir)
	p := openP(t, index, data)
	var records [][]byte
	for i := range 6 {
		records = append(records, tapetest.Record(i, 100+i))
		if err := p.append(records[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.flush(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(data)
	if err != nil {
		t.Fatal(err)
	}
	check := func(torn []byte, want int64) {
		t.Helper()
		if err := os.WriteFile(index, torn, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(data, content, 0o644); err != nil {
			t.Fatal(err)
		}
		p := openP(t, index, data)
		defer p.close()
		if p.count() != want {
			t.Fatalf("%d objects, want %d", p.count(), want)
		}
		for i := range want {
			e, err := p.entry(i)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, e.length)
			if err := p.read(e, got); err != nil || !bytes.Equal(got, records[i]) {
				t.Fatalf("record %d: %v", i, err)
			}
		}
		if err := p.append([]byte("more")); err != nil {
			t.Fatal(err)
		}
		if err := p.flush(); err != nil {
			t.Fatal(err)
		}
		if again := openP(t, index, data); again.count() != want+1 {
			t.Fatalf("%d objects after an append, want %d", again.count(), want+1)
		}
	}
	for n := indexHeader; n <= len(whole); n += 5 {
		check(whole[:n], int64(n-indexHeader)/entrySize)
	}
	for at := indexHeader; at < len(whole); at += 7 {
		torn := bytes.Clone(whole)
		torn[at] ^= 0x10
		check(torn, int64(at-indexHeader)/entrySize)
	}
	check(append(bytes.Clone(whole), whole[indexHeader:]...), 6) // entries that are valid elsewhere
}

// TestShortData: records that a damaged data file lost are errors, not the end of
// data, and those before them can be read.
func TestShortData(t *testing.T) {
	index, data := newPartition(t, t.TempDir())
	p := openP(t, index, data)
	for i := range 3 {
		if err := p.append(tapetest.Record(i, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.flush(); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{2999, 2000, 1001} {
		if err := os.Truncate(data, size); err != nil {
			t.Fatal(err)
		}
		p := openP(t, index, data)
		for i := range int64(3) {
			e, err := p.entry(i)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.read(e, make([]byte, 1000)); (err == nil) != ((i+1)*1000 <= size) {
				t.Errorf("data of %d bytes, record %d: %v", size, i, err)
			}
		}
	}
}

// copyDir copies a folder of files.
func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// TestCrashAtEveryCommand copies the cartridge before and after each command of a script and
// opens the copy: what was flushed then is in it.
func TestCrashAtEveryCommand(t *testing.T) {
	l := open(t, t.TempDir())
	d := mount(t, l)
	ctx := t.Context()
	if err := d.Format(ctx, 1); err != nil {
		t.Fatal(err)
	}
	copies, copied := t.TempDir(), 0
	var records [][]byte // the medium now
	flushed := 0         // of them, on disk
	verify := func() {
		t.Helper()
		copied++
		dir := filepath.Join(copies, string(rune('a'+copied/26))+string(rune('a'+copied%26)))
		copyDir(t, l.cartridgeDir("A00001L9"), dir)
		c, err := openCartridge(dir, logrus.NewEntry(logrus.New()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		p := c.parts[0]
		if n := int(p.count()); n < flushed || n > len(records) {
			t.Fatalf("%d objects, %d were flushed, %d written", n, flushed, len(records))
		}
		for i := range p.count() {
			e, err := p.entry(i)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, e.length)
			if err := p.read(e, got); err != nil || !bytes.Equal(got, records[i]) {
				t.Fatalf("record %d: %v", i, err)
			}
		}
	}
	step := func(at int, count int) {
		if err := d.Locate(ctx, positionOf(at)); err != nil {
			t.Fatal(err)
		}
		flushed = len(records)
		for range count {
			b := tapetest.Record(copied, 3000)
			if err := d.WriteBlock(ctx, b); err != nil {
				t.Fatal(err)
			}
			records = append(records[:at:at], b)
			flushed = min(flushed, at)
			at++
			verify()
		}
		if err := d.WriteFilemarks(ctx, 0); err != nil {
			t.Fatal(err)
		}
		flushed = len(records)
		verify()
	}
	step(0, 5)
	step(5, 3)
	step(2, 4)
	step(0, 1)
	step(1, 2)
}

func FuzzIndex(f *testing.F) {
	index, data := newPartition(f, f.TempDir())
	p := openP(f, index, data)
	_ = p.append([]byte("record"))
	_ = p.mark()
	if err := p.flush(); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(index)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		_, n, _, err := scan(bytes.NewReader(b))
		if err == nil && indexHeader+n*entrySize > int64(len(b)) {
			t.Fatalf("%d entries in %d bytes", n, len(b))
		}
	})
}

func FuzzMemory(f *testing.F) {
	f.Add([]byte(`{"format":1,"barcode":"A00001L9","capacity":5,"partitions":[5],"attributes":{"0:0806":{"format":1,"value":"QQ=="}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m memory
		if parseMemory(b, &m) == nil && (len(m.Partitions) == 0 || m.Capacity <= 0) {
			t.Fatalf("%+v", m)
		}
	})
}
