package guest

import (
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

const (
	tunDevice = "/dev/net/tun"
	// cardMTU lets a message of 9P travel in few packets, in bytes.
	cardMTU = 65000
	// scriptPort is where the guest finds the machine's port.
	scriptPort = 7
)

// network is a network namespace with one card, whose other end is the guest's: what the
// guest sends leaves the machine nowhere. Ports of the host's loopback are reached through
// relays (see reach).
type network struct {
	card *os.File // the guest's end; frames of Ethernet

	listen chan listenCall // to the thread that is in the namespace
	wg     sync.WaitGroup  // all goroutines

	mu     sync.Mutex
	relays map[int]net.Listener
	open   map[net.Conn]bool // nil: closed
}

type listenCall struct {
	port  int
	reply chan<- listened
}

type listened struct {
	l   net.Listener
	err error
}

// newNetwork needs root. port is the guest's end of the machine's port, which remains the caller's.
func newNetwork(port *os.File) (*network, error) {
	scripts, err := net.FileConn(port)
	if err != nil {
		return nil, errors.Wrap(err, "guest: use the port")
	}
	n := &network{listen: make(chan listenCall), relays: map[int]net.Listener{}, open: map[net.Conn]bool{}}
	ready := make(chan error, 1)
	n.wg.Add(1)
	go n.inside(ready)
	if err := <-ready; err != nil {
		n.wg.Wait()
		scripts.Close()
		return nil, err
	}
	if err := n.relayTo(scriptPort, func() (net.Conn, error) { return scripts, nil }); err != nil {
		scripts.Close()
		n.close()
		return nil, err
	}
	return n, nil
}

// inside keeps a thread in the namespace, which ends with it, and makes sockets there.
func (n *network) inside(ready chan<- error) {
	runtime.LockOSThread() // for ever: nobody else may have this thread
	if unix.Gettid() == os.Getpid() {
		// The main thread would not end.
		defer runtime.UnlockOSThread()
		done := make(chan struct{})
		go func() {
			defer close(done)
			n.inside(ready)
		}()
		<-done
		return
	}
	defer n.wg.Done()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		ready <- errors.Wrap(err, "guest: make a network namespace")
		return
	}
	var err error
	n.card, err = plug()
	ready <- err
	if err != nil {
		return
	}
	for call := range n.listen {
		l, err := net.Listen("tcp4", net.JoinHostPort(hostAddr, strconv.Itoa(call.port)))
		call.reply <- listened{l, errors.Wrapf(err, "guest: listen for the guest on port %d", call.port)}
	}
}

// plug makes the card and gives this side of it the host's address.
func plug() (*os.File, error) {
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Wrapf(err, "guest: open %s", tunDevice)
	}
	card := os.NewFile(uintptr(fd), tunDevice)
	fail := func(err error, what string) (*os.File, error) {
		card.Close()
		return nil, errors.Wrapf(err, "guest: %s", what)
	}
	req, err := unix.NewIfreq("guest")
	if err != nil {
		return fail(err, "name the network card")
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return fail(err, "make the network card")
	}
	// Addresses and flags are set through a socket, of any kind.
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail(err, "make a socket")
	}
	defer unix.Close(sock)
	for _, set := range []struct {
		what string
		req  uint
		put  func() error
	}{
		{"address", unix.SIOCSIFADDR, func() error { return req.SetInet4Addr(net.ParseIP(hostAddr).To4()) }},
		{"netmask", unix.SIOCSIFNETMASK, func() error { return req.SetInet4Addr([]byte{255, 255, 255, 0}) }},
		{"MTU", unix.SIOCSIFMTU, func() error { req.SetUint32(cardMTU); return nil }},
		{"flags", unix.SIOCSIFFLAGS, func() error { req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
	} {
		err := set.put()
		if err == nil {
			err = unix.IoctlIfreq(sock, set.req, req)
		}
		if err != nil {
			return fail(err, "set the network card's "+set.what)
		}
	}
	return card, nil
}

// reach has the guest reach a port of the host's loopback.
func (n *network) reach(port int) error {
	return n.relayTo(port, func() (net.Conn, error) { return net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) })
}

// relayTo has a port of the host, as the guest sees it, relayed to what dial connects to.
func (n *network) relayTo(port int, dial func() (net.Conn, error)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return errors.New("guest: the machine is closed")
	}
	if n.relays[port] != nil {
		return nil
	}
	reply := make(chan listened, 1)
	n.listen <- listenCall{port, reply}
	r := <-reply
	if r.err != nil {
		return r.err
	}
	n.relays[port] = r.l
	n.wg.Add(1)
	go n.accept(r.l, dial)
	return nil
}

// accept relays each connection of a listener to a server.
func (n *network) accept(l net.Listener, dial func() (net.Conn, error)) {
	defer n.wg.Done()
	for {
		guest, err := l.Accept()
		if err != nil {
			return
		}
		n.wg.Add(1)
		go n.relay(guest.(*net.TCPConn), dial)
	}
}

// relay moves bytes both ways, and the end of each way.
func (n *network) relay(guest *net.TCPConn, dial func() (net.Conn, error)) {
	defer n.wg.Done()
	defer n.drop(guest)
	host, err := dial()
	if err != nil {
		guest.SetLinger(0) // as if nobody listened
		return
	}
	defer n.drop(host)
	if !n.keep(guest, host) {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		pass(host, atOnce{guest})
	}()
	pass(guest, host)
	<-done
}

// atOnce is a connection that acknowledges at once what has come. Linux' client of 9P leaves Nagle's algorithm on: what
// does not fill a packet is not sent before all that went before is acknowledged, which the host would
// do after 40 ms. Five programs at a time on v9fs took a quarter of the time with it.
type atOnce struct{ *net.TCPConn }

func (c atOnce) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if raw, rawErr := c.SyscallConn(); rawErr == nil {
		// It holds for a while only, so it is said each time. Without it all goes on, slowly.
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) })
	}
	return n, err
}

// WriteTo has io.Copy use Read, and no splice(2).
func (c atOnce) WriteTo(w io.Writer) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{c}, make([]byte, 256<<10))
}

// pass copies one way of a connection. A connection that breaks takes the other along.
func pass(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		from.Close()
	}
	to.(interface{ CloseWrite() error }).CloseWrite() // of TCP and of unix sockets
}

// keep has close end the connections, and returns false if close was faster.
func (n *network) keep(conns ...net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return false
	}
	for _, c := range conns {
		n.open[c] = true
	}
	return true
}

func (n *network) drop(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.open, c)
	c.Close()
}

// close ends everything and waits for it. The guest must have ended.
func (n *network) close() {
	n.mu.Lock()
	open, relays := n.open, n.relays
	n.open, n.relays = nil, nil
	n.mu.Unlock()
	if open == nil {
		return
	}
	for _, l := range relays {
		l.Close()
	}
	for c := range open {
		c.Close()
	}
	close(n.listen)
	n.card.Close()
	n.wg.Wait()
}
