// Package tapetest holds the contract of tape.Drive and tape.Changer as test
// suites that any implementation must pass: the SCSI driver over the emulated
// library, and over real devices with a scratch cartridge.
//
// TestDrive writes to the medium that is in the drive and erases it.
package tapetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"sliod/tape"
)

// TestDrive runs the contract of a drive. A loadable scratch cartridge must be
// in it, with at least 16 MiB of room.
func TestDrive(t *testing.T, d tape.Drive) {
	for _, c := range []struct {
		name string
		run  func(*T)
	}{
		{"Blank", blank}, {"Records", records}, {"Filemarks", filemarks}, {"Overwrite", overwrite}, {"Partitions", partitions},
		{"RecordLength", recordLength}, {"BeyondEnd", beyondEnd}, {"Wander", wander}, {"Attributes", attributes}, {"Reload", reload}, {"Cancelled", cancelled}, {"Features", features},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := &T{T: t, Drive: d, ctx: t.Context()}
			x.must(d.Load(x.ctx))
			c.run(x)
		})
	}
}

// T is a test with a drive.
type T struct {
	*testing.T
	tape.Drive
	ctx context.Context
}

func (t *T) must(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// kind checks the Kind of an error.
func (t *T) kind(err error, want tape.Kind) {
	t.Helper()
	if err == nil || tape.KindOf(err) != want {
		t.Fatalf("got %v, want an error of kind %v", err, want)
	}
	if _, ok := err.(*tape.Error); !ok {
		t.Fatalf("%T instead of *tape.Error: %v", err, err)
	}
}

func (t *T) at(want tape.Position) {
	t.Helper()
	got, err := t.Position(t.ctx)
	t.must(err)
	if got != want {
		t.Fatalf("at %v, want %v", got, want)
	}
}

// Record makes the content of record n: its number, and noise.
func Record(n, size int) []byte {
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(size)})
	r.Read(b)
	if size >= 8 {
		binary.BigEndian.PutUint64(b, uint64(n))
	}
	return b
}

func (t *T) write(n, size int) {
	t.Helper()
	t.must(t.WriteBlock(t.ctx, Record(n, size)))
}

func (t *T) read(n, size int) {
	t.Helper()
	buf := make([]byte, 1<<20)
	got, err := t.ReadBlock(t.ctx, buf)
	t.must(err)
	if !bytes.Equal(buf[:got], Record(n, size)) {
		t.Fatalf("record %d of %d bytes reads as %d other bytes", n, size, got)
	}
}

func (t *T) readKind(want tape.Kind) {
	t.Helper()
	_, err := t.ReadBlock(t.ctx, make([]byte, 1<<20))
	t.kind(err, want)
}

func blank(t *T) {
	t.must(t.Format(t.ctx, 1))
	t.at(tape.Position{})
	t.readKind(tape.EndOfData)
	t.at(tape.Position{})
	if l := t.Limits(); l.MaxBlock < 1<<19 || l.Partitions < 1 || l.WriteProtected {
		t.Fatalf("limits %+v", l)
	}
	if t.Serial() == "" {
		t.Fatal("no serial number")
	}
}

func records(t *T) {
	t.must(t.Format(t.ctx, 1))
	sizes := []int{1, 80, 4096, 65536, 524288, 3}
	long := min(t.Limits().MaxBlock, 1<<20) * 7 / 10 // short of the buffer by less than it has
	sizes = append(sizes, long)
	for i, size := range sizes {
		t.write(i, size)
	}
	t.must(t.WriteFilemarks(t.ctx, 0))
	t.at(tape.Position{Block: 7})
	t.must(t.Rewind(t.ctx))
	for i, size := range sizes {
		t.read(i, size)
	}
	t.readKind(tape.EndOfData)
	t.must(t.Locate(t.ctx, tape.Position{Block: 3}))
	t.read(3, 65536)
	t.at(tape.Position{Block: 4})
}

