package export

import (
	"fmt"
	"strconv"
	"strings"
)

// Mapping is whom the server acts as for a client's user.
type Mapping string

// Mappings; doc.go says what they do. Auto is AllSquash for Vsock peers, RootSquash for
// all others.
const (
	Auto       Mapping = "auto"
	AsIs       Mapping = "as-is"
	RootSquash Mapping = "root-squash"
	AllSquash  Mapping = "all-squash"
	Ranges     Mapping = "ranges"
)

// Range translates Count numbers from Client on to those from Server on.
type Range struct{ Client, Server, Count uint32 }

// noID is the number that stands for none.
const noID = 1<<32 - 1

// ParseRange reads "FIRST-LAST:SERVER" or "ID:SERVER": "1000-1999:101000".
func ParseRange(s string) (Range, error) {
	client, server, ok := strings.Cut(s, ":")
	first, last, many := strings.Cut(client, "-")
	if !many {
		last = first
	}
	var n [3]uint64
	for i, text := range []string{first, last, server} {
		v, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			ok = false
		}
		n[i] = v
	}
	if !ok {
		return Range{}, fmt.Errorf("range %q: write FIRST-LAST:SERVER, such as 1000-1999:101000, which makes 1000 of a client 101000 here", s)
	}
	if n[0] > n[1] || n[1] >= noID || n[2]+(n[1]-n[0]) >= noID {
		return Range{}, fmt.Errorf("range %q: it ends before it begins, or beyond 4294967294", s)
	}
	return Range{Client: uint32(n[0]), Server: uint32(n[2]), Count: uint32(n[1]-n[0]) + 1}, nil
}

// checkRanges refuses ranges of which a number is in two, on either side: one would
// not know back.
func checkRanges(list []Range) error {
	overlap := func(a, b, n, m uint32) bool {
		return uint64(a) < uint64(b)+uint64(m) && uint64(b) < uint64(a)+uint64(n)
	}
	for i, a := range list {
		for _, b := range list[:i] {
			if overlap(a.Client, b.Client, a.Count, b.Count) || overlap(a.Server, b.Server, a.Count, b.Count) {
				return fmt.Errorf("the ranges of client numbers from %d and from %d overlap, here or there", b.Client, a.Client)
			}
		}
	}
	return nil
}

// toServer translates a client's number.
func toServer(list []Range, id uint32) (uint32, bool) {
	for _, r := range list {
		if id >= r.Client && id-r.Client < r.Count {
			return r.Server + (id - r.Client), true
		}
	}
	return 0, false
}

// toClient translates back.
func toClient(list []Range, id uint32) (uint32, bool) {
	for _, r := range list {
		if id >= r.Server && id-r.Server < r.Count {
			return r.Client + (id - r.Server), true
		}
	}
	return 0, false
}
