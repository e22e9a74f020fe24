package cert

import (
	"crypto/tls"
	"crypto/x509"
	stderrors "errors"
	"io"
	"strings"
	"syscall"
	"time"
)

// ExplainClient says what a client can do about an error of its TLS connection; ""
// stands for an error that is not TLS'.
func ExplainClient(err error) string {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var record tls.RecordHeaderError
	switch {
	case stderrors.As(err, &unknown):
		return "the server's certificate is not signed by the CA that you trust: give the CA of that server with --tls-ca (-o tls_ca=FILE)"
	case stderrors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate is not valid at this time (" + span(invalid.Cert) + "): look at the clock of this machine, or have it renewed"
	case stderrors.As(err, &host):
		return "the server's certificate is for another name: connect by the name that it has, or give that with --tls-name (-o tls_name=NAME)"
	case stderrors.As(err, &invalid):
		return "the server's certificate cannot be used for a server: one made by \"sliod cert server\" can"
	case stderrors.As(err, &record):
		return "the server does not speak TLS there: is it tcp: instead of tls:, or another port?"
	}
	return explainAlert(err, map[string]string{
		"certificate required":           "the server wants a certificate of yours: give it with --tls-cert (-o tls_cert=FILE)",
		"unknown certificate authority":  "the server does not trust the CA that signed your certificate: use one that the CA in its client_ca has signed",
		"expired certificate":            "the server refuses your certificate: it has expired, or is not valid yet; have it renewed, and look at the clocks",
		"bad certificate":                "the server refuses your certificate: it must be one for a user (\"sliod cert user\"), signed by the server's client_ca",
		"unsupported certificate":        "the server refuses your certificate: it is not for a client; one made by \"sliod cert user\" is",
		"protocol version not supported": "the server does not speak TLS 1.3, which is the only version that sliod uses: is it another program's port?",
		"no application protocol":        "the program at that address serves something else than 9P",
	}, "server selected unsupported protocol version")
}

// ExplainServer says what to tell the log about a handshake that failed; "" as for
// ExplainClient.
func ExplainServer(err error) string {
	var verify *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	who := "the client's certificate"
	if stderrors.As(err, &verify) && len(verify.UnverifiedCertificates) > 0 {
		leaf := verify.UnverifiedCertificates[0]
		if n, err := NameOf(leaf); err == nil {
			who += " (" + n.String() + ", " + Fingerprint(leaf) + ")"
		}
	}
	switch {
	case stderrors.As(err, &unknown):
		return who + " is not signed by a CA of tls.client_ca"
	case stderrors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return who + " is not valid at this time (" + span(invalid.Cert) + ")"
	case stderrors.As(err, &invalid):
		return who + " is not one for a client"
	case stderrors.As(err, &record):
		return "the client does not speak TLS: it must use tls:HOST:PORT, with sliod mount if it is the kernel's"
	case stderrors.Is(err, io.EOF), stderrors.Is(err, syscall.ECONNRESET):
		return "the client gave up in the handshake"
	case strings.Contains(err.Error(), "client didn't provide a certificate"):
		return "the client has no certificate"
	case strings.Contains(err.Error(), "client offered only unsupported versions"):
		return "the client does not speak TLS 1.3"
	}
	return explainAlert(err, map[string]string{
		"bad certificate":               "the client refuses the server's certificate: its CA, its names (sliod cert server DIR HOST...) or its dates are not what the client expects",
		"expired certificate":           "the client refuses the server's certificate as expired",
		"unknown certificate authority": "the client does not trust the CA that signed the server's certificate",
	})
}

// explainAlert looks for the alert of the other side in err, whose type in package tls
// has no name outside of it.
func explainAlert(err error, alerts map[string]string, version ...string) string {
	s := err.Error()
	for _, v := range version {
		if strings.Contains(s, v) {
			return alerts["protocol version not supported"]
		}
	}
	if _, alert, ok := strings.Cut(s, "remote error: tls: "); ok {
		for word, say := range alerts {
			if strings.HasPrefix(alert, word) {
				return say
			}
		}
		return "the other side ended the TLS connection: " + alert
	}
	return ""
}

func span(c *x509.Certificate) string {
	if c == nil {
		return "its dates"
	}
	return c.NotBefore.UTC().Format(time.DateTime) + " to " + c.NotAfter.UTC().Format(time.DateTime) + " UTC"
}
