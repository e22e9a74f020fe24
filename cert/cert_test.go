package cert

import (
	"crypto/x509"
	"crypto/x509/pkix"
	stderrors "errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNameOf(t *testing.T) {
	for _, x := range []struct {
		cn   string
		uris []string
		want string
		err  string
	}{
		{"alice", nil, "alice", ""},
		{"alice", []string{"sliod:user:bob"}, "bob", ""},
		{"", []string{"sliod:host:builder"}, "host:builder", ""},
		{"alice", []string{"https://example.com/x"}, "alice", ""},
		{"", []string{"sliod:user:J%C3%B6rg"}, "Jörg", ""},
		{"alice", []string{"sliod:user:bob", "sliod:user:carol"}, "", "2 URIs"},
		{"alice", []string{"sliod:admin:bob"}, "", "is not sliod:user:NAME"},
		{"alice", []string{"sliod:user:"}, "", "is not sliod:user:NAME"},
		{"alice", []string{"sliod:user:a%00b"}, "", "is not sliod:user:NAME"},
		{"alice", []string{"sliod://user/bob"}, "", "is not sliod:user:NAME"},
		{"host:x", nil, "", "common name is of no use"},
		{"", nil, "", "common name is of no use"},
		{"a b", nil, "", "common name is of no use"},
	} {
		c := &x509.Certificate{Subject: pkix.Name{CommonName: x.cn}}
		for _, s := range x.uris {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			c.URIs = append(c.URIs, u)
		}
		n, err := NameOf(c)
		if err == nil && n.String() != x.want || (err == nil) != (x.err == "") || err != nil && !strings.Contains(err.Error(), x.err) {
			t.Errorf("%q %v: %v, %v", x.cn, x.uris, n, err)
		}
	}
}

// TestCA makes a CA, and with it one of each.
func TestCA(t *testing.T) {
	ca := &CA{Dir: filepath.Join(t.TempDir(), "ca")}
	if _, err := ca.Client(Name{Name: "alice"}); err == nil || !strings.Contains(err.Error(), "sliod cert init") {
		t.Errorf("without a CA: %v", err)
	}
	root, err := ca.Init()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Init(); !stderrors.Is(err, ErrExists) {
		t.Errorf("made again: %v", err)
	}
	server, err := ca.Server("tape.example", "192.0.2.1", "::1")
	if err != nil {
		t.Fatal(err)
	}
	alice, err := ca.Client(Name{Name: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	host, err := ca.Client(Name{Host: true, Name: "builder"})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := loadCA(root.Cert)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		p     Pair
		usage x509.ExtKeyUsage
		name  string
	}{
		{server, x509.ExtKeyUsageServerAuth, "tape.example"},
		{alice, x509.ExtKeyUsageClientAuth, "alice"},
		{host, x509.ExtKeyUsageClientAuth, "host:builder"},
	} {
		pair, err := loadPair(Files{Cert: x.p.Cert, Key: x.p.Key})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x.usage}}); err != nil {
			t.Errorf("%s: %v", x.p.Cert, err)
		}
		if n, err := NameOfFile(x.p.Cert); err != nil || n.String() != x.name {
			t.Errorf("%s names %v, %v", x.p.Cert, n, err)
		}
		if fi, err := os.Stat(x.p.Key); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", x.p.Key, fi.Mode(), err)
		}
	}
	for _, h := range []string{"tape.example", "192.0.2.1", "::1"} {
		pair, err := loadPair(Files{Cert: server.Cert, Key: server.Key})
		if err != nil {
			t.Fatal(err)
		}
		if err := pair.Leaf.VerifyHostname(h); err != nil {
			t.Error(err)
		}
	}
	before, err := os.ReadFile(alice.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Client(Name{Name: "alice"}); !stderrors.Is(err, ErrExists) {
		t.Errorf("made again: %v", err)
	}
	ca.Force = true
	if _, err := ca.Client(Name{Name: "alice"}); err != nil {
		t.Error(err)
	}
	if after, err := os.ReadFile(alice.Cert); err != nil || string(after) == string(before) {
		t.Error("--force has not replaced it", err)
	}
	for _, bad := range []string{"", "a/b", "../x", "a b", "host:x", strings.Repeat("x", 256)} {
		if _, err := ca.Client(Name{Name: bad}); err == nil {
			t.Errorf("%q has got a certificate", bad)
		}
		if _, err := ca.Server(bad); err == nil {
			t.Errorf("a server %q has got a certificate", bad)
		}
	}
	if left, err := filepath.Glob(filepath.Join(ca.Dir, ".new-*")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v %v", left, err)
	}
	// A certificate that is no CA's cannot sign.
	fake := &CA{Dir: t.TempDir()}
	for to, from := range map[string]string{"ca.crt": alice.Cert, "ca.key": alice.Key} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(fake.Dir, to), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fake.Client(Name{Name: "eve"}); err == nil || !strings.Contains(err.Error(), "is not the certificate of a CA") {
		t.Errorf("signed by a user: %v", err)
	}
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	ca := &CA{Dir: t.TempDir()}
	root, err := ca.Init()
	if err != nil {
		t.Fatal(err)
	}
	alice, err := ca.Client(Name{Name: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		f    Files
		want string
	}{
		{Files{alice.Cert, alice.Key, filepath.Join(ca.Dir, "none")}, "read the certificate of the CA"},
		{Files{alice.Cert, alice.Key, alice.Key}, "has no certificate of a CA"},
		{Files{alice.Cert, root.Key, root.Cert}, "private key does not match"},
		{Files{"none", alice.Key, root.Cert}, "read the TLS certificate"},
		{Files{alice.Cert, "none", root.Cert}, "read the key"},
	} {
		if _, err := ClientConfig(x.f, "h"); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%+v: %v", x.f, err)
		}
		if _, err := NewServer(x.f, nil); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%+v: %v", x.f, err)
		}
	}
	if _, err := NameOfFile(filepath.Join(ca.Dir, "none")); !stderrors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
