package main

import (
	"context"
	stderrors "errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"

	"sliod/backend"
	"sliod/backend/config"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
	"sliod/cert"
	"sliod/server"
	"sliod/server/ctl"
)

// listen listens on an address of the command line. name is the same address with
// the port that was really taken.
func listen(network *server.Network, addr string) (l net.Listener, name string, err error) {
	l, err = network.Listen(addr)
	switch {
	case stderrors.Is(err, syscall.EADDRINUSE):
		return nil, "", fmt.Errorf("cannot listen on %s: another program does; stop it, or choose another address with --listen", addr)
	case stderrors.Is(err, os.ErrPermission):
		return nil, "", fmt.Errorf("cannot listen on %s: permission denied; choose another address with --listen", addr)
	case err != nil:
		return nil, "", err
	}
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		// The one that others can use, wherever they are.
		if abs, aerr := filepath.Abs(path); aerr == nil {
			path = abs
		}
		return l, "unix:" + path, nil
	}
	kind, _, _ := strings.Cut(addr, ":")
	return l, kind + ":" + l.Addr().String(), nil
}

// newNetwork reads what listening on the network needs.
func newNetwork(cfg *config.Config, log *logrus.Entry) (*server.Network, error) {
	n := &server.Network{Exports: cfg.Exports}
	if cfg.TLS.Cert == "" {
		return n, nil
	}
	var err error
	n.TLS, err = cert.NewServer(cert.Files{Cert: cfg.TLS.Cert, Key: cfg.TLS.Key, CA: cfg.TLS.ClientCA}, log)
	return n, err
}

func closeListener(l net.Listener) error {
	if err := l.Close(); err != nil && !stderrors.Is(err, net.ErrClosed) {
		return errors.Wrap(err, "stop listening")
	}
	return nil
}

// pinnedShare is the part of the cache that replies may pin which their clients do
// not read: one in so many.
const pinnedShare = 4

// serving is a 9P server at work on its listeners.
type serving struct {
	srv    *server.Server
	cancel context.CancelFunc
	wg     sync.WaitGroup // a goroutine for each listener
	failed chan error
}

// startServing serves the data tree and its control tree on the listeners. The
// listener that fails sends its error to failed.
func startServing(data vfs.FS, admin backend.Admin, cfg *config.Config, listeners []net.Listener, recalls *server.Recalls, log *logrus.Entry) (*serving, error) {
	srv, err := server.New(server.Config{
		Log: log, MaxMsize: uint32(cfg.Server.MsizeBytes), MaxPinned: int(cfg.Cache.SizeBytes / sliver.Size / pinnedShare),
		Exports: cfg.Exports, Recall: cfg.Recall.Clients, Recalls: recalls,
		Trees: map[string]vfs.FS{"": data, server.CtlTree: ctl.New(admin, ctl.Options{Log: log})},
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &serving{srv: srv, cancel: cancel, failed: make(chan error, len(listeners))}
	for _, l := range listeners {
		s.wg.Go(func() {
			if err := srv.Serve(ctx, l); err != nil {
				s.failed <- err
			}
		})
	}
	return s, nil
}

// stop ends all connections and waits for everything that ran. It may be called
// again.
func (s *serving) stop() error {
	s.cancel()
	err := s.srv.Close()
	s.wg.Wait()
	return err
}
