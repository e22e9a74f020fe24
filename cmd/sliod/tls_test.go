package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	stderrors "errors"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/sirupsen/logrus"

	"sliod/backend/config"
	"sliod/cert"
	"sliod/client9p"
	"sliod/client9p/bridge"
	"sliod/client9p/dial"
	"sliod/server"
	"sliod/server/wire"
)

// tlsLab is a server with TLS, and certificates for it.
type tlsLab struct {
	t     *testing.T
	ca    *cert.CA
	root  cert.Pair
	files cert.Files // of the server
	addr  string
	log   *lockedBuffer
	s     *serving
}

// pair checks what a CA returns.
func (l *tlsLab) pair(p cert.Pair, err error) cert.Pair {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
	return p
}

// newLab serves a fake archive over TLS with the exports of the configuration text.
func newLab(t *testing.T, exports string) *tlsLab {
	t.Helper()
	l := &tlsLab{t: t, ca: &cert.CA{Dir: t.TempDir(), Force: true}, log: newBuffer()}
	l.root = l.pair(l.ca.Init())
	p := l.pair(l.ca.Server("127.0.0.1"))
	l.files = cert.Files{Cert: p.Cert, Key: p.Key, CA: l.root.Cert}
	name := filepath.Join(l.ca.Dir, "sliod.toml")
	text := "[tls]\ncert = \"" + p.Cert + "\"\nkey = \"" + p.Key + "\"\nclient_ca = \"" + l.root.Cert + "\"\n" + exports
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	lr := logrus.New()
	lr.SetOutput(l.log)
	log := logrus.NewEntry(lr)
	network, err := newNetwork(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	ln, addr, err := listen(network, "tls:127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.addr = addr
	f := newFake(&fakeAdmin{})
	if l.s, err = startServing(f, f, cfg, []net.Listener{ln}, nil, log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.s.stop(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// flags are those of a client with a certificate.
func (l *tlsLab) flags(p cert.Pair) []string {
	return []string{"--server", l.addr, "--tls-cert", p.Cert, "--tls-ca", l.root.Cert}
}

// logged waits for a line of the server's log.
func (l *tlsLab) logged(want string) {
	l.t.Helper()
	for deadline := time.After(2 * time.Minute); !strings.Contains(l.log.String(), want); {
		select {
		case <-l.log.written:
		case <-deadline:
			l.t.Fatalf("the server's log does not say %q:\n%s", want, l.log)
		}
	}
}

// self is the user who runs the tests, whom the server knows.
func self(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}

const labExport = `
[export.all]
networks = ["tls"]
map = "as-is"
`

// TestTLSRefusals is the table of what can be wrong, with what both sides are told.
func TestTLSRefusals(t *testing.T) {
	me := self(t)
	l := newLab(t, labExport+"admin = true\nusers = [\""+me+"\", \"nobody-here\", \"host:h\"]\n")
	good := l.pair(l.ca.Client(cert.Name{Name: me}))
	other := &cert.CA{Dir: t.TempDir()}
	otherRoot := l.pair(other.Init())
	past := *l.ca
	past.Now = func() time.Time { return time.Now().Add(-3 * 365 * 24 * time.Hour) }
	expired := l.pair(past.Client(cert.Name{Name: "expired"}))
	early := *l.ca
	early.Now = func() time.Time { return time.Now().Add(48 * time.Hour) }
	if _, err := os.Stat(good.Key); err != nil {
		t.Fatal(err)
	}
	nobody := "tls:127.0.0.1:1"
	for _, x := range []struct {
		name   string
		flags  []string
		status int
		client string // what the user reads
		server string // what the log says
	}{
		{"good", l.flags(good), exitDone, "", ""},
		{"no certificate", []string{"--server", l.addr}, exitUsage, "--tls-cert FILE --tls-ca FILE", ""},
		{"of another CA", l.flags(l.pair(other.Client(cert.Name{Name: me}))), exitFailed,
			"the server does not trust the CA that signed your certificate", "is not signed by a CA of tls.client_ca"},
		{"expired", l.flags(expired), exitFailed, "it has expired, or is not valid yet", "the client's certificate (expired, sha256:"},
		{"not valid yet", l.flags(l.pair(early.Client(cert.Name{Name: "early"}))), exitFailed, "it has expired, or is not valid yet", "is not valid at this time ("},
		{"of a server", l.flags(l.pair(l.ca.Server("h"))), exitFailed, "the server refuses your certificate", "is not one for a client"},
		{"the server's CA is another", []string{"--server", l.addr, "--tls-cert", good.Cert, "--tls-ca", otherRoot.Cert}, exitFailed,
			"the server's certificate is not signed by the CA that you trust", "the client refuses the server's certificate"},
		{"the server has another name", append(l.flags(good), "--tls-name", "tape.example"), exitFailed,
			"the server's certificate is for another name", "the client refuses the server's certificate"},
		{"of another user", l.flags(l.pair(l.ca.Client(cert.Name{Name: "eve"}))), exitFailed,
			"only users administer it whose certificates are listed", "only users with certificates whom an export with admin = true lists"},
		{"of a machine", l.flags(l.pair(l.ca.Client(cert.Name{Host: true, Name: "h"}))), exitFailed,
			"only users administer it whose certificates are listed", "only users with certificates whom an export with admin = true lists"},
		{"nobody listens", []string{"--server", nobody, "--tls-cert", good.Cert, "--tls-ca", l.root.Cert}, exitFailed, "no server answers at " + nobody, ""},
		{"the key is of another", append(l.flags(good), "--tls-key", expired.Key), exitFailed, "private key does not match public key", ""},
		{"plain to TLS", []string{"--server", strings.Replace(l.addr, "tls:", "tcp:", 1)}, exitFailed, "", "the client does not speak TLS: it must use tls:HOST:PORT"},
	} {
		t.Run(x.name, func(t *testing.T) {
			status, _, stderr := command(t, append([]string{"status"}, x.flags...)...)
			if status != x.status || !strings.Contains(stderr, x.client) {
				t.Errorf("status %d, %s", status, stderr)
			}
			l.t = t
			l.logged(x.server)
		})
	}
	status, _, stderr := command(t, append([]string{"ls"}, l.flags(good)...)...)
	if status != exitFailed || !strings.Contains(stderr, "the user of the certificate "+good.Cert+" no files") || !strings.Contains(stderr, `an [export.NAME] with attach = "/"`) {
		t.Errorf("ls: status %d, %s", status, stderr)
	}
	if strings.Contains(l.log.String(), "EIO") {
		t.Errorf("an error of the server's own:\n%s", l.log)
	}
}

// TestTLSToPlain: a server that does not speak TLS at that port.
func TestTLSToPlain(t *testing.T) {
	l := newLab(t, labExport)
	good := l.pair(l.ca.Client(cert.Name{Name: self(t)}))
	plain, addr, err := listen(new(server.Network), "tcp:127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(&fakeAdmin{})
	s, err := startServing(f, f, config.Default(), []net.Listener{plain}, nil, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}()
	flags := l.flags(good)
	flags[1] = strings.Replace(addr, "tcp:", "tls:", 1)
	status, _, stderr := command(t, append([]string{"status"}, flags...)...)
	if status != exitFailed || !strings.Contains(stderr, "does it serve tls: at that port?") && !strings.Contains(stderr, "is it tcp: instead of tls:") {
		t.Errorf("status %d, %s", status, stderr)
	}
}

// raw connects as a TLS client of another kind, and returns what its first read says.
func (l *tlsLab) raw(cfg *tls.Config) error {
	l.t.Helper()
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(l.root.Cert)
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		l.t.Fatal(err)
	}
	cfg.RootCAs = pool
	c, err := tls.Dial("tcp", strings.TrimPrefix(l.addr, "tls:"), cfg)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		l.t.Fatal(err)
	}
	_, err = c.Read(make([]byte, 1))
	return err
}

// TestForeignTLSClients are those that our client cannot be.
func TestForeignTLSClients(t *testing.T) {
	l := newLab(t, labExport)
	if err := l.raw(&tls.Config{}); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("no certificate: %v", err)
	}
	l.logged("the client has no certificate")
	if err := l.raw(&tls.Config{MaxVersion: tls.VersionTLS12}); err == nil || !strings.Contains(err.Error(), "protocol version not supported") {
		t.Errorf("TLS 1.2: %v", err)
	}
	l.logged("the client does not speak TLS 1.3")
	if err := l.raw(&tls.Config{NextProtos: []string{"h2"}}); err == nil || !strings.Contains(err.Error(), "no application protocol") {
		t.Errorf("another protocol: %v", err)
	}
}

// TestTLS12Server: the client refuses a server that has TLS 1.2 only.
func TestTLS12Server(t *testing.T) {
	l := newLab(t, labExport)
	good := l.pair(l.ca.Client(cert.Name{Name: "alice"}))
	pair, err := tls.LoadX509KeyPair(l.files.Cert, l.files.Key)
	if err != nil {
		t.Fatal(err)
	}
	old, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		c, err := old.Accept()
		if err == nil {
			err = c.(*tls.Conn).Handshake()
			_ = c.Close()
		}
		ended <- err
	}()
	_, err = dial.Dial(t.Context(), "tls:"+old.Addr().String(), dial.Options{TLS: cert.Files{Cert: good.Cert, CA: l.root.Cert}})
	var refused *dial.Refused
	if !stderrors.As(err, &refused) || !strings.Contains(err.Error(), "does not speak TLS 1.3") {
		t.Errorf("%v", err)
	}
	if err := <-ended; err == nil {
		t.Error("the server has had a handshake")
	}
	_ = old.Close()
}

// TestTLSReload puts other files in place of the server's, good ones and bad ones.
func TestTLSReload(t *testing.T) {
	l := newLab(t, labExport+"admin = true\nusers = [\""+self(t)+"\"]\n")
	good := l.pair(l.ca.Client(cert.Name{Name: self(t)}))
	status := func() int {
		n, _, _ := command(t, append([]string{"status"}, l.flags(good)...)...)
		return n
	}
	if status() != exitDone {
		t.Fatal("it does not work to begin with")
	}
	// A new certificate by the same CA.
	l.pair(l.ca.Server("127.0.0.1"))
	if status() != exitDone {
		t.Error("after a new certificate")
	}
	l.logged("TLS certificate read again")
	// Half a file, as one that is being copied: the old one serves, and that is said.
	whole, err := os.ReadFile(l.files.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.files.Cert, whole[:len(whole)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	if status() != exitDone {
		t.Error("after a bad certificate")
	}
	l.logged("the one before stays in use")
	if status() != exitDone || strings.Count(l.log.String(), "the one before stays in use") != 1 {
		t.Errorf("it is said again and again:\n%s", l.log)
	}
	if err := os.Remove(l.files.Key); err != nil {
		t.Fatal(err)
	}
	if status() != exitDone {
		t.Error("without a key")
	}
	// A new CA: who has a certificate of the old one is out.
	old := l.root.Cert + ".old"
	pem, err := os.ReadFile(l.root.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(old, pem, 0o644); err != nil {
		t.Fatal(err)
	}
	l.pair(l.ca.Init())
	l.pair(l.ca.Server("127.0.0.1"))
	if status() == exitDone {
		t.Error("a certificate of a CA that is trusted no longer")
	}
	l.pair(l.ca.Client(cert.Name{Name: self(t)}))
	if status() != exitDone {
		t.Error("after a new CA")
	}
}

// TestSlowHandshakes: connections that say nothing, or nonsense, are in nobody's way,
// and do not keep the server from ending.
func TestSlowHandshakes(t *testing.T) {
	l := newLab(t, labExport+"admin = true\nusers = [\""+self(t)+"\"]\n")
	good := l.pair(l.ca.Client(cert.Name{Name: self(t)}))
	for i := range 50 {
		c, err := net.Dial("tcp", strings.TrimPrefix(l.addr, "tls:"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		switch i % 3 {
		case 1: // the head of a record of 16 KiB, and no more
			_, err = c.Write([]byte{22, 3, 1, 0x40, 0})
		case 2: // a record that is too large
			_, err = c.Write([]byte{22, 3, 1, 0xff, 0xff, 1})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n, _, stderr := command(t, append([]string{"status"}, l.flags(good)...)...); n != exitDone {
		t.Errorf("behind slow clients: %s", stderr)
	}
	if err := l.s.stop(); err != nil { // while they are still there
		t.Error(err)
	}
}

// TestTLSExport uses an export over TLS, by the bridge's tree and by hand.
func TestTLSExport(t *testing.T) {
	l := newLab(t, `
[export.data]
networks = ["tls"]
map = "as-is"
read_only = true
`)
	a, _, _ := newApp()
	a.dialing.TLS.Cert, a.dialing.TLS.CA = l.pair(l.ca.Client(cert.Name{Name: self(t)})).Cert, l.root.Cert
	if !a.dialing.AsUser(l.addr) || a.dialing.AsUser("tcp:127.0.0.1:1") {
		t.Error("whose connection it is")
	}
	tree, err := bridge.NewRemote(t.Context(), bridge.RemoteOptions{Log: quiet(), Uname: "x", Aname: "data", AsConnected: true,
		Dial: func(ctx context.Context) (*client9p.Client, error) { return a.dial(ctx, l.addr, "") }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tree.Close() }()
	if f, err := tree.Attach(t.Context(), 54321); err != nil {
		t.Errorf("another user of the same mount: %v", err)
	} else {
		f.Close()
	}
	c, err := a.dial(t.Context(), l.addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Attach(t.Context(), "x", wire.NoUname, ""); !errnoIs(err, linux.EACCES) {
		t.Errorf("the whole archive: %v", err)
	}
	root, err := c.Attach(t.Context(), "x", wire.NoUname, "data")
	if err != nil {
		t.Fatal(err)
	}
	text, err := readFile(t.Context(), root, "status")
	if err != nil || !strings.Contains(string(text), "9.9") {
		t.Errorf("%s, %v", text, err)
	}
}

// TestCertCommands makes a CA by the command line.
func TestCertCommands(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	for _, x := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"user", dir, "alice"}, exitFailed, "make it with: sliod cert init"},
		{[]string{"init", dir}, exitDone, filepath.Join(dir, "ca.crt") + "\n" + filepath.Join(dir, "ca.key") + "\n"},
		{[]string{"init", dir}, exitFailed, "not replaced without --force"},
		{[]string{"server", dir, "tape.example", "192.0.2.1"}, exitDone, filepath.Join(dir, "server-tape.example.crt")},
		{[]string{"server", dir}, exitUsage, ""},
		{[]string{"user", dir, "alice"}, exitDone, filepath.Join(dir, "user-alice.key")},
		{[]string{"user", dir, "alice"}, exitFailed, "not replaced without --force"},
		{[]string{"user", dir, "alice", "--force"}, exitDone, filepath.Join(dir, "user-alice.key")},
		{[]string{"host", dir, "builder"}, exitDone, filepath.Join(dir, "host-builder.crt")},
		{[]string{"user", dir, "a/b"}, exitFailed, "is no name"},
		{[]string{}, exitUsage, "init, server, user or host"},
	} {
		status, out, stderr := command(t, append([]string{"cert"}, x.args...)...)
		if status != x.status || !strings.Contains(out+stderr, x.want) {
			t.Errorf("%v: status %d, %s%s", x.args, status, out, stderr)
		}
	}
}
