package ltfscheck

import (
	"context"
	"fmt"
	"io"

	"github.com/pkg/errors"

	"sliod/tape"
)

// Options are what Check can do beside the usual. The zero value is the usual.
type Options struct {
	// Every reads all indexes whole. Else the newest of each partition is, and of
	// the others the head.
	Every bool
	// Data reads all extents of the newest index.
	Data bool
	// Entry, if not nil, is called for every entry of the newest index, what is in a
	// directory before the directory itself.
	Entry func(*Entry)
}

// Check reads the volume in d, which is loaded, and says what is wrong with it.
// The error is for what is no fault of the volume: a drive that fails, ctx. A medium
// that is no LTFS volume at all is a finding.
func Check(ctx context.Context, d tape.Drive, o Options) (*Report, error) {
	c := &checker{ctx: ctx, d: d, o: o, rep: &Report{}}
	if err := c.run(); err != nil {
		return nil, errors.WithMessagef(err, "check the format of the volume in drive %s", d.Serial())
	}
	return c.rep, nil
}

type checker struct {
	ctx   context.Context
	d     tape.Drive
	o     Options
	rep   *Report
	label *label // of the first partition that has one
	parts []*part
	size  int // of a full record
	buf   []byte
	work  []*Entry // files of the newest index that have extents, for Options.Data
}

// part is a partition as it is found.
type part struct {
	no      tape.Partition
	letter  string
	marks   []uint64 // blocks that are filemarks
	end     uint64   // end of data
	indexes []*found
}

// found is an index construct.
type found struct {
	head
	region  int    // between marks[region-1] and marks[region]
	start   uint64 // first record
	chained bool   // the newest of its partition, or one that a chained one refers to
	whole   bool   // read to its end, without a fault of the XML
}

func (c *checker) say(s Severity, at tape.Position, text string, args ...any) {
	c.rep.add(Finding{Severity: s, At: at, HasAt: true, Text: fmt.Sprintf(text, args...)})
}

func (c *checker) sayAll(s Severity, text string, args ...any) {
	c.rep.add(Finding{Severity: s, Text: fmt.Sprintf(text, args...)})
}

func (c *checker) run() error {
	ok, err := c.labels()
	if err != nil || !ok {
		return err
	}
	for _, p := range c.parts {
		if err := c.filemarks(p); err != nil {
			return err
		}
		if err := c.constructs(p); err != nil {
			return err
		}
	}
	c.chain()
	if err := c.newest(); err != nil {
		return err
	}
	c.copies()
	if err := c.memory(); err != nil {
		return err
	}
	if c.o.Data {
		return c.data()
	}
	return nil
}

// blames says that err is the medium's fault, not the drive's or the caller's.
func blames(err error) bool {
	switch tape.KindOf(err) {
	case tape.MediumError, tape.BadBlockLength, tape.EndOfData, tape.Filemark, tape.EndOfMedium:
		return true
	}
	return false
}

// read reads the record at a position that the head is at.
func (c *checker) read() ([]byte, error) {
	if err := c.ctx.Err(); err != nil {
		return nil, errors.WithStack(err)
	}
	n, err := c.d.ReadBlock(c.ctx, c.buf)
	return c.buf[:max(n, 0)], err
}

func (c *checker) locate(p tape.Partition, block uint64) error {
	err := c.d.Locate(c.ctx, tape.Position{Partition: p, Block: tape.BlockNo(block)})
	return errors.WithMessagef(err, "go to block %d:%d", p, block)
}

