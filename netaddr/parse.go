package netaddr

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
)

// Kind is the first word of an address.
type Kind string

// Kinds of addresses.
const (
	TCP   Kind = "tcp"
	TLS   Kind = "tls"
	Unix  Kind = "unix"
	Vsock Kind = "vsock"
	Port  Kind = "port"
)

// Forms lists what an address may be, for messages.
const Forms = "tcp:HOST:PORT, tls:HOST:PORT, unix:PATH or vsock:[CID:]PORT"

// Addr is an address.
type Addr struct {
	Kind Kind
	// HostPort is of kinds TCP and TLS, as package net has it.
	HostPort string
	// Path is of kinds Unix and Port.
	Path string
	// CID and VPort are of kind Vsock. Without a CID in the text it is AnyCID, which
	// means every one of this machine for a server, and the host for a client.
	CID, VPort uint32
}

// AnyCID is VMADDR_CID_ANY of vsock(7).
const AnyCID = 1<<32 - 1

// String returns the address as Parse takes it.
func (a Addr) String() string {
	switch a.Kind {
	case TCP, TLS:
		return string(a.Kind) + ":" + a.HostPort
	case Vsock:
		if a.CID != AnyCID {
			return fmt.Sprintf("vsock:%d:%d", a.CID, a.VPort)
		}
		return fmt.Sprintf("vsock:%d", a.VPort)
	}
	return string(a.Kind) + ":" + a.Path
}

// maxPath is PATH_MAX without the zero byte.
const maxPath = 4095

// Parse reads an address. The error says what is wrong and what is allowed.
func Parse(s string) (Addr, error) {
	kind, rest, ok := strings.Cut(s, ":")
	if !ok {
		return Addr{}, fmt.Errorf("address %q has no kind: write %s", s, Forms)
	}
	a := Addr{Kind: Kind(kind)}
	switch a.Kind {
	case TCP, TLS:
		_, port, err := net.SplitHostPort(rest)
		if err != nil {
			return Addr{}, fmt.Errorf("address %q: write %s:HOST:PORT, such as %s:127.0.0.1:5640", s, kind, kind)
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return Addr{}, fmt.Errorf("address %q: the port %q is not a number from 0 to 65535", s, port)
		}
		a.HostPort = rest
	case Unix, Port:
		if err := checkPath(rest); err != nil {
			return Addr{}, fmt.Errorf("address %q: %w: write %s:PATH", s, err, kind)
		}
		a.Path = rest
	case Vsock:
		cid, port, both := strings.Cut(rest, ":")
		if !both {
			cid, port = "", rest
		}
		p, err := strconv.ParseUint(port, 10, 32)
		if err != nil || p >= AnyCID {
			return Addr{}, fmt.Errorf("address %q: write vsock:PORT or vsock:CID:PORT, with numbers below 4294967295", s)
		}
		a.CID, a.VPort = AnyCID, uint32(p)
		if both {
			c, err := strconv.ParseUint(cid, 10, 32)
			if err != nil || c >= AnyCID {
				return Addr{}, fmt.Errorf("address %q: the CID %q is not a number below 4294967295; 2 is the host, 1 this machine itself", s, cid)
			}
			a.CID = uint32(c)
		}
	default:
		return Addr{}, fmt.Errorf("address %q: %q is not a kind of address: write %s", s, kind, Forms)
	}
	return a, nil
}

func checkPath(path string) error {
	switch {
	case path == "":
		return fmt.Errorf("it has no path")
	case len(path) > maxPath:
		return fmt.Errorf("the path has %d bytes, and %d are possible", len(path), maxPath)
	case strings.HasPrefix(path, "@"):
		return fmt.Errorf("an abstract socket cannot be used; give a path")
	case strings.ContainsRune(path, 0):
		return fmt.Errorf("the path has a zero byte")
	case len(filepath.Base(path)) > maxName && len(path) > maxSocketPath:
		return fmt.Errorf("the last name of a long path has at most %d bytes, this one has %d", maxName, len(filepath.Base(path)))
	}
	return nil
}