func filemarks(t *T) {
	t.must(t.Format(t.ctx, 1))
	t.write(0, 100)
	t.must(t.WriteFilemarks(t.ctx, 1))
	t.write(2, 100)
	t.must(t.WriteFilemarks(t.ctx, 2))
	t.write(5, 100)
	t.must(t.WriteFilemarks(t.ctx, 0))
	t.must(t.Rewind(t.ctx))
	t.read(0, 100)
	t.readKind(tape.Filemark)
	t.at(tape.Position{Block: 2})
	t.read(2, 100)
	t.must(t.SpaceFilemarks(t.ctx, 2))
	t.at(tape.Position{Block: 5})
	t.must(t.SpaceFilemarks(t.ctx, -2))
	t.at(tape.Position{Block: 3})
	t.must(t.SpaceFilemarks(t.ctx, 1))
	t.at(tape.Position{Block: 4})
	t.must(t.SpaceFilemarks(t.ctx, 0))
	t.kind(t.SpaceFilemarks(t.ctx, 2), tape.EndOfData)
	t.at(tape.Position{Block: 6})
	if err := t.SpaceFilemarks(t.ctx, -4); err == nil {
		t.Fatal("spaced back over more filemarks than there are")
	}
	t.at(tape.Position{})
}

func overwrite(t *T) {
	t.must(t.Format(t.ctx, 1))
	for i := range 10 {
		t.write(i, 1000)
	}
	t.must(t.WriteFilemarks(t.ctx, 1))
	t.must(t.Locate(t.ctx, tape.Position{Block: 4}))
	t.write(40, 77)
	t.readKind(tape.EndOfData)
	t.must(t.WriteFilemarks(t.ctx, 0))
	t.must(t.LocateEnd(t.ctx, 0))
	t.at(tape.Position{Block: 5})
	t.must(t.Locate(t.ctx, tape.Position{Block: 3}))
	t.read(3, 1000)
	t.read(40, 77)
	t.readKind(tape.EndOfData)
}

func partitions(t *T) {
	if t.Limits().Partitions < 2 {
		t.kind(t.Format(t.ctx, 2), tape.IllegalRequest)
		return
	}
	t.must(t.Format(t.ctx, 2))
	t.at(tape.Position{})
	t.write(1, 500)
	t.must(t.Locate(t.ctx, tape.Position{Partition: 1}))
	t.write(2, 600)
	t.write(3, 700)
	t.must(t.WriteFilemarks(t.ctx, 1))
	t.must(t.LocateEnd(t.ctx, 0))
	t.at(tape.Position{Block: 1})
	t.must(t.LocateEnd(t.ctx, 1))
	t.at(tape.Position{Partition: 1, Block: 3})
	t.must(t.LocateEnd(t.ctx, 1))
	t.must(t.Rewind(t.ctx))
	t.at(tape.Position{Partition: 1})
	t.must(t.Locate(t.ctx, tape.Position{}))
	t.write(9, 10) // what is in the other partition stays
	t.must(t.Locate(t.ctx, tape.Position{Partition: 1, Block: 1}))
	t.read(3, 700)
	t.must(t.Format(t.ctx, 1))
	if err := t.Locate(t.ctx, tape.Position{Partition: 1}); err == nil {
		t.Fatal("located in a partition that is not there")
	}
}

func recordLength(t *T) {
	t.must(t.Format(t.ctx, 1))
	t.write(0, 1000)
	t.write(1, 1000)
	t.must(t.WriteFilemarks(t.ctx, 0))
	t.must(t.Rewind(t.ctx))
	_, err := t.ReadBlock(t.ctx, make([]byte, 999))
	t.kind(err, tape.BadBlockLength)
	t.at(tape.Position{Block: 1})
	buf := make([]byte, 1000)
	if n, err := t.ReadBlock(t.ctx, buf); err != nil || n != 1000 {
		t.Fatal(n, err)
	}
	_, err = t.ReadBlock(t.ctx, nil)
	t.kind(err, tape.BadBlockLength)
	t.kind(t.WriteBlock(t.ctx, nil), tape.BadBlockLength)
}

func beyondEnd(t *T) {
	t.must(t.Format(t.ctx, 1))
	t.write(0, 10)
	t.kind(t.Locate(t.ctx, tape.Position{Block: 5}), tape.EndOfData)
	t.at(tape.Position{Block: 1})
	t.write(1, 10)
	t.at(tape.Position{Block: 2})
}

