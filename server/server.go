package server

import (
	"context"
	stderrors "errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
	"sliod/backend/vfs"
	"sliod/export"
	"sliod/netaddr"
	"sliod/server/wire"
)

// CtlTree is the attach name of the control tree.
const CtlTree = "ctl"

// Keys of log fields.
const (
	fieldConn = "conn"
	fieldPeer = "peer"
	fieldUID  = "uid"
	fieldCert = "certificate"
	fieldOp   = "op"
	fieldTag  = "tag"
)

// ErrClosed is returned by Serve when the server is closed.
var ErrClosed = stderrors.New("server is closed")

// Defaults and limits of Config.
const (
	// LargestMsize lets a Tread or Twrite carry 4 MiB.
	LargestMsize = 4<<20 + wire.WriteOverhead + 1
	// DefaultMaxFids is far above what a Linux client holds: a fid for each cached
	// directory entry and each open file that it still uses.
	DefaultMaxFids = 1 << 20
	// DefaultQueueBytes is how much a client may leave unread.
	DefaultQueueBytes = 16 << 20
	// DefaultMaxPinned is 1 GiB if each slot is a whole sliver.
	DefaultMaxPinned = 1024
	// DefaultMaxConns bounds the connections at one time.
	DefaultMaxConns = 4096
)

// Config says what a Server serves and to whom.
type Config struct {
	Log *logrus.Entry
	// Trees are the trees by attach name. "" is the data tree, which must be there:
	// an attach name that is no key is a path in it. CtlTree is open to uid 0 and
	// the server's own user alone.
	Trees map[string]vfs.FS
	// MaxMsize is the largest frame in bytes, its header included. 0: LargestMsize,
	// which is the limit too.
	MaxMsize uint32
	// MaxFids bounds the fids of a connection; a client beyond it gets EMFILE.
	MaxFids int
	// QueueBytes is how many bytes of replies a connection may leave unread before no
	// more of its requests are read.
	QueueBytes int
	// MaxPinned bounds the slots of the cache that unread replies of all connections
	// pin together. Beyond it reads are answered short, from copies.
	MaxPinned int
	// MaxConns bounds the connections; one beyond it is closed at once.
	MaxConns int
	// Authorize, if not nil, is asked after the rules of the package have allowed p to
	// attach to the tree as uid. It returns an errno to refuse.
	Authorize func(p Peer, uid uint32, tree string) error
	// Exports are the subtrees that others than local peers may attach to, and local
	// ones by name. export.CheckAll has passed them.
	Exports []export.Export
	// Recall is the rule for recalls of local peers who use no export. The zero value
	// allows them.
	Recall export.Recall
	// Recalls keeps the rules of recalls. Nil: the server has its own keeper.
	Recalls *Recalls
	// Identify, if not nil, tells who is at the other end of a connection, instead of
	// the function Identify.
	Identify func(net.Conn) (Peer, error)
}

// Server serves trees to 9P2000.L clients. Methods are safe for concurrent use.
type Server struct {
	cfg   Config
	log   *logrus.Entry
	uid   uint32
	users *Users
	pins  pins

	mu        sync.Mutex
	closed    bool
	nextConn  uint64
	conns     map[*conn]struct{} // that are being served
	accepted  int                // with those whose peer is still being found out
	strangers int                // of them, from other machines
	pending   map[net.Conn]struct{}
	listeners map[net.Listener]struct{}
	wg        sync.WaitGroup
}

// New returns a server, which serves nothing yet.
func New(cfg Config) (*Server, error) {
	if cfg.Log == nil || cfg.Trees[""] == nil {
		return nil, errors.New("server: a log and a data tree (attach name \"\") are needed")
	}
	if cfg.MaxMsize == 0 || cfg.MaxMsize > LargestMsize {
		cfg.MaxMsize = LargestMsize
	}
	if cfg.MaxMsize < minMsize {
		return nil, errors.Errorf("server: msize %d is too small; it must be at least %d", cfg.MaxMsize, minMsize)
	}
	setDefault(&cfg.MaxFids, DefaultMaxFids)
	setDefault(&cfg.QueueBytes, DefaultQueueBytes)
	setDefault(&cfg.MaxPinned, DefaultMaxPinned)
	setDefault(&cfg.MaxConns, DefaultMaxConns)
	if cfg.Identify == nil {
		cfg.Identify = Identify
	}
	if cfg.Recalls == nil {
		cfg.Recalls = NewRecalls(cfg.Log)
	}
	return &Server{
		cfg: cfg, log: cfg.Log, uid: uint32(os.Geteuid()), users: NewUsers(), pins: pins{limit: int64(cfg.MaxPinned)},
		conns:     make(map[*conn]struct{}),
		pending:   make(map[net.Conn]struct{}),
		listeners: make(map[net.Listener]struct{}),
	}, nil
}

