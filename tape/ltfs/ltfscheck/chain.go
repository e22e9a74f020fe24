package ltfscheck

import (
	"bytes"

	"sliod/tape"
)

// chain follows the references from the newest index to the first.
func (c *checker) chain() {
	data := c.parts[len(c.parts)-1]
	newest := data.last()
	if len(c.parts) == 2 {
		ip := c.parts[0]
		ix := ip.last()
		if ix != nil && newest != nil {
			c.ends(ip, ix, newest)
		}
		if ix != nil {
			c.chained(ip, ix)
		}
	}
	if newest == nil {
		return
	}
	c.chained(data, newest)
	for f, steps := newest, 0; f.previous != nil; steps++ {
		at := tape.Position{Partition: data.no, Block: tape.BlockNo(f.start)}
		if f.previous.partition != data.letter {
			c.say(Error, at, "index %d refers to one before it at %v, which is not in the data partition", f.generation, f.previous)
			return
		}
		var before *found
		for _, o := range data.indexes {
			if o.start == f.previous.block {
				before = o
			}
		}
		switch {
		case before == nil:
			c.say(Error, at, "index %d refers to one before it at %v, where there is none", f.generation, f.previous)
			return
		case before.start >= f.start:
			c.say(Error, at, "index %d refers to one behind it, at %v", f.generation, f.previous)
			return
		case before.generation >= f.generation:
			c.say(Error, at, "index %d refers to one before it of generation %d", f.generation, before.generation)
			return
		}
		c.chained(data, before)
		f = before
	}
	for i := range c.rep.Indexes {
		x := c.rep.Indexes[i]
		if !x.Chained && x.At.Partition == data.no {
			c.say(Warning, x.At, "no newer index refers to index %d", x.Generation)
		}
	}
}

// ends compares the last indexes of the two partitions.
func (c *checker) ends(ip *part, ix, newest *found) {
	at := tape.Position{Partition: ip.no, Block: tape.BlockNo(ix.start)}
	if ix.generation != newest.generation {
		c.say(Error, at, "the index partition ends in generation %d, the data partition in %d", ix.generation, newest.generation)
		return
	}
	data := c.parts[1]
	if ix.previous == nil {
		c.say(Error, at, "the index does not refer to the data partition's")
	} else if ix.previous.partition != data.letter || ix.previous.block != newest.start {
		c.say(Error, at, "the index refers to %v; the data partition's is at %s:%d", ix.previous, data.letter, newest.start)
	}
}

// copies compares what the last indexes of the two partitions say.
func (c *checker) copies() {
	if len(c.parts) != 2 {
		return
	}
	ix, newest := c.parts[0].last(), c.parts[1].last()
	if ix != nil && newest != nil && ix.generation == newest.generation && ix.whole && newest.whole && !bytes.Equal(ix.digest, newest.digest) {
		at := tape.Position{Partition: c.parts[0].no, Block: tape.BlockNo(ix.start)}
		c.say(Error, at, "the index differs from that of the same generation in the data partition")
	}
}

// last returns the index that p ends in, or nil.
func (p *part) last() *found {
	if len(p.indexes) == 0 {
		return nil
	}
	return p.indexes[len(p.indexes)-1]
}

func (c *checker) chained(p *part, f *found) {
	f.chained = true
	for i := range c.rep.Indexes {
		if x := &c.rep.Indexes[i]; x.At == (tape.Position{Partition: p.no, Block: tape.BlockNo(f.start)}) {
			x.Chained = true
		}
	}
}
