package server

import (
	"sync/atomic"

	"sliod/backend/vfs"
)

// crowdedRead is the most that a read returns, as a copy, while the server is
// crowded.
const crowdedRead = 64 << 10

// pins counts what unread replies of all connections pin in the cache. One user
// can have many connections and read from none, and what is pinned cannot be
// evicted: so there is a limit for all of them together. Beyond it the server is
// crowded: a connection that has replies waiting is not read from, which ends when
// its own client reads; and a reply of another connection is a short copy that pins
// nothing. So the others go on, and what is pinned stays within the limit and
// the replies that were being made when it was reached.
type pins struct {
	n     atomic.Int64
	limit int64
}

func (p *pins) crowded() bool { return p.n.Load() >= p.limit }

// countPins returns the number of slots that d pins.
func countPins(d *vfs.Data) (n int64) {
	for ; d != nil; d = d.More {
		if d.Pin != nil {
			n++
		}
	}
	return n
}

// shortCopy returns the first bytes of d in memory of their own, and releases d.
func shortCopy(d vfs.Data) vfs.Data {
	p := make([]byte, min(d.Len(), crowdedRead))
	rest := p
	for part := &d; part != nil && len(rest) > 0; part = part.More {
		rest = rest[copy(rest, part.Bytes):]
		rest = rest[min(part.Zeros, len(rest)):]
	}
	d.Release()
	return vfs.Data{Bytes: p}
}
