package netaddr

import (
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// fileConn makes a connection of a file that the runtime's poller knows: a socket of
// a kind that package net does not, or a serial port. Its SyscallConn gives the file
// descriptor for system calls of the caller's own.
type fileConn struct {
	*os.File
	local, remote net.Addr
	closed        atomic.Bool
}

func (c *fileConn) LocalAddr() net.Addr  { return c.local }
func (c *fileConn) RemoteAddr() net.Addr { return c.remote }

// Read returns net.ErrClosed after Close, as the connections of package net.
func (c *fileConn) Read(p []byte) (int, error) {
	n, err := c.File.Read(p)
	return n, netErr(err, &c.closed)
}

func (c *fileConn) Write(p []byte) (int, error) {
	n, err := c.File.Write(p)
	return n, netErr(err, &c.closed)
}

// ReadFrom and WriteTo hide those of os.File, which would go past Read and Write.
func (c *fileConn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{c}, r) }
func (c *fileConn) WriteTo(w io.Writer) (int64, error)  { return io.Copy(w, struct{ io.Reader }{c}) }

func (c *fileConn) Close() error {
	c.closed.Store(true)
	return netErr(c.File.Close(), &c.closed)
}

// SyscallConn implements syscall.Conn.
func (c *fileConn) SyscallConn() (syscall.RawConn, error) {
	raw, err := c.File.SyscallConn()
	return &rawConn{raw, &c.closed}, err
}

// rawConn returns net.ErrClosed after Close.
type rawConn struct {
	syscall.RawConn
	closed *atomic.Bool
}

func (r *rawConn) Read(f func(fd uintptr) bool) error  { return netErr(r.RawConn.Read(f), r.closed) }
func (r *rawConn) Write(f func(fd uintptr) bool) error { return netErr(r.RawConn.Write(f), r.closed) }

// netErr is net.ErrClosed for an error that Close has caused: what package os returns
// then is not one that others can name.
func netErr(err error, closed *atomic.Bool) error {
	if err != nil && closed.Load() && !stderrors.Is(err, io.EOF) {
		return fmt.Errorf("%w (%v)", net.ErrClosed, err)
	}
	return err
}

// fileAddr is the address of a fileConn.
type fileAddr struct{ network, name string }

func (a fileAddr) Network() string { return a.network }
func (a fileAddr) String() string  { return a.name }

// OpenPort opens a virtio-serial port, or another character device that can be polled.
// It is no connection: nobody tells its two ends apart from one use to the next, and
// what the last user has not read is still there.
func OpenPort(path string) (net.Conn, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
		_ = unix.Close(fd)
		if err == nil {
			err = unix.ENOTTY
		}
		return nil, &os.PathError{Op: "use as a serial port", Path: path, Err: err}
	}
	a := fileAddr{"port", path}
	return &fileConn{File: os.NewFile(uintptr(fd), path), local: a, remote: a}, nil
}

// await runs try with the file's descriptor until it says that it is done, waiting for
// the poller in between, for at most as long as ctx.
func await(ctx context.Context, f *os.File, write bool, try func(fd int) (done bool)) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetDeadline(past) })
	wait := raw.Read
	if write {
		wait = raw.Write
	}
	err = wait(func(fd uintptr) bool { return try(int(fd)) })
	if !stop() && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
