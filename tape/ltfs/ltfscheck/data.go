package ltfscheck

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"

	"github.com/pkg/errors"

	"sliod/tape"
)

// hashKey is the key under which, by convention, the SHA-256 of a file stands.
const hashKey = "ltfs.hash.sha256sum"

// data reads the files of the newest index, in the order of the tape.
func (c *checker) data() error {
	key := func(n *Entry) Extent { return n.Extents[0] }
	slices.SortStableFunc(c.work, func(a, b *Entry) int {
		x, y := key(a), key(b)
		return cmp.Or(cmp.Compare(x.Partition, y.Partition), cmp.Compare(x.StartBlock, y.StartBlock), cmp.Compare(x.ByteOffset, y.ByteOffset))
	})
	r := &records{c: c}
	for _, n := range c.work {
		sum := sha256.New()
		bad := ""
		var at uint64
		for _, t := range n.Extents {
			if _, err := io.CopyN(sum, zeros{}, int64(t.FileOffset-min(at, t.FileOffset))); err != nil {
				return errors.WithStack(err)
			}
			var err error
			if bad, err = r.extent(t, sum); err != nil {
				return err
			}
			if bad != "" {
				break
			}
			at = t.FileOffset + t.ByteCount
		}
		if bad != "" {
			c.rep.add(Finding{Severity: Error, Path: n.Path, Text: bad})
			continue
		}
		want := ""
		for _, a := range n.Xattrs {
			if a.Key == hashKey {
				want = string(a.Value)
			}
		}
		if want == "" {
			continue
		}
		if _, err := io.CopyN(sum, zeros{}, int64(n.Length-min(at, n.Length))); err != nil {
			return errors.WithStack(err)
		}
		if got := hex.EncodeToString(sum.Sum(nil)); got != want {
			c.rep.add(Finding{Severity: Error, Path: n.Path, Text: fmt.Sprintf("its SHA-256 is %s, %s says %s", got, hashKey, want)})
		}
	}
	return nil
}

// zeros are what a gap between extents reads as.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// records reads blocks and keeps the last, as small files share one.
type records struct {
	c    *checker
	head tape.Position // of the drive
	ok   bool          // head is known
	at   tape.Position
	rec  []byte
	have bool
}

// extent writes the bytes of t to w; bad says what is wrong with it on tape.
func (r *records) extent(t Extent, w io.Writer) (bad string, err error) {
	p := r.c.partition(t.Partition)
	if p == nil || t.ByteOffset >= uint64(r.c.size) || t.ByteOffset+t.ByteCount < t.ByteCount {
		return "an extent that cannot be read", nil
	}
	block, off, left := t.StartBlock, t.ByteOffset, t.ByteCount
	for left > 0 {
		at := tape.Position{Partition: p.no, Block: tape.BlockNo(block)}
		if err := r.fetch(at); err != nil {
			if blames(err) {
				return fmt.Sprintf("block %v cannot be read: %v", at, err), nil
			}
			return "", errors.WithMessagef(err, "read block %v", at)
		}
		if off >= uint64(len(r.rec)) || left > uint64(len(r.rec))-off && len(r.rec) != r.c.size {
			return fmt.Sprintf("an extent goes over the end of record %v, which has %d bytes", at, len(r.rec)), nil
		}
		n := min(left, uint64(len(r.rec))-off)
		if _, err := w.Write(r.rec[off : off+n]); err != nil {
			return "", errors.WithStack(err)
		}
		left, off = left-n, 0
		block++
	}
	return "", nil
}

func (r *records) fetch(at tape.Position) error {
	if r.have && r.at == at {
		return nil
	}
	r.have = false
	if !r.ok || r.head != at {
		if err := r.c.d.Locate(r.c.ctx, at); err != nil {
			r.ok = false
			return err
		}
	}
	rec, err := r.c.read()
	if r.ok = err == nil; !r.ok {
		return err
	}
	r.head = tape.Position{Partition: at.Partition, Block: at.Block + 1}
	r.rec, r.at, r.have = rec, at, true
	return nil
}