// wander goes to and fro over records and filemarks, and finds what it wrote; and it appends
// where the head came in between.
func wander(t *T) {
	t.must(t.Format(t.ctx, 1))
	const n = 60
	mark := func(i int) bool { return i%7 == 3 || i%7 == 4 }
	for i := range n {
		if mark(i) {
			t.must(t.WriteFilemarks(t.ctx, 1))
		} else {
			t.write(i, 100+i)
		}
	}
	look := func(i, n int) {
		t.Helper()
		t.at(tape.Position{Block: tape.BlockNo(i)})
		switch {
		case i == n:
			t.readKind(tape.EndOfData)
		case mark(i):
			t.readKind(tape.Filemark)
		default:
			t.read(i, 100+i)
		}
	}
	for _, i := range []int{59, 0, 30, 31, 29, 60, 3, 58, 10, 60, 11} {
		t.must(t.Locate(t.ctx, tape.Position{Block: tape.BlockNo(i)}))
		look(i, n)
	}
	t.must(t.SpaceFilemarks(t.ctx, 3)) // from 12, over 17, 18 and 24
	look(25, n)
	t.must(t.SpaceFilemarks(t.ctx, -4)) // over 25, 24, 18 and 17
	look(17, n)
	t.must(t.LocateEnd(t.ctx, 0))
	look(n, n)
	t.write(n, 100+n)
	t.must(t.Locate(t.ctx, tape.Position{Block: 55}))
	look(55, n+1)
	t.must(t.LocateEnd(t.ctx, 0))
	look(n+1, n+1)
	t.must(t.Locate(t.ctx, tape.Position{Block: 41}))
	t.write(41, 141)
	t.readKind(tape.EndOfData)
	t.must(t.WriteFilemarks(t.ctx, 0))
	t.must(t.LocateEnd(t.ctx, 0))
	look(42, 42)
	t.must(t.SpaceFilemarks(t.ctx, -1))
	look(39, 42)
	t.must(t.Locate(t.ctx, tape.Position{Block: 41}))
	look(41, 42)
}

func attributes(t *T) {
	if !t.Limits().HasMAM {
		return
	}
	_, err := t.ReadAttribute(t.ctx, 0, 0x0BFE)
	t.kind(err, tape.NotFound)
	t.must(t.WriteAttribute(t.ctx, 0, 0x0806, tape.AttrASCII, []byte("A00001L9                        ")))
	v, err := t.ReadAttribute(t.ctx, 0, 0x0806)
	t.must(err)
	if string(v) != "A00001L9                        " {
		t.Fatalf("%q", v)
	}
	reference := func() string {
		v, err := t.ReadAttribute(t.ctx, 0, 0x0009)
		t.must(err)
		return string(v)
	}
	t.must(t.Format(t.ctx, 1))
	t.write(0, 10)
	t.must(t.WriteFilemarks(t.ctx, 0))
	before := reference()
	if reference() != before {
		t.Fatal("the volume change reference changes by being read")
	}
	t.must(t.WriteAttribute(t.ctx, 0, 0x080C, tape.AttrBinary, bytes.Repeat([]byte{7}, 70)))
	if reference() != before {
		t.Fatal("the volume change reference changes with an attribute")
	}
	t.write(1, 10)
	t.must(t.WriteFilemarks(t.ctx, 0))
	if reference() == before {
		t.Fatal("the volume change reference stays though the volume changed")
	}
	t.must(t.WriteAttribute(t.ctx, 0, 0x0806, tape.AttrASCII, nil))
	_, err = t.ReadAttribute(t.ctx, 0, 0x0806)
	t.kind(err, tape.NotFound)
}

func reload(t *T) {
	t.must(t.Format(t.ctx, 1))
	t.write(0, 5000)
	t.must(t.WriteFilemarks(t.ctx, 1))
	t.must(t.Unload(t.ctx))
	_, err := t.Position(t.ctx)
	t.kind(err, tape.NotReady)
	t.kind(t.WriteBlock(t.ctx, []byte("x")), tape.NotReady)
	t.must(t.Load(t.ctx))
	t.at(tape.Position{})
	t.read(0, 5000)
	t.readKind(tape.Filemark)
	t.readKind(tape.EndOfData)
}

func cancelled(t *T) {
	ctx, cancel := context.WithCancel(t.ctx)
	cancel()
	if err := t.Drive.Rewind(ctx); err == nil || ctx.Err() == nil {
		t.Fatal("a command ran for a context that had ended")
	}
	t.must(t.Rewind(t.ctx))
}
