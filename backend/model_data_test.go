package backend

import (
	"bytes"
	"fmt"
	"slices"
)

// maxModelFile bounds the files of the model: two slivers and a bit.
const maxModelFile = 2<<20 + 512<<10

// change is a write or a cut of a file, from when it was issued to when its
// answer came. What was issued before another's answer may have come before or
// after it.
type change struct {
	off, end  int
	data      []byte // nil: zeros, up to the end of all files
	cut       bool
	issued    int
	completed int // 0: outstanding
}

func (c *change) at(i int) byte {
	if c.cut {
		return 0
	}
	return c.data[i-c.off]
}

// content is what a file may hold: base, changed by live in any order that the
// answers allow.
type content struct {
	clock int
	base  []byte // zeros behind the end of the file
	live  []*change
	sizes map[int]bool // that the file may have, apart from outstanding writes
}

func newContent() *content { return &content{sizes: map[int]bool{0: true}} }

func (c *content) outstanding() int {
	n := 0
	for _, x := range c.live {
		if x.completed == 0 {
			n++
		}
	}
	return n
}

// settled says that nothing is left to chance.
func (c *content) settled() bool { return len(c.live) == 0 && len(c.sizes) == 1 }

func (c *content) size() int {
	for s := range c.sizes {
		return s
	}
	return 0
}

func (c *content) grow(end int) {
	if end > len(c.base) {
		c.base = append(c.base, make([]byte, end-len(c.base))...)
	}
}

// issue notes a write that has been sent.
func (c *content) issue(off int, p []byte) *change {
	c.clock++
	x := &change{off: off, end: off + len(p), data: slices.Clone(p), issued: c.clock}
	c.live = append(c.live, x)
	return x
}

// complete notes the answer to a write: n bytes were written.
func (c *content) complete(x *change, n int) {
	c.clock++
	x.completed = c.clock
	x.end, x.data = x.off+n, x.data[:n]
	together := false
	for _, y := range c.live {
		together = together || y.cut && y.completed > x.issued
	}
	for s := range c.sizes {
		if s < x.end {
			if !together {
				delete(c.sizes, s)
			}
			c.sizes[x.end] = true
		}
	}
	c.fold()
}

// forget takes back a write that was cancelled.
func (c *content) forget(x *change) {
	c.live = slices.DeleteFunc(c.live, func(y *change) bool { return x == y })
	c.fold()
}

// truncate notes a truncate that was answered.
func (c *content) truncate(size int) {
	c.clock++
	x := &change{off: size, end: 1 << 40, cut: true, issued: c.clock}
	c.clock++
	x.completed = c.clock
	c.live = append(c.live, x)
	c.sizes = map[int]bool{size: true}
	c.fold()
}

// fold applies what is certain: the oldest changes, as long as none was under way
// at the same time.
func (c *content) fold() {
	for len(c.live) > 0 {
		x := c.live[0]
		if x.completed == 0 {
			return
		}
		for _, y := range c.live[1:] {
			if y.issued < x.completed {
				return
			}
		}
		c.apply(x)
		c.live = c.live[1:]
	}
}

func (c *content) apply(x *change) {
	if x.cut {
		if x.off < len(c.base) {
			clear(c.base[x.off:])
		}
		return
	}
	c.grow(x.end)
	copy(c.base[x.off:], x.data)
}

// check says whether a read at off may have given p.
func (c *content) check(off int, p []byte) error {
	if len(c.live) == 0 && off+len(p) <= len(c.base) && bytes.Equal(p, c.base[off:off+len(p)]) {
		return nil
	}
	cuts := []int{off, off + len(p)}
	for _, x := range c.live {
		for _, e := range []int{x.off, x.end} {
			if e > off && e < off+len(p) {
				cuts = append(cuts, e)
			}
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	for i := 0; i+1 < len(cuts); i++ {
		from, to := cuts[i], cuts[i+1]
		may, base := c.candidates(from)
		switch got := p[from-off : to-off]; {
		case base && to <= len(c.base) && bytes.Equal(got, c.base[from:to]):
			continue
		case len(may) == 1 && !may[0].cut && bytes.Equal(got, may[0].data[from-may[0].off:to-may[0].off]):
			continue
		}
		for at := from; at < to; at++ {
			got := p[at-off]
			ok := false
			if base {
				ok = at < len(c.base) && c.base[at] == got || at >= len(c.base) && got == 0
			}
			for _, x := range may {
				ok = ok || x.at(at) == got
			}
			if !ok {
				want := byte(0)
				if at < len(c.base) {
					want = c.base[at]
				}
				return fmt.Errorf("byte %d (sliver %d+%d) is %#02x; base %#02x allowed %v, changes %s", at, at>>20, at&(1<<20-1), got, want, base, describe(may))
			}
		}
	}
	return nil
}

// candidates are the changes that may be the last at byte i, and whether none may
// have been.
func (c *content) candidates(i int) (may []*change, base bool) {
	base = true
	for _, x := range c.live {
		if i < x.off || i >= x.end {
			continue
		}
		base = base && x.completed == 0
		last := true
		for _, y := range c.live {
			if i >= y.off && i < y.end && y.completed != 0 && x.completed != 0 && y.issued > x.completed {
				last = false
			}
		}
		if last {
			may = append(may, x)
		}
	}
	return may, base
}

func describe(list []*change) string {
	s := ""
	for _, x := range list {
		s += fmt.Sprintf("[%d,%d) cut=%v %d-%d; ", x.off, x.end, x.cut, x.issued, x.completed)
	}
	return s
}

// checkSize says whether size may be the file's now.
func (c *content) checkSize(size int) error {
	if c.sizes[size] {
		return nil
	}
	least := 1 << 40
	for s := range c.sizes {
		least = min(least, s)
	}
	for _, x := range c.live {
		if x.completed == 0 && size > least && size <= x.end {
			return nil // part of an outstanding write
		}
	}
	return fmt.Errorf("size %d, want one of %v (%d outstanding)", size, c.sizes, c.outstanding())
}

// observe takes what was read, when nothing is outstanding, for the truth.
func (c *content) observe(p []byte) {
	c.base = p
	c.live = nil
	c.sizes = map[int]bool{len(p): true}
}
