package dial

import (
	"bytes"
	"context"
	stderrors "errors"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"github.com/pkg/errors"

	"sliod/server/wire"
)

// ErrStuck is in the error of a serial port whose other end does not answer.
var ErrStuck = stderrors.New("no 9P server answers there, or it waits for the rest of a message that an earlier user did not finish: " +
	"is the port's chardev connected to a server? If so, have it connect again (restart the server, or the virtual machine)")

// Sizes that settle agrees on: every server has more, and the number tells its answer
// from those to others.
const (
	settleMsize = 4096
	settleRange = 4096
)

// settle begins a new use of a serial port, which has no connections: what the server
// still has to say to an earlier user, whose program died, comes first, and is thrown away.
// Tversion ends that one's requests and files.
func settle(ctx context.Context, c net.Conn) error {
	version := wire.MsgTversion{Msize: settleMsize + rand.Uint32N(settleRange), Version: []byte(wire.Version)}
	var codec wire.Codec
	ask := codec.Append(nil, wire.NoTag, &version)
	answer := codec.Append(nil, wire.NoTag, &wire.MsgRversion{Msize: version.Msize, Version: version.Version})
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) }) // ends Read and Write
	defer stop()
	_, err := c.Write(ask)
	buf, n := make([]byte, 64<<10), 0
	for err == nil {
		var m int
		m, err = c.Read(buf[n:])
		n += m
		if i := bytes.Index(buf[:n], answer); i >= 0 {
			if !stop() {
				return errors.WithStack(ErrStuck)
			}
			if i+len(answer) < n {
				return errors.New("the serial port has more to say than was asked: another program uses it")
			}
			return nil
		}
		// The answer may have come in part.
		keep := min(n, len(answer)-1)
		n = copy(buf, buf[n-keep:n])
	}
	if stderrors.Is(err, os.ErrDeadlineExceeded) && stderrors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errors.WithStack(ErrStuck)
	}
	if cerr := context.Cause(ctx); cerr != nil {
		err = cerr
	}
	return errors.Wrap(err, "greet the server at its other end")
}
