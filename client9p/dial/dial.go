package dial

import (
	"context"
	"crypto/tls"
	stderrors "errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pkg/errors"

	"sliod/cert"
	"sliod/netaddr"
)

// Timeout bounds the wait for a connection, the handshake of TLS included.
const Timeout = 15 * time.Second

// Options are what an address does not say.
type Options struct {
	// TLS names the client's files, for tls: addresses. An empty Key is next to Cert:
	// the same name with .key at its end.
	TLS cert.Files
	// ServerName is what the server's certificate must be for, if that is not the host
	// of the address.
	ServerName string
	// Irreplaceable says that no other connection can take this one's place, as below a mount of the kernel:
	// a network that goes silent ends it only when the system gives it up.
	Irreplaceable bool
}

// ErrOptions is in the error of a Dial that lacks an option.
var ErrOptions = stderrors.New("a certificate of yours and that of the server's CA are needed: " +
	"--tls-cert FILE --tls-ca FILE, or -o tls_cert=FILE,tls_ca=FILE of mount; \"sliod cert\" makes them for a lab")

// Refused is a TLS connection that one side refuses.
type Refused struct {
	Addr string
	Say  string // what is wrong and what to do
	Err  error
}

func (e *Refused) Error() string {
	return "TLS connection to " + e.Addr + ": " + e.Say + " (" + e.Err.Error() + ")"
}

func (e *Refused) Unwrap() error { return e.Err }

// AsUser says whether a connection to addr acts as the one user that the certificate
// names, whatever number a client attaches with: it gives none then.
func (o Options) AsUser(addr string) bool {
	if a, err := netaddr.Parse(addr); err != nil || a.Kind != netaddr.TLS {
		return false
	}
	n, err := cert.NameOfFile(o.TLS.Cert)
	return err == nil && !n.Host
}

// Dial connects to the server at addr. Errors of the system are in what it returns.
func Dial(ctx context.Context, addr string, o Options) (net.Conn, error) {
	a, err := netaddr.Parse(addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	var c net.Conn
	switch a.Kind {
	case netaddr.Unix:
		c, err = netaddr.DialUnix(ctx, a.Path)
	case netaddr.Vsock:
		c, err = netaddr.DialVsock(ctx, a.CID, a.VPort)
	case netaddr.Port:
		if c, err = netaddr.OpenPort(a.Path); err == nil {
			if err = settle(ctx, c); err != nil {
				_ = c.Close() // the first error counts
				c = nil
			}
		}
	case netaddr.TLS:
		return dialTLS(ctx, a, o)
	default:
		c, err = dialTCP(ctx, a.HostPort, o)
	}
	return c, errors.Wrapf(err, "connect to %s", addr)
}

func dialTLS(ctx context.Context, a netaddr.Addr, o Options) (net.Conn, error) {
	f := o.TLS
	if f.Cert == "" || f.CA == "" {
		return nil, errors.WithMessagef(ErrOptions, "connect to %s", a)
	}
	if f.Key == "" {
		f.Key = strings.TrimSuffix(f.Cert, ".crt") + ".key"
	}
	name := o.ServerName
	if name == "" {
		var err error
		if name, _, err = net.SplitHostPort(a.HostPort); err != nil {
			return nil, errors.Wrapf(err, "connect to %s", a)
		}
	}
	cfg, err := cert.ClientConfig(f, name)
	if err != nil {
		return nil, errors.WithMessagef(err, "connect to %s", a)
	}
	c, err := dialTCP(ctx, a.HostPort, o)
	if err != nil {
		return nil, errors.Wrapf(err, "connect to %s", a)
	}
	t := tls.Client(c, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = c.Close() // the first error counts
		if stderrors.Is(err, io.EOF) || stderrors.Is(err, syscall.ECONNRESET) {
			return nil, &Refused{Addr: a.String(), Err: err, Say: "the program there ends it at once: does it serve tls: at that port? Its log says more"}
		}
		return nil, refused(err, a)
	}
	return &conn{Conn: t, addr: a}, nil
}

// refused makes a *Refused of what TLS has to say, and leaves other errors alone.
func refused(err error, a netaddr.Addr) error {
	if say := cert.ExplainClient(err); say != "" {
		return &Refused{Addr: a.String(), Say: say, Err: err}
	}
	return errors.Wrapf(err, "connect to %s", a)
}

// conn explains what the server says after the handshake.
type conn struct {
	*tls.Conn
	addr  netaddr.Addr
	heard atomic.Bool // the server has sent something: it accepts the certificate
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.heard.Store(true)
	}
	return n, c.explain(err)
}

// alertTime bounds the wait for the reason of a server that has hung up.
const alertTime = time.Second

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil && !c.heard.Load() && !stderrors.Is(err, net.ErrClosed) {
		// What the server had against the certificate may have come before.
		var b [1]byte
		if c.Conn.SetReadDeadline(time.Now().Add(alertTime)) == nil {
			if _, rerr := c.Conn.Read(b[:]); rerr != nil {
				var r *Refused
				if e := c.explain(rerr); stderrors.As(e, &r) {
					return n, e
				}
			}
		}
	}
	return n, c.explain(err)
}

func (c *conn) explain(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if say := cert.ExplainClient(err); say != "" {
		return &Refused{Addr: c.addr.String(), Say: say, Err: err}
	}
	return err
}
