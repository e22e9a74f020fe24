package cert

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/url"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Name says whom a certificate names.
type Name struct {
	Host bool // a machine, not a user
	Name string
}

// String returns "alice" or "host:builder".
func (n Name) String() string {
	if n.Host {
		return "host:" + n.Name
	}
	return n.Name
}

// uri returns what a certificate has for the name.
func (n Name) uri() *url.URL {
	kind := "user:"
	if n.Host {
		kind = "host:"
	}
	return &url.URL{Scheme: "sliod", Opaque: kind + url.PathEscape(n.Name)}
}

// maxName is the longest name of a user or a machine, in bytes.
const maxName = 255

// CheckName says what is wrong with the name of a user or a machine.
func CheckName(s string) error {
	bad := func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == ':' || r == '/' }
	if s == "" || len(s) > maxName || !utf8.ValidString(s) || strings.ContainsFunc(s, bad) {
		return fmt.Errorf("%q is no name: 1 to %d bytes without spaces, colons and slashes are", s, maxName)
	}
	return nil
}

// NameOf returns whom a certificate names by the rule of the package.
func NameOf(c *x509.Certificate) (Name, error) {
	var found []Name
	for _, u := range c.URIs {
		if u.Scheme != "sliod" {
			continue
		}
		kind, name, _ := strings.Cut(u.Opaque, ":")
		name, err := url.PathUnescape(name)
		if err != nil || kind != "user" && kind != "host" || CheckName(name) != nil {
			return Name{}, fmt.Errorf("its URI %q is not sliod:user:NAME or sliod:host:NAME", u)
		}
		found = append(found, Name{Host: kind == "host", Name: name})
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return Name{}, fmt.Errorf("it has %d URIs of the kind sliod:, so it names nobody for certain", len(found))
	}
	if err := CheckName(c.Subject.CommonName); err != nil {
		return Name{}, fmt.Errorf("it has no URI sliod:user:NAME, and its common name is of no use: %w", err)
	}
	return Name{Name: c.Subject.CommonName}, nil
}

// NameOfFile is NameOf for the first certificate of a PEM file.
func NameOfFile(name string) (Name, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return Name{}, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return Name{}, fmt.Errorf("%s has no certificate in it", name)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return Name{}, err
	}
	return NameOf(c)
}

// Fingerprint returns "sha256:" and the SHA-256 of the whole certificate in hexadecimal.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}
