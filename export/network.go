package export

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Kind is how a peer is connected, and with that how well it is known.
type Kind uint8

// Kinds of peers.
const (
	Local Kind = iota
	TCP
	Vsock
	TLSUser
	TLSHost
)

func (k Kind) String() string {
	switch k {
	case Local:
		return "local"
	case TCP:
		return "tcp"
	case Vsock:
		return "vsock"
	case TLSUser, TLSHost:
		return "tls"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Claims says whether a peer of the kind only says who its users are.
func (k Kind) Claims() bool { return k == TCP || k == Vsock || k == TLSHost }

// open says whether anybody who reaches the server can be such a peer.
func (k Kind) open() bool { return k == TCP || k == Vsock }

// Peer is who asks.
type Peer struct {
	Kind Kind
	// IP is the peer's address, without a zone. Not valid: a unix socket, or vsock.
	IP netip.Addr
	// CID is the number of a Vsock peer's machine.
	CID uint32
	// Name and Fingerprint are of a TLS peer's certificate, as package cert has them:
	// "alice", "host:builder", "sha256:...".
	Name, Fingerprint string
}

// Network is one entry of the list of networks that an export lets in.
type Network struct {
	word   string // "unix", "vsock", "tls"; "" is a prefix alone
	prefix netip.Prefix
	cid    uint32
	oneCID bool
}

// ParseNetwork reads an entry: "unix", "vsock", "vsock:CID", "tls", "tls:CIDR", a CIDR,
// or an IP address.
func ParseNetwork(s string) (Network, error) {
	word, rest, more := strings.Cut(s, ":")
	switch {
	case (s == "unix" || s == "vsock" || s == "tls"):
		return Network{word: s}, nil
	case word == "vsock" && more:
		cid, err := strconv.ParseUint(rest, 10, 32)
		if err != nil {
			return Network{}, fmt.Errorf("network %q: write vsock:CID with a number", s)
		}
		return Network{word: word, cid: uint32(cid), oneCID: true}, nil
	case word == "tls" && more:
		p, err := parsePrefix(rest)
		if err != nil {
			return Network{}, fmt.Errorf("network %q: write tls:CIDR, such as tls:192.168.1.0/24", s)
		}
		return Network{word: word, prefix: p}, nil
	}
	p, err := parsePrefix(s)
	if err != nil {
		return Network{}, fmt.Errorf("network %q: write unix, vsock, vsock:CID, tls, tls:CIDR, or a CIDR such as 192.168.1.0/24", s)
	}
	return Network{prefix: p}, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, err
	}
	if p.Addr().Is4In6() {
		return p, fmt.Errorf("an IPv4 network is written as such")
	}
	if p.Masked() != p {
		return p, fmt.Errorf("bits are set behind the prefix")
	}
	return p, nil
}

// has says whether the entry lets p in.
func (n Network) has(p *Peer) bool {
	ip := p.IP.Unmap()
	tls := p.Kind == TLSUser || p.Kind == TLSHost
	switch n.word {
	case "unix":
		return p.Kind == Local && !p.IP.IsValid()
	case "vsock":
		return p.Kind == Vsock && (!n.oneCID || n.cid == p.CID)
	case "tls":
		return tls && (!n.prefix.IsValid() || n.prefix.Contains(ip))
	}
	return (p.Kind == TCP || p.Kind == Local || tls) && n.prefix.Contains(ip)
}

// plain says whether the entry lets peers in over plain TCP from other machines.
func (n Network) plain() bool {
	return n.word == "" && !(n.prefix.Addr().IsLoopback() && (n.prefix.Addr().Is6() && n.prefix.Bits() == 128 || n.prefix.Addr().Is4() && n.prefix.Bits() >= 8))
}
