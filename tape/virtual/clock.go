package virtual

import (
	"context"
	"time"
)

// Clock is the time that an emulated library lives in.
type Clock interface {
	Now() time.Time
	// Sleep waits for d, or until ctx ends.
	Sleep(ctx context.Context, d time.Duration)
}

type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now() }

func (wallClock) Sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// shortest is the least worth sleeping for; shorter times add up until it is
// reached.
const shortest = 2 * time.Millisecond

// pace makes a device take its time.
type pace struct {
	clock Clock
	speed float64 // 0: no time
	until time.Time
	hitch float64 // bytes until the next back-hitch is due
}

func (p *pace) scaled(seconds float64) time.Duration {
	return time.Duration(seconds / p.speed * float64(time.Second))
}

// wait sleeps until the device is at most ahead seconds from being done. If
// ctx ends, the pretended time does; the command is done all the same.
func (p *pace) wait(ctx context.Context, ahead float64) {
	if d := p.until.Sub(p.clock.Now()) - p.scaled(ahead); d >= shortest {
		p.clock.Sleep(ctx, d)
		if ctx.Err() != nil {
			p.until = p.clock.Now()
		}
	}
}

// spend takes seconds, after all that was begun before.
func (p *pace) spend(ctx context.Context, seconds float64) {
	if p.speed == 0 {
		return
	}
	if now := p.clock.Now(); p.until.Before(now) {
		p.until = now
	}
	p.until = p.until.Add(p.scaled(seconds))
	p.wait(ctx, 0)
}

// write takes seconds for n bytes, which may wait in the drive's buffer. A drive whose buffer
// ran empty has stopped, and must go back a little; the buffer hides that at
// most once each time that it fills.
func (p *pace) write(ctx context.Context, seconds float64, n int, rate float64) {
	if p.speed == 0 {
		return
	}
	p.hitch -= float64(n)
	if now := p.clock.Now(); p.until.Before(now) {
		if !p.until.IsZero() && p.hitch <= 0 {
			seconds += backHitch
			p.hitch = driveBuffer
		}
		p.until = now
	}
	p.until = p.until.Add(p.scaled(seconds))
	p.wait(ctx, driveBuffer/rate)
}

// read takes seconds for bytes that the drive may have read ahead since it was
// last asked.
func (p *pace) read(ctx context.Context, seconds, rate float64) {
	if p.speed == 0 {
		return
	}
	if early := p.clock.Now().Add(-p.scaled(driveBuffer / rate)); p.until.Before(early) {
		p.until = early
	}
	p.until = p.until.Add(p.scaled(seconds))
	p.wait(ctx, 0)
}
