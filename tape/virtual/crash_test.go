package virtual

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sirupsen/logrus"

	"sliod/tape"
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
		if err := appendPlain(p, records[i]); err != nil {
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
		if err := appendPlain(p, []byte("more")); err != nil {
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
		if err := appendPlain(p, tapetest.Record(i, 1000)); err != nil {
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

// medium is what a cartridge holds: all that was written, of which so many objects a partition
// must survive, and an attribute.
type medium struct {
	parts   [][]object
	durable []int
	attr    string
}

func (m medium) clone() medium {
	c := medium{durable: slices.Clone(m.durable), attr: m.attr}
	for _, p := range m.parts {
		c.parts = append(c.parts, slices.Clone(p))
	}
	return c
}

// differs tells why c is not what m allows; "" if it is.
func (m medium) differs(c *cartridge) string {
	if len(c.parts) != len(m.parts) {
		return fmt.Sprintf("%d partitions", len(c.parts))
	}
	if a := string(c.mem.Attributes[attributeKey(0, 0x0806)].Value); a != m.attr {
		return fmt.Sprintf("the attribute is %q", a)
	}
	for i, p := range c.parts {
		n := int(p.count())
		if n < m.durable[i] || n > len(m.parts[i]) {
			return fmt.Sprintf("partition %d has %d objects of %d, %d are durable", i, n, len(m.parts[i]), m.durable[i])
		}
		for j, o := range m.parts[i][:n] {
			e, err := p.entry(int64(j))
			if err != nil || (e.kind == filemarkEntry) != (o == nil) {
				return fmt.Sprintf("object %d:%d is a %v, %v", i, j, e.kind, err)
			}
			got := make([]byte, e.length)
			if o == nil {
				continue
			}
			if err := p.read(e, got); err != nil || !bytes.Equal(got, o) {
				return fmt.Sprintf("record %d:%d reads as %d other bytes, %v", i, j, len(got), err)
			}
		}
	}
	return ""
}

// TestCrashAtEveryChange kills the library before each change of a cartridge's files, and in the
// middle of each write: records and filemarks, flushes, overwrites of both partitions,
// formats, attributes, unloads. What is found then is what the command began with, or what it
// makes. (What a loss of power does to changes that were not synced is tested in package faults.)
func TestCrashAtEveryChange(t *testing.T) {
	l := open(t, t.TempDir())
	d := mount(t, l)
	ctx := t.Context()
	home, images := l.cartridgeDir("A00001L9"), t.TempDir()
	noError(t, d.WriteFilemarks(ctx, 0))
	now := medium{parts: make([][]object, 1), durable: make([]int, 1)}
	var next medium
	taken, what := 0, ""
	look := func(c Change, torn bool) {
		taken++
		dir := filepath.Join(images, fmt.Sprint(taken))
		copyDir(t, home, dir)
		if torn {
			f, err := os.OpenFile(filepath.Join(dir, filepath.Base(c.Name)), os.O_RDWR, 0)
			noError(t, err)
			_, err = f.WriteAt(c.Data[:len(c.Data)/2], c.Offset)
			noError(t, err)
			noError(t, f.Close())
		}
		got, err := openCartridge(dir, l.cfg.Log)
		if err != nil {
			t.Fatalf("%s, before %v %s: %v", what, c.Op, c.Name, err)
		}
		if a, b := now.differs(got), next.differs(got); a != "" && b != "" {
			t.Fatalf("%s, killed before %v of %s (torn: %v): neither what it was (%s) nor what it will be (%s)", what, c.Op, filepath.Base(c.Name), torn, a, b)
		}
		got.close()
		noError(t, os.RemoveAll(dir))
	}
	WatchFiles(func(c Change) {
		if filepath.Dir(c.Name) != home && c.Name != home {
			return
		}
		look(c, false)
		if c.Op == WriteFile && len(c.Data) > 1 {
			look(c, true)
		}
	})
	defer WatchFiles(nil)
	step := func(name string, do func() error, will func(m *medium)) {
		t.Helper()
		what = fmt.Sprintf("%s (%d)", name, taken)
		next = now.clone()
		will(&next)
		noError(t, do())
		now = next
		look(Change{}, false)
	}
	flushed := func(m *medium) {
		for i := range m.parts {
			m.durable[i] = len(m.parts[i])
		}
	}
	serial := 0
	put := func(at tape.Position, objects ...int) { // sizes of records; 0: a filemark
		step("locate", func() error { return d.Locate(ctx, at) }, flushed)
		for _, size := range objects {
			p := at.Partition
			o := object(nil)
			do := func() error { return d.WriteFilemarks(ctx, 1) }
			if size > 0 {
				serial++
				o = tapetest.Record(serial, size)
				do = func() error { return d.WriteBlock(ctx, o) }
			}
			step("write", do, func(m *medium) {
				m.parts[p] = append(m.parts[p][:at.Block:at.Block], o)
				m.durable[p] = min(m.durable[p], int(at.Block))
				if size == 0 {
					flushed(m)
				}
			})
			at.Block++
		}
		step("flush", func() error { return d.WriteFilemarks(ctx, 0) }, flushed)
	}
	attribute := func(v string) {
		step("attribute", func() error { return d.WriteAttribute(ctx, 0, 0x0806, tape.AttrASCII, []byte(v)) }, func(m *medium) { m.attr = v })
	}
	format := func(n int) {
		step("format", func() error { return d.Format(ctx, n) }, func(m *medium) {
			*m = medium{parts: make([][]object, n), durable: make([]int, n), attr: m.attr}
		})
	}
	reload := func() {
		step("unload", func() error { return d.Unload(ctx) }, flushed)
		step("load", func() error { return d.Load(ctx) }, flushed)
	}
	put(tape.Position{}, 1000, 0, 70000, 5)
	attribute("one")
	format(2)
	put(tape.Position{Partition: 1}, 3000, 3000, 0, 3000)
	put(tape.Position{}, 500, 0, 500)
	attribute("another")
	put(tape.Position{Partition: 1, Block: 1}, 800, 800, 0)
	put(tape.Position{Block: 0}, 40, 0)
	reload()
	put(tape.Position{Partition: 1, Block: 4}, 9, 9)
	attribute("")
	reload()
	format(1)
	put(tape.Position{}, 60)
	if taken < 150 {
		t.Fatalf("only %d places to crash", taken)
	}
}

func FuzzIndex(f *testing.F) {
	index, data := newPartition(f, f.TempDir())
	p := openP(f, index, data)
	_ = appendPlain(p, []byte("record"))
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

// appendPlain adds a record in clear.
func appendPlain(p *partition, b []byte) error {
	return p.appendRecord(b, crc32.Checksum(b, castagnoli), 0)
}
