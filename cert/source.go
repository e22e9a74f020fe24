package cert

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"sync"
	"time"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
)

// Files names the files of one side, in PEM. Cert may hold the certificates of CAs in
// between behind the own one. CA holds those by which the other side is checked.
type Files struct{ Cert, Key, CA string }

// Source has what Files hold, as they are now. Its methods are safe for concurrent use.
type Source struct {
	files Files
	log   *logrus.Entry

	mu     sync.Mutex
	last   [3]stamp // of the files when they were read last, well or not
	config *tls.Config
}

// stamp tells two versions of a file apart.
type stamp struct {
	mtime time.Time
	size  int64
	inode os.FileInfo
}

// same says whether a file has not changed. A file that was put in another's place
// may have its size and time.
func (s stamp) same(o stamp) bool {
	if s.inode == nil || o.inode == nil {
		return s.inode == nil && o.inode == nil
	}
	return s.mtime.Equal(o.mtime) && s.size == o.size && os.SameFile(s.inode, o.inode)
}

// ALPN is the name of the protocol in the handshake.
const ALPN = "9p2000.L"

// NewServer returns the source of a server, which wants a certificate of its clients
// that CA has signed. It fails if the files cannot be used.
func NewServer(files Files, log *logrus.Entry) (*Source, error) {
	s := &Source{files: files, log: log}
	s.last = s.stamps() // before they are read: what is put in their place meanwhile is read again
	c, err := s.read()
	if err != nil {
		return nil, err
	}
	s.config = c
	return s, nil
}

// Config returns the configuration of a listener.
func (s *Source) Config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current(), nil },
	}
}

// current returns the configuration of the files as they are now, or the last good one.
func (s *Source) current() *tls.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.stamps()
	if now[0].same(s.last[0]) && now[1].same(s.last[1]) && now[2].same(s.last[2]) {
		return s.config
	}
	s.last = now // tried once, and said once
	c, err := s.read()
	if err != nil {
		s.log.WithError(err).Error("the new TLS certificate cannot be used: the one before stays in use; put files in place that fit each other")
		return s.config
	}
	s.config = c
	s.log.Infof("TLS certificate read again from %s", s.files.Cert)
	return c
}

func (s *Source) stamps() (list [3]stamp) {
	for i, name := range []string{s.files.Cert, s.files.Key, s.files.CA} {
		if fi, err := os.Stat(name); err == nil {
			list[i] = stamp{fi.ModTime(), fi.Size(), fi}
		}
	}
	return list
}

func (s *Source) read() (*tls.Config, error) {
	pair, err := loadPair(s.files)
	if err != nil {
		return nil, err
	}
	pool, err := loadCA(s.files.CA)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{pair},
		ClientCAs:              pool,
		ClientAuth:             tls.RequireAndVerifyClientCert,
		NextProtos:             []string{ALPN},
		SessionTicketsDisabled: true, // every connection shows its certificate, and it is checked as of now
	}, nil
}

func loadPair(f Files) (tls.Certificate, error) {
	certPEM, err := os.ReadFile(f.Cert)
	if err != nil {
		return tls.Certificate{}, errors.Wrap(err, "read the TLS certificate")
	}
	keyPEM, err := os.ReadFile(f.Key)
	if err != nil {
		return tls.Certificate{}, errors.Wrap(err, "read the key of the TLS certificate")
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	return pair, errors.Wrapf(err, "TLS certificate %s with key %s", f.Cert, f.Key)
}

func loadCA(name string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(name)
	if err != nil {
		return nil, errors.Wrap(err, "read the certificate of the CA")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.Errorf("%s has no certificate of a CA in it (PEM, \"BEGIN CERTIFICATE\")", name)
	}
	return pool, nil
}

// ClientConfig reads a client's files. name is the name that the server's certificate
// must have.
func ClientConfig(f Files, name string) (*tls.Config, error) {
	pair, err := loadPair(f)
	if err != nil {
		return nil, err
	}
	pool, err := loadCA(f.CA)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: name, RootCAs: pool, NextProtos: []string{ALPN},
		// Given whatever CAs the server asks for: it says best what is wrong with it.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
	}, nil
}
