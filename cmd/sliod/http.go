package main

import (
	"context"
	"encoding/json"
	stderrors "errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"

	"sliod/backend"
)

// listenHTTP listens on the address of --http. What is served there has no
// permissions of its own, so it is for the loopback interface only.
func listenHTTP(addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, &usageError{fmt.Sprintf("--http %s: write HOST:PORT, such as 127.0.0.1:8080", addr)}
	}
	if host == "" || host == "localhost" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, &usageError{fmt.Sprintf("--http %s: only addresses of the loopback interface will do, such as 127.0.0.1:%s", addr, port)}
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	switch {
	case stderrors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("--http %s: another program listens there; stop it, or choose another port", addr)
	case stderrors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("--http %s: permission denied; choose a port above 1023", addr)
	}
	return l, errors.Wrapf(err, "--http %s", addr)
}

// serveHTTP answers /healthz and /status on l. stop ends it and waits.
func serveHTTP(l net.Listener, admin backend.Admin, log *logrus.Entry) (stop func() error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = fmt.Fprintln(w, "ok") // a client that is gone needs no answer
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		text, err := json.MarshalIndent(admin.Status(), "", "  ")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(text, '\n')) // a client that is gone needs no answer
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(l); !stderrors.Is(err, http.ErrServerClosed) {
			log.WithError(err).Error("the HTTP server has ended")
		}
	}()
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		err := s.Shutdown(ctx)
		if err != nil {
			err = s.Close()
		}
		<-done
		return errors.Wrap(err, "stop the HTTP server")
	}
}
