package dial

import (
	"context"
	"net"
	"syscall"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// silence is how long a network may take nothing of what is sent before the connection over it ends.
// By default it is a quarter of an hour (tcp_retries2 of tcp(7)), in which no program that waits can be
// killed, since the Tflush of its request waits as well. What is not sent as the server reads nothing
// for so long counts too.
const silence = time.Minute

// dialTCP is the connection below tcp: and tls:. The probes that net sends over an idle connection, every
// 15 s, have it end after silence too (TCP_USER_TIMEOUT of tcp(7)).
func dialTCP(ctx context.Context, hostPort string, o Options) (net.Conn, error) {
	if o.Irreplaceable {
		return new(net.Dialer).DialContext(ctx, "tcp", hostPort)
	}
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if cerr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
		}); cerr != nil {
			return errors.WithStack(cerr)
		}
		return errors.Wrap(err, "set TCP_USER_TIMEOUT")
	}}
	return d.DialContext(ctx, "tcp", hostPort)
}