func setDefault(p *int, v int) {
	if *p <= 0 {
		*p = v
	}
}

// Serve accepts connections from l until ctx is done, l fails, or the server is
// closed; it closes l. The connections go on after a return: Close ends them. The
// error is nil if ctx is done, ErrClosed after Close, or l's.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer func() { _ = l.Close() }() // a second close fails, and that is fine
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()

	const longest = time.Second
	for pause := time.Duration(0); ; {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.ServeConn(nc)
		case ctx.Err() != nil:
			return nil
		case s.isClosed():
			return ErrClosed
		case stderrors.Is(err, net.ErrClosed):
			return errors.Wrap(err, "accept connections: the listener was closed")
		default: // such as EMFILE: it passes
			pause = min(max(2*pause, 5*time.Millisecond), longest)
			s.log.WithError(err).Warnf("could not accept a connection; trying again in %v", pause)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pause):
			}
		}
	}
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// ServeConn serves one connection in goroutines of its own and returns at once. The
// connection belongs to the server from then on.
func (s *Server) ServeConn(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stranger := isStranger(nc)
	if s.closed || s.accepted >= s.cfg.MaxConns || stranger && s.strangers >= strangerShare(s.cfg.MaxConns) {
		if !s.closed {
			s.log.Warnf("connection refused: there are %d already, %d of them from other machines", s.accepted, s.strangers)
		}
		_ = nc.Close()
		return
	}
	s.accepted++
	if stranger {
		s.strangers++
	}
	s.nextConn++
	id := s.nextConn
	s.pending[nc] = struct{}{}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		s.serveConn(nc, id)
		s.mu.Lock()
		s.accepted--
		if stranger {
			s.strangers--
		}
		s.mu.Unlock()
	}()
}

// strangerShare is how many of n connections other machines may have: however many they
// make, there is one for a local user.
func strangerShare(n int) int { return n - n/4 }

// isStranger says whether a connection is, or may be, from another machine.
func isStranger(nc net.Conn) bool {
	switch a := nc.RemoteAddr().(type) {
	case *net.TCPAddr:
		return !a.IP.IsLoopback()
	case netaddr.VsockAddr:
		return true
	}
	return false
}

func (s *Server) serveConn(nc net.Conn, id uint64) {
	log := s.log.WithField(fieldConn, id)
	peer, err := s.cfg.Identify(nc)
	if err == nil {
		err = s.admit(&peer)
	}
	s.mu.Lock()
	delete(s.pending, nc)
	if err != nil || s.closed {
		s.mu.Unlock()
		if err != nil {
			log.WithError(err).Warn("connection refused")
		}
		_ = nc.Close()
		return
	}
	log = log.WithField(fieldPeer, peer.Addr)
	if peer.UID != wire.NoUname {
		log = log.WithField(fieldUID, peer.UID)
	}
	if peer.Name != "" {
		log = log.WithField(fieldCert, peer.Name)
	}
	c, err := newConn(s, nc, id, peer, log)
	if err != nil {
		s.mu.Unlock()
		log.WithError(err).Warn("connection refused")
		_ = nc.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.mu.Unlock()

	log.Debug("connection begins")
	c.serve()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// admit says whether a peer may be connected at all. A local one may.
func (s *Server) admit(p *Peer) error {
	if p.Kind == export.Local {
		return nil
	}
	for i := range s.cfg.Exports {
		if s.cfg.Exports[i].Admits(&p.Peer) {
			return nil
		}
	}
	return errors.Errorf("no [export.NAME] of the configuration has networks that let %s in", p.Addr)
}

// Close ends everything: no more requests are read, answers that are ready are sent,
// deferred requests are dropped unanswered, and all goroutines have ended when it
// returns. A client that does not read its replies delays it by closeGrace at most.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	var listeners []net.Listener
	for l := range s.listeners {
		listeners = append(listeners, l)
	}
	var pending []net.Conn
	for nc := range s.pending {
		pending = append(pending, nc)
	}
	var conns []*conn
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close() // Serve closes it too
	}
	for _, nc := range pending {
		_ = nc.Close()
	}
	for _, c := range conns {
		c.stop()
	}
	s.wg.Wait()
	return nil
}
