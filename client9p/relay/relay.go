// Package relay gives Linux' own 9P client connections that it does not know: TLS,
// vsock, a serial port of a virtual machine.
//
//	v9fs -- trans=fd -- socketpair -- Relay -- any connection -- server
//
// v9fs holds one end of a socketpair, this program the other. It copies bytes and
// knows nothing of 9P. The kernel closes its end when the file system is unmounted,
// which ends the relay. v9fs cannot connect again: when the server goes away, the mount
// fails for good.
package relay

import (
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// ErrServer is in the error of a relay that ended because of its second side.
var ErrServer = stderrors.New("the connection to the server ended")

// ErrSilent is in the error of a mount whose server says nothing.
var ErrSilent = stderrors.New("the server is silent")

// mountTime bounds what the server may take to answer while the kernel mounts, none of
// which waits for tape.
const mountTime = 30 * time.Second

// Run copies between the kernel's side and the server's until one ends, or ctx does.
// Both are closed then. It returns nil if it was the kernel's, which has unmounted.
func Run(ctx context.Context, kernel, server io.ReadWriteCloser) error {
	shut := func() {
		_ = kernel.Close() // whatever they say, the relay is over
		_ = server.Close()
	}
	stop := context.AfterFunc(ctx, shut)
	defer stop()
	ends := make(chan error, 2) // why a direction ended, nil if the kernel's side did
	go func() { ends <- pump(server, kernel, func(readErr, writeErr error) error { return writeErr }) }()
	go func() {
		ends <- pump(kernel, server, func(readErr, writeErr error) error {
			if writeErr != nil {
				return nil
			}
			return cmpErr(readErr, io.EOF)
		})
	}()
	first := <-ends
	shut()
	<-ends
	if first == nil || ctx.Err() != nil {
		return nil
	}
	return errors.Wrapf(ErrServer, "%v", first)
}

func cmpErr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// bufferSize is of the order of a message, so that one is copied in few calls.
const bufferSize = 256 << 10

// pump copies src to dst until one of them fails, and returns what judge makes of
// that: the error of a read, nil at the end, or that of a write.
func pump(dst io.Writer, src io.Reader, judge func(readErr, writeErr error) error) error {
	buf := make([]byte, bufferSize)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				return judge(nil, werr)
			}
		}
		if err == io.EOF {
			return judge(nil, nil)
		}
		if err != nil {
			return judge(err, nil)
		}
	}
}

// Pair returns the two ends of a new socketpair: a connection for Run, and a file for
// the kernel, which the caller closes when v9fs has taken it over.
func Pair() (ours net.Conn, kernels *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, errors.Wrap(err, "make a socketpair")
	}
	f := os.NewFile(uintptr(fds[0]), "relay")
	defer f.Close()
	kernels = os.NewFile(uintptr(fds[1]), "v9fs")
	if ours, err = net.FileConn(f); err != nil {
		_ = kernels.Close()
		return nil, nil, errors.Wrap(err, "make a connection of a socketpair")
	}
	return ours, kernels, nil
}

// Mounted is a 9P mount of the kernel that is relayed here.
type Mounted struct {
	cancel context.CancelFunc
	ended  chan error
}

// Ended gives the one result of Run: nil if the file system was unmounted.
func (m *Mounted) Ended() <-chan error { return m.ended }

// Close ends the connection, mounted or not: the mount is dead then.
func (m *Mounted) Close() { m.cancel() }

// Mount mounts 9P on dir over the connection server, which it takes over, with the
// options of v9fs, and relays until the file system is unmounted. The mount exists when
// Mount returns. The caller has to receive from Ended, after Close if need be.
func Mount(server io.ReadWriteCloser, source, dir, options string, flags uintptr) (*Mounted, error) {
	ours, kernels, err := Pair()
	if err != nil {
		_ = server.Close() // the first error counts
		return nil, err
	}
	defer kernels.Close()
	// The kernel speaks with the server before mount(2) returns.
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, ours, server) }()
	fd := kernels.Fd()
	data := options
	if data != "" {
		data += ","
	}
	data += "trans=fd,rfdno=" + fmt.Sprint(fd) + ",wfdno=" + fmt.Sprint(fd)
	silent := time.AfterFunc(mountTime, cancel)
	err = unix.Mount(source, dir, "9p", flags, data)
	inTime := silent.Stop()
	if err != nil {
		_ = kernels.Close() // the last one of the kernel's end, which ends Run
		lost := <-ended
		cancel()
		switch {
		case !inTime:
			return nil, errors.Wrapf(ErrSilent, "mount 9p on %s: no answer in %v", dir, mountTime)
		case lost != nil:
			return nil, errors.Wrapf(lost, "mount 9p on %s", dir)
		}
		return nil, errors.Wrapf(err, "mount 9p on %s with options %s", dir, options)
	}
	return &Mounted{cancel, ended}, nil
}
