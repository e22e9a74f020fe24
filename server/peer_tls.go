package server

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"os/user"
	"strconv"
	"time"

	"github.com/pkg/errors"

	"sliod/cert"
	"sliod/export"
	"sliod/server/wire"
)

const (
	// handshakeTime bounds a handshake. A connection that has none is closed.
	handshakeTime = 10 * time.Second
	// lingerTime bounds the wait for a client to read why it was refused.
	lingerTime = time.Second
	// lingerBytes bounds what is read from it meanwhile.
	lingerBytes = 64 << 10
)

// identifyTLS makes the handshake and looks whom the client's certificate names.
func identifyTLS(nc *tls.Conn) (Peer, error) {
	p := Peer{UID: wire.NoUname, Addr: "tls:" + nc.RemoteAddr().String()}
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
	defer cancel()
	if err := nc.HandshakeContext(ctx); err != nil {
		linger(nc.NetConn())
		if ctx.Err() != nil {
			return p, errors.Errorf("%s: no TLS handshake in %v", p.Addr, handshakeTime)
		}
		if say := cert.ExplainServer(err); say != "" {
			return p, errors.Wrapf(err, "%s: TLS handshake: %s", p.Addr, say)
		}
		return p, errors.Wrapf(err, "%s: TLS handshake", p.Addr)
	}
	if a, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		p.IP = a.Addr().Unmap().WithZone("")
	}
	state := nc.ConnectionState()
	if len(state.PeerCertificates) == 0 {
		return p, errors.Errorf("%s: there is no certificate", p.Addr) // the handshake has seen to that
	}
	leaf := state.PeerCertificates[0]
	n, err := cert.NameOf(leaf)
	if err != nil {
		return p, errors.WithMessagef(err, "%s: the certificate %s names no user", p.Addr, cert.Fingerprint(leaf))
	}
	p.Kind, p.Name, p.Fingerprint = export.TLSHost, n.String(), cert.Fingerprint(leaf)
	if !n.Host {
		p.Kind = export.TLSUser
		p.UID = uidOf(n.Name)
	}
	return p, nil
}

// uidOf returns the number of a user, or wire.NoUname if this machine has none of that
// name.
func uidOf(name string) uint32 {
	u, err := user.Lookup(name)
	if err != nil {
		return wire.NoUname
	}
	id, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return wire.NoUname
	}
	return uint32(id)
}

// linger lets the alert that ends a handshake reach the client: closing a socket with
// bytes that were not read throws away what it has not fetched.
func linger(nc net.Conn) {
	t, ok := nc.(*net.TCPConn)
	if !ok || t.CloseWrite() != nil {
		return
	}
	_ = t.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, t, lingerBytes) // whatever comes, it is over
}
