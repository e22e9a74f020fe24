package ltfscheck

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sliod/tape"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// medium is a volume in memory that can only be read: nil is a filemark.
type medium struct {
	tape.Drive // nil: writing would panic
	parts      [][][]byte
	attrs      map[string][]byte // "partition:id"
	pos        tape.Position
	limits     tape.Limits
	bad        map[tape.Position]tape.Kind // reading there fails
}

func (m *medium) Serial() string                                  { return "MEDIUM" }
func (m *medium) Limits() tape.Limits                             { return m.limits }
func (m *medium) Position(context.Context) (tape.Position, error) { return m.pos, nil }

func (m *medium) err(op string, k tape.Kind) error {
	return &tape.Error{Op: op, Drive: "MEDIUM", Position: m.pos, Kind: k}
}

func (m *medium) Locate(_ context.Context, to tape.Position) error {
	if int(to.Partition) >= len(m.parts) {
		return m.err("locate", tape.IllegalRequest)
	}
	m.pos = to
	if end := tape.BlockNo(len(m.parts[to.Partition])); to.Block > end {
		m.pos.Block = end
		return m.err("locate", tape.EndOfData)
	}
	return nil
}

func (m *medium) LocateEnd(_ context.Context, p tape.Partition) error {
	m.pos = tape.Position{Partition: p, Block: tape.BlockNo(len(m.parts[p]))}
	return nil
}

func (m *medium) SpaceFilemarks(_ context.Context, n int) error {
	p := m.parts[m.pos.Partition]
	for ; n > 0; n-- {
		for {
			if int(m.pos.Block) >= len(p) {
				return m.err("space", tape.EndOfData)
			}
			if m.pos.Block++; p[m.pos.Block-1] == nil {
				break
			}
		}
	}
	return nil
}

func (m *medium) ReadBlock(_ context.Context, buf []byte) (int, error) {
	if k, ok := m.bad[m.pos]; ok {
		return 0, m.err("read", k)
	}
	p := m.parts[m.pos.Partition]
	if int(m.pos.Block) >= len(p) {
		return 0, m.err("read", tape.EndOfData)
	}
	b := p[m.pos.Block]
	m.pos.Block++
	switch {
	case b == nil:
		return 0, m.err("read", tape.Filemark)
	case len(b) > len(buf):
		return 0, m.err("read", tape.BadBlockLength)
	}
	return copy(buf, b), nil
}

func (m *medium) ReadAttribute(_ context.Context, p tape.Partition, id uint16) ([]byte, error) {
	if b, ok := m.attrs[fmt.Sprintf("%d:%04X", p, id)]; ok {
		return b, nil
	}
	return nil, m.err("read attribute", tape.NotFound)
}

// golden is the volume that the reference implementation wrote.
func golden(t testing.TB) *medium {
	t.Helper()
	f, err := os.Open("../testdata/volume.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	m := &medium{attrs: map[string][]byte{}, bad: map[tape.Position]tape.Kind{},
		limits: tape.Limits{MaxBlock: 1 << 20, Partitions: 2, HasMAM: true, HasLocate: true}}
	blocks := [2]map[int][]byte{{}, {}}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		var p, n int
		var id uint16
		var kind string
		name := strings.TrimPrefix(h.Name, "./")
		if c, _ := fmt.Sscanf(name, "attr_%d_%x", &p, &id); c == 2 {
			m.attrs[fmt.Sprintf("%d:%04X", p, id)] = b[5:]
		} else if c, _ := fmt.Sscanf(name, "%d_%d_%s", &p, &n, &kind); c == 3 && kind != "E" {
			if blocks[p][n] = nil; kind == "R" {
				blocks[p][n] = b
			}
		}
	}
	m.parts = make([][][]byte, 2)
	for p := range m.parts {
		for n := range len(blocks[p]) {
			m.parts[p] = append(m.parts[p], blocks[p][n])
		}
	}
	return m
}

func (m *medium) check(t testing.TB) *Report {
	t.Helper()
	r, err := Check(context.Background(), m, Options{Every: true, Data: true})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return r
}

// change replaces text in the record at a block.
func (m *medium) change(t testing.TB, p, block int, from, to string) {
	t.Helper()
	b := m.parts[p][block]
	if !bytes.Contains(b, []byte(from)) {
		t.Fatalf("block %d:%d has no %q: %.3000s", p, block, from, b)
	}
	m.parts[p][block] = bytes.Replace(b, []byte(from), []byte(to), 1)
}

// both replaces text in the newest index of both partitions.
func (m *medium) both(t testing.TB, from, to string) {
	t.Helper()
	m.change(t, 0, 5, from, to)
	m.change(t, 1, 16, from, to)
}

func (m *medium) insert(p, block int, b []byte) { m.parts[p] = slices.Insert(m.parts[p], block, b) }

func (m *medium) coherency(p int, fn func(b []byte)) {
	key := fmt.Sprintf("%d:080C", p)
	b := bytes.Clone(m.attrs[key])
	fn(b)
	m.attrs[key] = b
}

func put(at int, n uint64) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint64(b[at:], n) }
}
