package mover

import (
	"context"
	"math"
	"math/rand"
	"sync"
	"time"

	"sliod/tape"
	"sliod/tape/geometry"
)

// Devices that take the time of real ones, by the clock of a bubble, around emulated ones that take none. The tape is long
// though little is on it: each block of the data takes as much of it as told.

// slowTape is such a drive. Its owner uses it alone.
type slowTape struct {
	tape.Drive
	gen  geometry.Generation
	each geometry.Offset // how much of the tape a block takes: a wrap is so many blocks
	on   *bool           // it takes time
	head geometry.Offset
	off  *rand.Rand // it is not as the model says, but slower by 10 to 50 %; nil: it is
}

// Times that package geometry does not have, as the emulated drive takes them.
const slowFlush = 2 * time.Second

func (d *slowTape) spend(seconds float64) {
	if d.off != nil {
		seconds *= 1.1 + 0.4*d.off.Float64()
	}
	if *d.on {
		time.Sleep(time.Duration(seconds * float64(time.Second)))
	}
}

func (d *slowTape) offset(p tape.Position) geometry.Offset {
	if p.Partition == 0 {
		return geometry.Offset(p.Block) * (64 << 10)
	}
	return d.gen.SecondPartition(d.gen.FirstPartition(d.gen.Capacity)) + geometry.Offset(p.Block)*d.each
}

// moved follows the head to where the inner drive has gone.
func (d *slowTape) moved(ctx context.Context, err error) error {
	if p, perr := d.Drive.Position(ctx); perr == nil {
		at := d.offset(p)
		d.spend(d.gen.Locate(d.head, at))
		d.head = at
	}
	return err
}

func (d *slowTape) Load(ctx context.Context) error {
	d.spend(d.gen.Load.Seconds())
	d.head = 0
	return d.Drive.Load(ctx)
}

func (d *slowTape) Unload(ctx context.Context) error {
	d.spend(d.gen.Rewind(d.head) + d.gen.Unload.Seconds())
	d.head = 0
	return d.Drive.Unload(ctx)
}

func (d *slowTape) Limits() tape.Limits {
	l := d.Drive.Limits()
	if l.CapacityBytes > 0 {
		l.CapacityBytes = d.gen.Capacity
	}
	return l
}

func (d *slowTape) Locate(ctx context.Context, to tape.Position) error {
	return d.moved(ctx, d.Drive.Locate(ctx, to))
}

func (d *slowTape) LocateEnd(ctx context.Context, p tape.Partition) error {
	return d.moved(ctx, d.Drive.LocateEnd(ctx, p))
}

func (d *slowTape) Rewind(ctx context.Context) error { return d.moved(ctx, d.Drive.Rewind(ctx)) }

func (d *slowTape) SpaceFilemarks(ctx context.Context, n int) error {
	return d.moved(ctx, d.Drive.SpaceFilemarks(ctx, n))
}

// ReadBlock: the next block is far away, too, but not behind a label.
func (d *slowTape) ReadBlock(ctx context.Context, buf []byte) (int, error) {
	if p, err := d.Drive.Position(ctx); err == nil && *d.on && p.Partition == 1 && p.Block > 4 {
		at := d.offset(p)
		d.spend(d.gen.Locate(d.head, at))
		d.head = at
	}
	n, err := d.Drive.ReadBlock(ctx, buf)
	d.head += geometry.Offset(n)
	d.spend(float64(n) / d.gen.Rate)
	return n, err
}

func (d *slowTape) WriteBlock(ctx context.Context, p []byte) error {
	d.spend(float64(len(p)) / d.gen.Rate)
	d.head += geometry.Offset(len(p))
	return d.Drive.WriteBlock(ctx, p)
}

func (d *slowTape) WriteFilemarks(ctx context.Context, n int) error {
	d.spend(slowFlush.Seconds())
	return d.Drive.WriteFilemarks(ctx, n)
}

// Wraps: every wrap of the second partition up to the end of data.
func (d *slowTape) Wraps(ctx context.Context) (ws []tape.WrapEnd, err error) {
	base := d.offset(tape.Position{Partition: 1})
	for w := range d.gen.Wraps {
		if end := geometry.Offset(w+1)*geometry.Offset(d.gen.WrapBytes) - base; end > 0 {
			ws = append(ws, tape.WrapEnd{Wrap: w, Partition: 1, End: tape.BlockNo(math.Round(float64(end/d.each))) - 1})
		}
	}
	return ws, nil
}

// Order is nearest first, as the emulated drive has it.
func (d *slowTape) Order(_ context.Context, ss []tape.Segment) (order []int, err error) {
	at, done := d.head, make([]bool, len(ss))
	for len(order) < len(ss) {
		best, least := -1, 0.0
		for i, s := range ss {
			t := d.gen.Locate(at, d.offset(tape.Position{Partition: s.Partition, Block: s.First}))
			if !done[i] && (best < 0 || t < least) {
				best, least = i, t
			}
		}
		order, done[best] = append(order, best), true
		at = d.offset(tape.Position{Partition: ss[best].Partition, Block: ss[best].Last})
	}
	return order, nil
}

// slowArm is an arm that carries one cartridge at a time.
type slowArm struct {
	tape.Changer
	on   *bool
	once sync.Once
	turn chan struct{}
}

func (a *slowArm) Move(ctx context.Context, from, to uint16) error {
	a.once.Do(func() { a.turn = make(chan struct{}, 1) })
	a.turn <- struct{}{}
	defer func() { <-a.turn }()
	if *a.on {
		time.Sleep(geometry.RobotMove)
	}
	return a.Changer.Move(ctx, from, to)
}
