package ltfs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"sliod/tape"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// block is a record, or a filemark if it is nil.
type block []byte

// memDrive is a tape.Drive in memory that can run full, fail the n-th
// operation, and show its medium after each write.
type memDrive struct {
	parts     [][]block
	attrs     map[[2]int][]byte
	pos       tape.Position
	limits    tape.Limits
	vcr       uint64
	room0     int64 // bytes that partition 0 takes beside the data partition; 0: no end
	room      int64 // bytes that partition 1 (0 if there is one) takes; 0: no end
	early     int64 // early warning when less than this is left
	silent    bool  // the memory does not tell room0
	readOnly  bool
	onWrite   func() // after each change of the medium
	failAt    int    // fail this operation, counted from 1
	failKind  tape.Kind
	failDone  bool // it is done all the same, if it changes the medium
	ops       int
	locates   int
	reads     int
	syncFails bool
}

var _ tape.Drive = (*memDrive)(nil)

func newMemDrive(partitions int) *memDrive {
	d := &memDrive{attrs: map[[2]int][]byte{}, vcr: 1}
	d.limits = tape.Limits{MaxBlock: 1 << 20, Partitions: partitions, HasMAM: true, HasLocate: true}
	d.parts = make([][]block, 1)
	return d
}

// clone is the medium as it is now in a new drive.
func (d *memDrive) clone() *memDrive {
	c := newMemDrive(d.limits.Partitions)
	c.limits, c.vcr, c.room, c.room0, c.early, c.attrs = d.limits, d.vcr, d.room, d.room0, d.early, maps.Clone(d.attrs)
	c.parts = make([][]block, len(d.parts))
	for i := range d.parts {
		c.parts[i] = slices.Clone(d.parts[i])
	}
	return c
}

func (d *memDrive) err(op string, k tape.Kind) error {
	return &tape.Error{Op: op, Drive: "MEM", Position: d.pos, Kind: k}
}

func (d *memDrive) step(op string) error {
	if d.ops++; d.ops == d.failAt {
		return d.err(op, d.failKind)
	}
	return nil
}

func (d *memDrive) Serial() string               { return "MEM" }
func (d *memDrive) Load(context.Context) error   { d.pos = tape.Position{}; return nil }
func (d *memDrive) Unload(context.Context) error { return nil }
func (d *memDrive) Limits() tape.Limits {
	l := d.limits
	if d.room > 0 {
		l.CapacityBytes, l.RemainingBytes = d.room, max(0, d.room-d.used())
	}
	l.WriteProtected = l.WriteProtected || d.readOnly
	return l
}

func (d *memDrive) used() (n int64) {
	for _, b := range d.parts[len(d.parts)-1] {
		n += int64(len(b))
	}
	return n
}

func (d *memDrive) Position(context.Context) (tape.Position, error) { return d.pos, d.step("position") }

func (d *memDrive) Locate(_ context.Context, to tape.Position) error {
	d.locates++
	if err := d.step("locate"); err != nil {
		return err
	}
	if int(to.Partition) >= len(d.parts) {
		return d.err("locate", tape.IllegalRequest)
	}
	d.pos = to
	if end := tape.BlockNo(len(d.parts[to.Partition])); to.Block > end {
		d.pos.Block = end
		return d.err("locate", tape.EndOfData)
	}
	return nil
}

func (d *memDrive) LocateEnd(_ context.Context, p tape.Partition) error {
	d.locates++
	if err := d.step("locate end"); err != nil {
		return err
	}
	if int(p) >= len(d.parts) {
		return d.err("locate end", tape.IllegalRequest)
	}
	d.pos = tape.Position{Partition: p, Block: tape.BlockNo(len(d.parts[p]))}
	return nil
}

func (d *memDrive) Rewind(context.Context) error { d.pos.Block = 0; return d.step("rewind") }

func (d *memDrive) SpaceFilemarks(_ context.Context, n int) error {
	if err := d.step("space"); err != nil {
		return err
	}
	for ; n > 0; n-- {
		for {
			p := d.parts[d.pos.Partition]
			if int(d.pos.Block) >= len(p) {
				return d.err("space", tape.EndOfData)
			}
			if d.pos.Block++; p[d.pos.Block-1] == nil {
				break
			}
		}
	}
	for ; n < 0; n++ {
		for {
			if d.pos.Block == 0 {
				return d.err("space", tape.EndOfMedium)
			}
			if d.pos.Block--; d.parts[d.pos.Partition][d.pos.Block] == nil {
				break
			}
		}
	}
	return nil
}

func (d *memDrive) ReadBlock(_ context.Context, buf []byte) (int, error) {
	d.reads++
	if err := d.step("read"); err != nil {
		return 0, err
	}
	p := d.parts[d.pos.Partition]
	if int(d.pos.Block) >= len(p) {
		return 0, d.err("read", tape.EndOfData)
	}
	b := p[d.pos.Block]
	d.pos.Block++
	switch {
	case b == nil:
		return 0, d.err("read", tape.Filemark)
	case len(b) > len(buf):
		return 0, d.err("read", tape.BadBlockLength)
	}
	return copy(buf, b), nil
}

