package virtiofs

import (
	"context"
	"encoding/binary"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/sirupsen/logrus"
)

// Session is the file system of one mount. fuse.ProtocolServer is most of one.
type Session interface {
	// HandleRequest answers the request in by writing to out, and returns how much it wrote. It is
	// called by many goroutines.
	HandleRequest(in, out [][]byte) (int, fuse.Status)
	// Close ends the session, and the requests that wait. Requests may still come.
	Close()
}

// Operations of FUSE that begin and end a session, and the sizes of headers.
const (
	opInit    = 26
	opDestroy = 38

	inHeader  = 40
	outHeader = 16
)

// sessions has the session of a guest, one at a time.
type sessions struct {
	ctx  context.Context
	open func(context.Context) (Session, error)
	log  *logrus.Entry

	turn sync.Mutex // held while a session begins or ends

	mu     sync.Mutex
	cur    Session // nil: the guest has mounted nothing
	closed bool
}

// handle answers a request by at most size bytes.
func (s *sessions) handle(in []byte, size int) (answer []byte) {
	if len(in) < inHeader {
		s.log.Warnf("the guest sends a request of %d bytes", len(in))
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			s.log.Errorf("a request of the guest fails with EIO: panic: %v\n%s", r, debug.Stack())
			answer = failure(in, size, syscall.EIO)
		}
	}()
	op := binary.LittleEndian.Uint32(in[4:])
	if op == opInit {
		if err := s.begin(); err != nil {
			s.log.WithError(err).Error("the guest mounts, and cannot")
			return failure(in, size, syscall.EIO)
		}
	}
	s.mu.Lock()
	cur := s.cur
	s.mu.Unlock()
	if cur == nil {
		return failure(in, size, syscall.ENOTCONN)
	}
	out := make([]byte, size)
	n, status := cur.HandleRequest([][]byte{in}, [][]byte{out})
	if op == opDestroy {
		s.end()
		s.log.Info("the guest has unmounted")
	}
	if n == 0 && status != fuse.OK {
		return failure(in, size, syscall.Errno(status))
	}
	return out[:n]
}

// failure is the answer to a request that did not reach the file system.
func failure(in []byte, size int, errno syscall.Errno) []byte {
	if size < outHeader {
		return nil // the request has no answer
	}
	b := make([]byte, outHeader)
	binary.LittleEndian.PutUint32(b, outHeader)
	binary.LittleEndian.PutUint32(b[4:], uint32(-int32(errno)))
	copy(b[8:], in[8:16]) // the request's number
	return b
}

// begin begins a session. An earlier one that did not end was of a guest that was reset.
func (s *sessions) begin() error {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.endInTurn()
	next, err := s.open(s.ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.cur = next
	}
	s.mu.Unlock()
	if closed {
		next.Close()
		return context.Canceled
	}
	s.log.Info("the guest has mounted")
	return nil
}

func (s *sessions) end() {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.endInTurn()
}

func (s *sessions) endInTurn() {
	s.mu.Lock()
	cur := s.cur
	s.cur = nil
	s.mu.Unlock()
	if cur != nil {
		cur.Close()
	}
}

// close ends the session; none can begin any more.
func (s *sessions) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
}
