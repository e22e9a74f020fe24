package bridge

import (
	"context"
	stderrors "errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"

	"sliod/client9p"
)

// errGone is the cause of an operation that failed because the connection was lost
// and what became of it is not known, or because something was lost with it.
var errGone = stderrors.New("the connection to the server was lost")

// Pauses between attempts to connect.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
)

// RemoteOptions are the options of NewRemote.
type RemoteOptions struct {
	Log *logrus.Entry // nil: silent
	// Dial connects to the server, at first and whenever the connection was lost.
	Dial func(ctx context.Context) (*client9p.Client, error)
	// Uname is the name by which users attach, Aname the tree or the path in it.
	Uname, Aname string
	// AsConnected attaches for every user as the one whom the connection stands for, by
	// a certificate: without a number.
	AsConnected bool
	// Wait is how long a request waits for a server that is away. 0: until it is
	// back, or the program is killed.
	Wait time.Duration
}

// session is a connection to a server that is made again when it is lost. Each
// connection has a number, its epoch: fids of an earlier one are void.
type session struct {
	o      RemoteOptions
	ctx    context.Context // ends at close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	c        *client9p.Client
	epoch    uint64
	redial   chan struct{} // closed when an attempt that is under way has ended; nil: none is
	instance string        // of the server, as it names itself; "" if it does not
	losing   uint64        // see lastLoss
}

// newSession makes the first connection.
func newSession(ctx context.Context, o RemoteOptions) (*session, error) {
	if o.Log == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		o.Log = logrus.NewEntry(silent)
	}
	s := &session{o: o, epoch: 1}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	var err error
	if s.c, err = o.Dial(ctx); err != nil {
		return nil, err
	}
	s.instance = s.askInstance(ctx, s.c)
	return s, nil
}

// maxInstance is more than what a server has to say to askInstance: 16 names of 26 bytes.
const maxInstance = 4096

// askInstance returns which run of the server this is, and of which ones it is the clean
// continuation, newest first: "NAME [PREVIOUS...]". Other servers than SLIOD do not say.
func (s *session) askInstance(ctx context.Context, c *client9p.Client) string {
	root, err := c.Attach(ctx, s.o.Uname, s.as(uid()), s.o.Aname)
	if err != nil {
		return ""
	}
	defer clunk(root)
	v, err := root.Xattr(ctx, "user.sliod.instance")
	if err != nil || len(v) > maxInstance {
		return ""
	}
	return string(v)
}

// as is the number with which to attach for a user.
func (s *session) as(uid uint32) uint32 {
	if s.o.AsConnected {
		return noUser
	}
	return uid
}

// noUser is the n_uname that names no user.
const noUser = 1<<32 - 1

// continues says whether a server that names itself now is the one before, or follows
// it without a loss.
func continues(before, now string) bool {
	was := strings.Fields(before)
	return len(was) > 0 && slices.Contains(strings.Fields(now), was[0])
}

// conn returns the connection, waiting for one if need be.
func (s *session) conn(ctx context.Context) (*client9p.Client, uint64, error) {
	var limit <-chan time.Time
	for {
		s.mu.Lock()
		if s.redial == nil && s.c.Err() == nil {
			c, epoch := s.c, s.epoch
			s.mu.Unlock()
			return c, epoch, nil
		}
		if s.ctx.Err() != nil {
			s.mu.Unlock()
			return nil, 0, errors.WithStack(errGone)
		}
		if s.redial == nil {
			s.redial = make(chan struct{})
			s.wg.Add(1)
			go s.reconnect(s.redial)
		}
		wait := s.redial
		s.mu.Unlock()
		if s.o.Wait > 0 && limit == nil {
			t := time.NewTimer(s.o.Wait)
			defer t.Stop()
			limit = t.C
		}
		if err := s.waitFor(ctx, wait, limit); err != nil {
			return nil, 0, err
		}
	}
}

// waitFor waits until redial is closed.
func (s *session) waitFor(ctx context.Context, redial <-chan struct{}, limit <-chan time.Time) error {
	select {
	case <-redial:
		return nil
	case <-limit:
		return errors.Wrapf(errGone, "no server for %v", s.o.Wait)
	case <-ctx.Done():
	}
	if d, ok := ctx.(client9p.Doubtful); ok && !d.Confirm(redial) {
		return nil
	}
	return context.Canceled
}

// reconnect dials until it succeeds or the session is closed.
func (s *session) reconnect(done chan struct{}) {
	defer s.wg.Done()
	s.o.Log.WithError(s.c.Err()).Warn("the connection to the server is lost: connecting again; requests wait")
	var c *client9p.Client
	var instance string
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		var err error
		if c, err = s.o.Dial(s.ctx); err == nil {
			instance = s.askInstance(s.ctx, c)
			if err = c.Err(); err == nil {
				break
			}
			_ = c.Close() // lost again: what it said, or did not, is no answer
		}
		s.o.Log.WithError(err).Debug("not connected yet")
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-s.ctx.Done():
			t.Stop()
			s.mu.Lock()
			s.redial = nil
			s.mu.Unlock()
			close(done)
			return
		}
	}
	s.mu.Lock()
	lost := !continues(s.instance, instance)
	s.epoch++
	if lost {
		s.losing = s.epoch
	}
	s.c, s.instance, s.redial = c, instance, nil
	s.mu.Unlock()
	if lost {
		s.o.Log.Warn("connected again, to a server that did not end cleanly: what was written and not synced may be lost; open files that wrote it fail with EIO, and the next fsync of the others does")
	} else {
		s.o.Log.Info("connected again; nothing was lost")
	}
	close(done)
}

// is says whether the connection of an epoch is the one that there is, and not lost.
func (s *session) is(epoch uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch == epoch && s.redial == nil && s.c.Err() == nil
}

// lastLoss returns the last epoch at whose begin unsynced data may have been lost.
func (s *session) lastLoss() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.losing
}

func (s *session) close() error {
	s.cancel()
	s.wg.Wait()
	s.mu.Lock()
	c := s.c
	s.mu.Unlock()
	return c.Close()
}

// disconnected says whether an error means that the connection was lost.
func disconnected(err error) bool { return stderrors.Is(err, client9p.ErrClosed) }
