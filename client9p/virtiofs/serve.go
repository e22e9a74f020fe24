package virtiofs

import (
	"context"
	stderrors "errors"
	"net"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Options are the options of Serve.
type Options struct {
	Log *logrus.Entry
	// Open makes the file system of a guest that mounts. An error fails the mount with EIO.
	Open func(context.Context) (Session, error)
}

// Serve lets guests have the file system, one at a time, until ctx ends: monitors connect to l, which
// is closed then. A second monitor at the same time is turned away.
func Serve(ctx context.Context, l *net.UnixListener, o Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() }) // ends Accept
	defer stop()
	var cur *device
	defer func() {
		if cur != nil {
			cur.close()
			<-cur.done
		}
	}()
	for {
		conn, err := l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case stderrors.Is(err, unix.ECONNABORTED):
			o.Log.WithError(err).Warn("a monitor could not connect")
			continue
		case err != nil:
			return errors.Wrapf(err, "wait for a virtual machine on %s", l.Addr())
		}
		if cur != nil && !ended(cur) {
			o.Log.Warn("a second virtual machine is turned away: a socket is for one; run another sliod virtiofs for it")
			_ = conn.Close() // which tells it
			continue
		}
		if cur != nil {
			<-cur.done
		}
		cur = newDevice(ctx, conn, o)
		o.Log.Info("a virtual machine has connected")
		go func(d *device) {
			if err := d.run(); err != nil {
				o.Log.WithError(err).Error("the virtual machine's connection has failed")
				return
			}
			o.Log.Info("the virtual machine has ended")
		}(cur)
	}
}

// ended says whether a guest's monitor is gone, even if that has not been noticed yet.
func ended(d *device) bool {
	raw, err := d.conn.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, _ := unix.Poll(poll, 0)
		gone = n > 0 && poll[0].Revents&(unix.POLLHUP|unix.POLLRDHUP|unix.POLLERR) != 0
	})
	return err != nil || gone // the error: it was closed here
}
