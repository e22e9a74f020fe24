package socket

import (
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// spinTime is how long RecvSoon asks again and again. Where processors are virtual, to
	// wake a thread costs as much.
	spinTime = 50 * time.Microsecond
	// maxSkip is for how many waits a socket leaves that.
	maxSkip = 1 << 10
	// maxWait is how long RecvSoon waits in poll(2) then.
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
	misses uint8  // in a row
	skip   uint16 // how many waits are left that go to poll(2) at once
}

// miss notes that to ask again and again was in vain.
func (r *rhythm) miss() {
	r.skip = maxSkip
	if r.misses < 10 {
		r.misses++
		r.skip = 1 << r.misses
	}
}

// hit notes that it was not.
func (r *rhythm) hit() { r.misses = 0 }

// try says whether it is to be done.
func (r *rhythm) try() bool {
	if r.skip > 0 {
		r.skip--
		return false
	}
	return true
}

// RecvSoon is Recv, and waits a moment: ErrNothing if nothing has come by then.
func (s *Socket) RecvSoon(p []byte) (int, error) {
	n, err := s.Recv(p)
	if err == ErrNothing && s.rhythm.try() {
		n, err = s.spin(p)
	}
	if err != ErrNothing {
		return n, err
	}
	defer waiting.Add(-1)
	if waiting.Add(1) > maxWaiting {
		return 0, ErrNothing
	}
	s.poll(unix.POLLIN|unix.POLLRDHUP, maxWaitMillis)
	return s.Recv(p)
}

// spin asks again and again.
func (s *Socket) spin(p []byte) (n int, err error) {
	defer spinning.Add(-1)
	if spinning.Add(1) > maxSpinning {
		return 0, ErrNothing
	}
	for begin := time.Now(); time.Since(begin) < spinTime; {
		if n, err = s.Recv(p); err != ErrNothing {
			s.rhythm.hit()
			return n, err
		}
	}
	s.rhythm.miss()
	return 0, ErrNothing
}
