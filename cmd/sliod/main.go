package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/term"

	"sliod/backend/config"
	"sliod/client9p/dial"
	"sliod/tape/sg"
)

// Exit statuses. Others script against them.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, signals: make(chan os.Signal, 2), pollEvery: 200 * time.Millisecond, watchEvery: 2 * time.Second, linesEvery: 10 * time.Second, open: openArchive, discover: sg.Discover, self: os.Args[0]}
	a.term = term.IsTerminal(int(os.Stderr.Fd()))
	a.outTerm = term.IsTerminal(int(os.Stdout.Fd()))
	a.inTerm = term.IsTerminal(int(os.Stdin.Fd()))
	signal.Notify(a.signals, os.Interrupt, syscall.SIGTERM)
	os.Exit(a.run(context.Background(), mountArgs(os.Args[0], os.Args[1:])))
}

// outliveReaders has a command that others rely on go on when nobody reads its output any longer: "sliod serve | tee log", of
// which Ctrl-C ends tee first. What is written then gets EPIPE; without this, it would end the program (os/signal, "SIGPIPE").
// It is not ignored: programs that are run, such as a key_command, would inherit that.
func outliveReaders() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// app is one run of the program: what it shares with the world around it, and
// the flags of all commands.
type app struct {
	in            io.Reader
	out, err      io.Writer
	term, outTerm bool           // err and out are terminals
	inTerm        bool           // and the input is
	signals       chan os.Signal // SIGINT and SIGTERM
	pollEvery     time.Duration  // how often --wait looks at its job
	watchEvery    time.Duration  // how often status --watch looks again
	linesEvery    time.Duration  // how often --wait writes a line, without a terminal

	// open opens the archive of a state directory.
	open func(ctx context.Context, cfg *config.Config, stateDir string, listen []string, log *logrus.Entry) (archive, error)
	// discover looks for SCSI devices.
	discover func(ctx context.Context) (*sg.Found, error)

	self       string // the program as the user calls it
	stateDir   string
	serverAddr string
	dialing    dial.Options // the TLS flags
	began      bool         // the command line was right, and a command has begun
}

// run runs the command line args and returns the exit status. The first signal
// ends the command's context, the second the program.
func (a *app) run(ctx context.Context, args []string) int {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	watcher := make(chan struct{})
	go func() {
		defer close(watcher)
		for n := 0; ; n++ {
			select {
			case <-ended:
				return
			case <-a.signals:
				if n > 0 {
					os.Exit(exitFailed)
				}
				cancel()
			}
		}
	}()
	defer func() {
		cancel()
		close(ended)
		<-watcher
	}()

	root := a.newRoot()
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(a.err)
	c, err := root.ExecuteContextC(ctx)
	if err != nil && !a.began && c.HasParent() && !strings.Contains(err.Error(), "flag") {
		err = fmt.Errorf("%w; usage: %s", err, c.UseLine()) // a wrong number of arguments
	}
	return a.report(err)
}
