package main

import (
	"bufio"
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"log/syslog"
	"net"
	"os"
	"os/exec"
	"syscall"

	"github.com/sirupsen/logrus"
	logrussyslog "github.com/sirupsen/logrus/hooks/syslog"
)

// A mount in the background is a child of the command, in a session of its own. The
// command ends when the child has written a line to the pipe that it was given: nothing if
// the mount stands, else why not.

// readyEnv tells the child that file 3 is the pipe.
const readyEnv = "SLIOD_MOUNT_READY"

// background runs this command line again in a child, and waits until the mount stands. If ctx ends before, the
// child is told, and no mount is left.
func (a *app) background(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the program to run in the background: %w; use --foreground", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(self, mountArgs(os.Args[0], os.Args[1:])...)
	cmd.Env = append(os.Environ(), readyEnv+"=1")
	cmd.Stderr = a.err // messages until the mount stands
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		w.Close()
		return fmt.Errorf("run the mount in the background: %w", err)
	}
	w.Close()
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) }) // it may have ended
	defer stop()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err == nil && line == "ready\n" && stop() { // else it is being unmounted
		return cmd.Process.Release()
	}
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return stderrors.New("interrupted: nothing is mounted")
	case err != nil:
		return errReported // the child has said why
	}
	return stderrors.New("the mount ended before it stood")
}

// tellReady lets the waiting command, and systemd, know that the mount stands.
func tellReady(log *logrus.Entry) {
	if os.Getenv(readyEnv) != "" {
		w := os.NewFile(3, "ready")
		if _, err := io.WriteString(w, "ready\n"); err != nil {
			log.WithError(err).Debug("nobody waits for the mount")
		}
		w.Close()
		_ = os.Unsetenv(readyEnv)
		// Nobody reads what is written to the terminal's files from here on.
		if null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
			for _, fd := range []int{0, 1, 2} {
				_ = syscall.Dup3(int(null.Fd()), fd, 0)
			}
			null.Close()
		}
		_ = os.Chdir("/") // the directory of the command must not be kept busy
	}
	notifySystemd("READY=1", log)
}

// notifySystemd tells a service manager something (sd_notify(3)), if there is one.
func notifySystemd(state string, log *logrus.Entry) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.Dial("unixgram", path)
	if err == nil {
		_, err = io.WriteString(conn, state)
		conn.Close()
	}
	if err != nil {
		log.WithError(err).Warn("systemd could not be told")
	}
}

// mountLog is where a mount's messages go: standard error, in the background to
// syslog as well, which is all that stays of it then, or to a file.
func (a *app) mountLog(o mountOptions, foreground bool) (*logrus.Entry, error) {
	l := logrus.New()
	l.SetOutput(a.err)
	if o.debug {
		l.SetLevel(logrus.DebugLevel)
	} else if !foreground {
		l.SetLevel(logrus.WarnLevel)
	}
	switch {
	case o.logFile != "":
		f, err := os.OpenFile(o.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("-o log: %w", err)
		}
		l.SetOutput(f)
	case !foreground:
		if hook, err := logrussyslog.NewSyslogHook("", "", syslog.LOG_DAEMON|syslog.LOG_INFO, "sliod"); err == nil {
			l.AddHook(hook)
		} // a machine without syslog: the messages before the mount stands are seen
	}
	return logrus.NewEntry(l), nil
}

// fusermount is the program that mounts for users.
func fusermount() (string, error) {
	if path, err := exec.LookPath("fusermount3"); err == nil {
		return path, nil
	}
	return exec.LookPath("fusermount")
}

func haveFusermount() bool {
	_, err := fusermount()
	return err == nil
}

func runFusermount(args ...string) error {
	path, err := fusermount()
	if err != nil {
		return err
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