func (d *memDrive) put(op string, b block) error {
	failed := d.step(op)
	if failed != nil && !d.failDone {
		return failed
	}
	if d.readOnly {
		return d.err(op, tape.WriteProtected)
	}
	p := d.pos.Partition
	d.parts[p] = slices.Clip(d.parts[p][:d.pos.Block])
	data := int(p) == len(d.parts)-1
	if !data && d.room0 > 0 {
		n := int64(len(b))
		for _, o := range d.parts[p] {
			n += int64(len(o))
		}
		if n > d.room0 {
			return d.err(op, tape.EndOfMedium)
		}
	}
	if data && d.room > 0 && d.used()+int64(len(b)) > d.room {
		return d.err(op, tape.EndOfMedium)
	}
	d.parts[p] = append(d.parts[p], b)
	d.pos.Block++
	d.vcr++
	if d.onWrite != nil {
		d.onWrite()
	}
	if data && d.room > 0 && d.room-d.used() < d.early && failed == nil {
		return d.err(op, tape.EarlyWarning)
	}
	return failed
}

func (d *memDrive) WriteBlock(_ context.Context, p []byte) error {
	return d.put("write", block(append([]byte{}, p...)))
}

func (d *memDrive) WriteFilemarks(_ context.Context, n int) error {
	if n == 0 {
		if d.syncFails {
			return d.err("write filemarks", tape.Deferred)
		}
		return d.step("write filemarks")
	}
	var last error
	for range n {
		if err := d.put("write filemarks", nil); err != nil {
			if last = err; tape.KindOf(err) != tape.EarlyWarning {
				return err
			}
		}
	}
	return last
}

func (d *memDrive) ReadAttribute(_ context.Context, p tape.Partition, id uint16) ([]byte, error) {
	if err := d.step("read attribute"); err != nil {
		return nil, err
	}
	if id == mamVCR {
		return binary.BigEndian.AppendUint32(nil, uint32(d.vcr)), nil
	}
	if id == mamMaximum && p == 0 && d.room0 > 0 && !d.silent {
		return binary.BigEndian.AppendUint64(nil, uint64(d.room0>>20)), nil
	}
	if b, ok := d.attrs[[2]int{int(p), int(id)}]; ok {
		return b, nil
	}
	return nil, d.err("read attribute", tape.NotFound)
}

func (d *memDrive) WriteAttribute(_ context.Context, p tape.Partition, id uint16, _ tape.AttributeFormat, value []byte) error {
	if err := d.step("write attribute"); err != nil {
		return err
	}
	d.attrs[[2]int{int(p), int(id)}] = slices.Clone(value)
	if d.onWrite != nil {
		d.onWrite()
	}
	return nil
}

func (d *memDrive) Format(_ context.Context, partitions int) error {
	if err := d.step("format"); err != nil {
		return err
	}
	d.parts = make([][]block, partitions)
	d.attrs = map[[2]int][]byte{}
	d.pos = tape.Position{}
	d.vcr++
	return nil
}

func (d *memDrive) Order(context.Context, []tape.Segment) ([]int, error) {
	return nil, d.err("order", tape.IllegalRequest)
}

func (d *memDrive) Wraps(context.Context) ([]tape.WrapEnd, error) {
	return nil, d.err("wraps", tape.IllegalRequest)
}

func (d *memDrive) Statistics(context.Context) (tape.Statistics, error) {
	return tape.Statistics{}, d.step("statistics")
}

func (d *memDrive) Alerts(context.Context) ([]tape.Alert, error) { return nil, d.step("alerts") }

func (d *memDrive) SetKey(_ context.Context, k *tape.EncryptionKey) error {
	if k != nil {
		return d.err("set key", tape.IllegalRequest)
	}
	return nil
}

func (d *memDrive) BlockKey(context.Context) (string, bool, error) {
	return "", false, d.err("block key", tape.IllegalRequest)
}

// goldenDrive holds the volume that the reference implementation wrote.
func goldenDrive(t testing.TB) *memDrive {
	t.Helper()
	f, err := os.Open("testdata/volume.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	d := newMemDrive(2)
	d.readOnly = true
	blocks := []map[int]block{{}, {}}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(h.Name, "./")
		var p, n, id int
		var kind string
		if c, _ := fmt.Sscanf(name, "attr_%d_%x", &p, &id); c == 2 {
			d.attrs[[2]int{p, id}] = data[5:]
			if id == mamVCR {
				d.vcr, _ = parseVCR(data[5:])
			}
		} else if c, _ := fmt.Sscanf(name, "%d_%d_%s", &p, &n, &kind); c == 3 {
			switch kind {
			case "R":
				blocks[p][n] = bytes.Clone(data)
			case "F":
				blocks[p][n] = nil
			}
		}
	}
	d.parts = make([][]block, 2)
	for p := range blocks {
		for n := range len(blocks[p]) {
			b, ok := blocks[p][n]
			if !ok {
				t.Fatalf("block %d:%d is missing", p, n)
			}
			d.parts[p] = append(d.parts[p], b)
		}
	}
	return d
}