// filemarks learns where the filemarks of p are, and where its data end.
func (c *checker) filemarks(p *part) error {
	if err := c.locate(p.no, 0); err != nil {
		return err
	}
	for {
		if err := c.ctx.Err(); err != nil {
			return errors.WithStack(err)
		}
		err := c.d.SpaceFilemarks(c.ctx, 1)
		if tape.KindOf(err) == tape.EndOfData {
			break
		}
		if err != nil {
			return errors.WithMessagef(err, "look for filemarks in partition %d", p.no)
		}
		at, err := c.d.Position(c.ctx)
		if err != nil {
			return errors.WithMessage(err, "ask for the position")
		}
		if at.Partition != p.no || at.Block == 0 {
			return errors.Errorf("the drive went to block %v while it looked for filemarks in partition %d", at, p.no)
		}
		p.marks = append(p.marks, uint64(at.Block)-1)
	}
	if err := c.d.LocateEnd(c.ctx, p.no); err != nil {
		return errors.WithMessagef(err, "go to the end of data of partition %d", p.no)
	}
	at, err := c.d.Position(c.ctx)
	if err != nil {
		return errors.WithMessage(err, "ask for the position")
	}
	p.end = uint64(at.Block)
	return nil
}

// constructs looks at what begins behind each filemark, and reads the heads of the
// indexes that it finds.
func (c *checker) constructs(p *part) error {
	used := make(map[int]bool) // marks that belong to a construct
	for i := 3; i < len(p.marks); i++ {
		start := p.marks[i-1] + 1
		if start == p.marks[i] {
			continue
		}
		f, err := c.construct(p, start)
		if err != nil {
			return err
		}
		if f == nil {
			continue
		}
		f.region = i
		used[i-1], used[i] = true, true
		p.indexes = append(p.indexes, f)
		c.rep.Indexes = append(c.rep.Indexes, Index{At: tape.Position{Partition: p.no, Block: tape.BlockNo(start)}, Generation: f.generation})
	}
	for i := 2; i < len(p.marks); i++ {
		if !used[i] {
			c.say(Warning, tape.Position{Partition: p.no, Block: tape.BlockNo(p.marks[i])}, "a filemark that belongs to no whole index")
		}
	}
	last := uint64(labelBlocks)
	if n := len(p.indexes); n > 0 {
		last = p.marks[p.indexes[n-1].region] + 1
	} else {
		c.say(Error, tape.Position{Partition: p.no}, "partition %s has no index", p.letter)
	}
	if last != p.end {
		c.say(Error, tape.Position{Partition: p.no, Block: tape.BlockNo(last)},
			"partition %s does not end in an index: it goes on to block %d", p.letter, p.end)
	}
	return nil
}

// construct reads the head of the index at a block; nil: there is none.
func (c *checker) construct(p *part, start uint64) (*found, error) {
	at := tape.Position{Partition: p.no, Block: tape.BlockNo(start)}
	if err := c.locate(p.no, start); err != nil {
		return nil, err
	}
	s := &stream{c: c, at: at}
	h, err := readHead(s)
	if s.err != nil && s.err != io.EOF && !blames(s.err) {
		return nil, errors.WithMessagef(s.err, "read block %v", at)
	}
	if err != nil {
		if s.looksLikeIndex {
			c.say(Warning, at, "what begins like an index cannot be read: %v", err)
		}
		return nil, nil
	}
	switch {
	case h.uuid != c.label.uuid:
		c.say(Warning, at, "an index of another volume, %s", h.uuid)
		return nil, nil
	case h.location.partition != p.letter || h.location.block != start:
		c.say(Warning, at, "an index that says it is at %v", h.location)
		return nil, nil
	}
	return &found{head: h, start: start}, nil
}

// newest reads the last index of each partition whole, and the others if they are
// all asked for.
func (c *checker) newest() error {
	told := false
	for i, p := range c.parts {
		for n, f := range p.indexes {
			last := n == len(p.indexes)-1
			if !last && !c.o.Every {
				continue
			}
			x := &indexReader{c: c, p: p, f: f}
			// The tree is shown once: the index partition's, or the other if that one
			// cannot be read.
			x.tell = last && !told
			if err := x.run(); err != nil {
				return err
			}
			if x.tell && (f.whole || i == len(c.parts)-1) {
				told = true
				c.rep.Generation = f.generation
				c.rep.Files, c.rep.Dirs, c.rep.Bytes = x.files, x.dirs, x.bytes
				c.work = x.work
			}
		}
	}
	return nil
}
