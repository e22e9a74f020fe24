package socket

import (
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// minSpin and maxSpin bound how long RecvSoon asks again and again. Where processors are
	// virtual, to wake a thread costs as much.
	minSpin = 25 * time.Microsecond
	maxSpin = 200 * time.Microsecond
	// maxSkip is for how many waits a socket leaves that.
	maxSkip = 1 << 10
	// maxWaitMillis is how long RecvSoon waits in poll(2) then.
	maxWaitMillis = 1
	// maxWaiting is how many threads of the process do so at the same time.
	maxWaiting = 16
)

// spinning and waiting count the sockets of the process whose RecvSoon is under way.
var spinning, waiting atomic.Int32

// maxSpinning is how many sockets may ask again and again at the same time: half of the
// processors are left to the others.
var maxSpinning = int32(runtime.NumCPU() / 2)

// rhythm is what a socket has learned of how soon its other end answers.
type rhythm struct {
	spin   time.Duration // how long to ask again and again
	misses uint8         // in a row
	skip   int           // how many waits are left that go to poll(2) at once
}

// next returns how long to ask again and again for what comes next, 0: not at all.
func (r *rhythm) next() time.Duration {
	if r.skip > 0 {
		r.skip--
		return 0
	}
	return max(r.spin, minSpin)
}

// hit notes that something came after d, while it was asked for.
func (r *rhythm) hit(d time.Duration) {
	r.misses = 0
	r.spin = max(min(2*d, maxSpin), r.spin/2)
}

// miss notes that it was in vain, and after which time something came. If it only was too
// short, the next time is longer.
func (r *rhythm) miss(d time.Duration) {
	if spin := max(r.spin, minSpin); spin < maxSpin && d < maxSpin {
		r.spin = 2 * spin
		return
	}
	r.spin = minSpin
	if 1<<r.misses < maxSkip {
		r.misses++
	}
	r.skip = 1 << r.misses
}

// RecvSoon is Recv, and waits a moment: ErrNothing if nothing has come by then.
func (s *Socket) RecvSoon(p []byte) (n int, err error) {
	begin := time.Now()
	spin := s.rhythm.next()
	if spin > 0 {
		n, err = s.spin(p, begin, spin)
	} else {
		n, err = s.Recv(p)
	}
	if err != ErrNothing {
		return n, err
	}
	defer waiting.Add(-1)
	if waiting.Add(1) <= maxWaiting {
		s.poll(unix.POLLIN|unix.POLLRDHUP, maxWaitMillis)
		n, err = s.Recv(p)
	}
	if spin > 0 {
		s.rhythm.miss(time.Since(begin))
	}
	return n, err
}

// spin asks again and again, unless too many do.
func (s *Socket) spin(p []byte, begin time.Time, spin time.Duration) (n int, err error) {
	defer spinning.Add(-1)
	if spinning.Add(1) > maxSpinning {
		return s.Recv(p)
	}
	for {
		n, err = s.Recv(p)
		d := time.Since(begin)
		if err != ErrNothing {
			s.rhythm.hit(d)
		}
		if err != ErrNothing || d >= spin {
			return n, err
		}
		// The other end may wait for this processor, or whom it has to wake.
		_, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	}
}
