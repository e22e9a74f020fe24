package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pkg/errors"

	"sliod/guest/child"
)

// How long a server may take to listen, and to end.
const (
	startTime = time.Minute
	stopTime  = 30 * time.Second
)

// server is one running server under load.
type server struct {
	name  string
	sock  string // unix socket
	aname string
	proc  *child.Child
	log   string // file with what it printed
}

// startAll starts null9p, diod if it is installed, and sliod. On an error it
// returns those that run.
func startAll(ctx context.Context, dir string, o options) ([]*server, error) {
	var servers []*server
	start := func(name, aname string, command ...string) error {
		if !o.wants(strings.TrimPrefix(name, oldPrefix)) {
			return nil
		}
		s, err := startServer(ctx, dir, name, command)
		if err != nil {
			return err
		}
		s.aname = aname
		servers = append(servers, s)
		return nil
	}
	sock := func(name string) string { return filepath.Join(dir, name+".sock") }
	if err := start("null9p", "", filepath.Join(dir, "null9p"), "unix:"+sock("null9p")); err != nil {
		return servers, err
	}
	if diod, err := exec.LookPath("diod"); err != nil && o.wants("diod") {
		fmt.Fprintln(os.Stderr, "diod is not installed (package diod): it is left out")
	} else if o.wants("diod") {
		export := filepath.Join(dir, "diod")
		if err := os.Mkdir(export, 0o755); err != nil {
			return servers, errors.Wrap(err, "make the directory that diod exports")
		}
		if err := start("diod", export, diod, "-f", "-n", "-c", "/dev/null", "-L", "stderr", "-l", sock("diod"), "-e", export); err != nil {
			return servers, err
		}
	}
	// The cache holds all that is written, and nothing goes to tape meanwhile:
	// the request path is measured, not the drives.
	config := filepath.Join(dir, "sliod.toml")
	text := fmt.Sprintf("[cache]\nsize = \"%dMiB\"\n\n[archive]\nidle = \"10m\"\n", max(1024, 4*o.fileBytes>>20))
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return servers, errors.Wrap(err, "write the configuration of sliod")
	}
	serve := func(name, program string) error {
		return start(name, "", program, "serve", "--state", filepath.Join(dir, name+"-state"), "--listen", "unix:"+sock(name), "--config", config)
	}
	err := serve("sliod", filepath.Join(dir, "sliod"))
	if err == nil && o.old != "" && o.wants("sliod") {
		err = serve(oldPrefix+"sliod", o.old)
	}
	return servers, err
}

// startServer starts a process and waits until it accepts connections.
func startServer(ctx context.Context, dir, name string, command []string) (*server, error) {
	s := &server{name: name, sock: filepath.Join(dir, name+".sock"), log: filepath.Join(dir, name+".log")}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, errors.Wrapf(err, "make the log of %s", name)
	}
	defer log.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	if s.proc, err = child.Start(cmd); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("unix", s.sock); err == nil {
			c.Close()
			return s, nil
		}
		select {
		case <-tick.C:
		case <-s.proc.Done():
			return nil, errors.Errorf("%s ended at once; it said:\n%s", name, s.logEnd())
		case <-ctx.Done():
			s.stop()
			return nil, errors.Errorf("%s does not listen on %s (%v); it said:\n%s", name, s.sock, ctx.Err(), s.logEnd())
		}
	}
}

// stop ends the server: politely, then by force. It may be called again.
func (s *server) stop() {
	if polite, _ := s.proc.Stop(stopTime); !polite {
		fmt.Fprintf(os.Stderr, "%s does not end after SIGTERM: killed\n", s.name)
	}
}

func (s *server) logEnd() string {
	text, _ := os.ReadFile(s.log)
	return string(text[max(0, len(text)-2000):])
}
