package server

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/pkg/errors"
)

// established is the state of a TCP socket whose row can be trusted. The kernel shows
// uid 0 for a socket that its process has closed already.
const established = "01"

// tcpRow is what a row of /proc/net/tcp says of a socket.
type tcpRow struct {
	uid   uint32
	inode string // "0": no process holds it
	state string
}

// socketOwner returns the user who owns the connected TCP socket with these
// addresses on this machine. Two readings must agree, because a row is not read in
// one instant: a socket that is closed meanwhile must not pass as root's.
func socketOwner(local, remote netip.AddrPort) (uint32, error) {
	var rows [2]tcpRow
	for i := range rows {
		row, err := findSocket(local, remote)
		if err != nil {
			return 0, err
		}
		if row.state != established || row.inode == "0" {
			return 0, errors.Errorf("the socket %v -> %v has been closed by its process", local, remote)
		}
		rows[i] = row
	}
	if rows[0] != rows[1] {
		return 0, errors.Errorf("the socket %v -> %v changed its owner while it was looked up", local, remote)
	}
	return rows[0].uid, nil
}

func findSocket(local, remote netip.AddrPort) (tcpRow, error) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if os.IsNotExist(err) {
			continue // no IPv6 here
		}
		if err != nil {
			return tcpRow{}, errors.Wrap(err, "find the user of a TCP connection")
		}
		row, ok, err := scanSockets(f, local, remote)
		_ = f.Close() // only read
		if err != nil {
			return tcpRow{}, errors.Wrapf(err, "find the user of a TCP connection in %s", table)
		}
		if ok {
			return row, nil
		}
	}
	return tcpRow{}, errors.Errorf("no socket %v -> %v on this machine: its user cannot be known", local, remote)
}

// scanSockets looks in a table of the format of /proc/net/tcp and tcp6 (proc(5)).
func scanSockets(r io.Reader, local, remote netip.AddrPort) (row tcpRow, ok bool, err error) {
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
		f := strings.Fields(sc.Text())
		if len(f) < 10 || !sameAddr(f[1], local) || !sameAddr(f[2], remote) {
			continue
		}
		uid, err := strconv.ParseUint(f[7], 10, 32)
		if err != nil {
			return row, false, errors.Wrap(err, "read a row")
		}
		return tcpRow{uid: uint32(uid), inode: f[9], state: f[3]}, true, nil
	}
	return row, false, errors.Wrap(sc.Err(), "read the table")
}

// sameAddr compares the kernel's ADDRESS:PORT in hexadecimal with a. An IPv4 address
// that an IPv6 socket uses counts as the IPv4 address.
func sameAddr(s string, a netip.AddrPort) bool {
	addr, port, ok := strings.Cut(s, ":")
	if !ok {
		return false
	}
	if p, err := strconv.ParseUint(port, 16, 16); err != nil || uint16(p) != a.Port() {
		return false
	}
	b, err := hex.DecodeString(addr)
	if err != nil || len(b)%4 != 0 {
		return false
	}
	for i := 0; i < len(b); i += 4 { // words of the machine, printed as numbers
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	ip, ok := netip.AddrFromSlice(b)
	return ok && ip.Unmap() == a.Addr().Unmap().WithZone("")
}
