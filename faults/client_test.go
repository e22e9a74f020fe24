package faults

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// client works in a directory of its own, at random, and knows what must be in it.
// Several work at the same time on one machine.
type client struct {
	*script
	dir   string
	r     *rand.Rand
	files int // made so far: no name is used again
	ops   int
	think time.Duration // the longest pause between two operations
	room  atomic.Int64  // bytes that it keeps at most
}

func newClient(m *machine, no int, seed uint64) *client {
	return &client{script: newScript(m), dir: fmt.Sprintf("/client%d", no), r: rand.New(rand.NewPCG(seed, uint64(no))), think: 40 * time.Second}
}

// open makes the directory. None of what a client does but reading and changing old
// files needs the tape.
func (c *client) open() { c.must("mkdir "+c.dir, c.mkdir(c.dir)) }

// work does operations until stop is closed.
func (c *client) work(stop <-chan struct{}) {
	for {
		t := time.NewTimer(time.Duration(c.r.Int64N(int64(c.think))))
		select {
		case <-t.C:
			c.step()
			c.ops++
		case <-stop:
			t.Stop()
			return
		}
	}
}

// step does one operation: as many reads as all others together.
func (c *client) step() {
	names := slices.Sorted(maps.Keys(c.script.files))
	held := 0
	for _, b := range c.script.files {
		held += len(b)
	}
	if len(names) == 0 {
		c.make()
		return
	}
	name := names[c.r.IntN(len(names))]
	switch n := c.r.IntN(12); {
	case n < 6:
		c.readOne(name)
	case int64(held) > c.room.Load():
		c.must("unlink "+name, c.unlink(name))
	case n < 9:
		c.make()
	case n < 11:
		c.change(name)
	default:
		c.must("chmod "+name, c.chmod(name, 0o600|uint32(c.r.IntN(0o100))))
	}
}

// make makes a file: most are small, some have several slivers.
func (c *client) make() {
	c.files++
	n := c.r.IntN(20_000)
	if c.r.IntN(3) == 0 {
		n = c.r.IntN(3 * mib)
	}
	c.create(fmt.Sprintf("%s/f%04d", c.dir, c.files), pattern(c.r.Uint64(), n))
}

// change overwrites a part of a sliver, or goes beyond the end of the file.
func (c *client) change(name string) {
	size := len(c.script.files[name])
	off := c.r.IntN(size + 1)
	n := min(1+c.r.IntN(100_000), mib-off%mib)
	c.write(name, off, pattern(c.r.Uint64(), n))
}

// begin has all clients work, until the function that it returns is called and each has
// ended its last operation.
func begin(cs []*client) (end func()) {
	stop := make(chan struct{})
	var g sync.WaitGroup
	for _, c := range cs {
		g.Go(func() { c.work(stop) })
	}
	return func() {
		close(stop)
		within("the clients", g.Wait)
	}
}

// failures takes the failed operations of all clients.
func failures(cs []*client) []string {
	var all []string
	for _, c := range cs {
		c.mu.Lock()
		all = append(all, c.failed...)
		c.failed = nil
		c.mu.Unlock()
	}
	return all
}
