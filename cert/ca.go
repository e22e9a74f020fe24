package cert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	stderrors "errors"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/pkg/errors"
)

// Life times of what a CA makes.
const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 2 * 365 * 24 * time.Hour
	// skew is how much slower another machine's clock may be.
	skew = time.Hour
)

// CA is a small certification authority in a directory: ca.crt, ca.key, and a
// certificate and a key for each name that it has signed.
type CA struct {
	// Dir is the directory.
	Dir string
	// Force lets files be replaced that are there.
	Force bool

	// Now tells the time from which on certificates are valid. nil: time.Now.
	Now func() time.Time
}

// ErrExists is in the error of a CA that would have to replace a file.
var ErrExists = stderrors.New("it exists already, and is not replaced without --force")

// Pair names the two files of a certificate.
type Pair struct{ Cert, Key string }

func (ca *CA) pair(name string) Pair {
	return Pair{filepath.Join(ca.Dir, name+".crt"), filepath.Join(ca.Dir, name+".key")}
}

func (ca *CA) clock() time.Time {
	if ca.Now != nil {
		return ca.Now()
	}
	return time.Now()
}

// Init makes the CA's own certificate. All that it has signed before, in a CA that is
// replaced, is worth nothing any more.
func (ca *CA) Init() (Pair, error) {
	if err := os.MkdirAll(ca.Dir, 0o755); err != nil {
		return Pair{}, errors.Wrap(err, "make the directory of the CA")
	}
	t, err := ca.template("SLIOD lab CA", caLife)
	if err != nil {
		return Pair{}, err
	}
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return ca.make("ca", t, nil, nil)
}

// Server makes a certificate for a server with these names and IP addresses.
func (ca *CA) Server(hosts ...string) (Pair, error) {
	if len(hosts) == 0 {
		return Pair{}, errors.New("a server's certificate needs a name or an IP address by which clients know it")
	}
	t, err := ca.template(hosts[0], leafLife)
	if err != nil {
		return Pair{}, err
	}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if err := CheckName(h); err != nil {
			return Pair{}, errors.WithMessage(err, "host")
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return ca.sign("server-"+hosts[0], t)
}

// Client makes a certificate for a user or a machine.
func (ca *CA) Client(n Name) (Pair, error) {
	if err := CheckName(n.Name); err != nil {
		return Pair{}, err
	}
	t, err := ca.template(n.Name, leafLife)
	if err != nil {
		return Pair{}, err
	}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	t.URIs = []*url.URL{n.uri()}
	file := "user-" + n.Name
	if n.Host {
		file = "host-" + n.Name
	}
	return ca.sign(file, t)
}

// template is what all certificates have in common.
func (ca *CA) template(cn string, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, errors.Wrap(err, "choose a serial number")
	}
	now := ca.clock()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: cn},
		NotBefore: now.Add(-skew), NotAfter: now.Add(life), KeyUsage: x509.KeyUsageDigitalSignature,
	}, nil
}

// sign makes a certificate with the CA's key.
func (ca *CA) sign(file string, t *x509.Certificate) (Pair, error) {
	own := ca.pair("ca")
	pair, err := loadPair(Files{Cert: own.Cert, Key: own.Key})
	if err != nil {
		if stderrors.Is(err, fs.ErrNotExist) {
			return Pair{}, errors.Wrapf(err, "there is no CA in %s; make it with: sliod cert init %s", ca.Dir, ca.Dir)
		}
		return Pair{}, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return Pair{}, errors.Errorf("%s is not the certificate of a CA that \"sliod cert init\" has made", own.Cert)
	}
	return ca.make(file, t, pair.Leaf, key)
}

// make writes a certificate with a new key. Without a parent it signs itself.
func (ca *CA) make(file string, t, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (Pair, error) {
	p := ca.pair(file)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return p, errors.Wrap(err, "make a key")
	}
	if parent == nil {
		parent, parentKey = t, key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), parentKey)
	if err != nil {
		return p, errors.Wrap(err, "make a certificate")
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return p, errors.Wrap(err, "encode a key")
	}
	if !ca.Force {
		for _, name := range []string{p.Cert, p.Key} {
			if _, err := os.Lstat(name); err == nil {
				return p, errors.Wrap(ErrExists, name)
			}
		}
	}
	if err := ca.write(p.Key, 0o600, "PRIVATE KEY", keyDER); err != nil {
		return p, err
	}
	return p, ca.write(p.Cert, 0o644, "CERTIFICATE", der)
}

// write puts a file in place whole, so that a server that reads it meanwhile sees the
// old one or the new one.
func (ca *CA) write(name string, mode os.FileMode, kind string, der []byte) (err error) {
	f, err := os.CreateTemp(ca.Dir, ".new-*")
	if err != nil {
		return errors.Wrapf(err, "write %s", name)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(mode); err != nil {
		return errors.Wrapf(err, "write %s", name)
	}
	if err := pem.Encode(f, &pem.Block{Type: kind, Bytes: der}); err != nil {
		return errors.Wrapf(err, "write %s", name)
	}
	if err := f.Sync(); err != nil {
		return errors.Wrapf(err, "write %s", name)
	}
	if err := f.Close(); err != nil {
		return errors.Wrapf(err, "write %s", name)
	}
	if ca.Force {
		return errors.Wrapf(os.Rename(f.Name(), name), "write %s", name)
	}
	if err := os.Link(f.Name(), name); err != nil {
		if stderrors.Is(err, fs.ErrExist) {
			err = ErrExists
		}
		return errors.Wrapf(err, "write %s", name)
	}
	return errors.Wrapf(os.Remove(f.Name()), "write %s", name)
}
