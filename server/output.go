package server

import (
	"net"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
	"sliod/backend/vfs"
	"sliod/server/wire"
	"sliod/socket"
)

const (
	maxReplies   = 4096      // replies of one connection that may wait for its client
	flushAt      = 256 << 10 // a batch of this size, or for requests of this size, is sent even if more input waits
	flushReplies = 64        // so is one of this many replies
	maxIovecs    = 1024      // IOV_MAX
)

// zeroPage is what Data.Zeros is sent from.
var zeroPage [64 << 10]byte

// segment is data that goes out after buf[:at] of its batch.
type segment struct {
	at   int
	data vfs.Data
}

// batch is a run of replies. buf holds their heads and the small ones whole;
// segments say where data lies that is sent from its own place, which stays pinned
// until reset.
type batch struct {
	buf     []byte
	segs    []segment
	size    int // bytes on the wire
	replies int

	pins   *pins // of all connections
	pinned int64 // of them, by segs

	iov  []unix.Iovec
	next int // iov[next:] is still to be sent
}

func (b *batch) empty() bool { return b.replies == 0 }

// reply appends a whole reply.
func (b *batch) reply(enc *wire.Codec, tag uint16, m wire.Message) {
	at := len(b.buf)
	b.buf = enc.Append(b.buf, tag, m)
	b.size += len(b.buf) - at
	b.replies++
}

// read appends an Rread and takes over the pin of d.
func (b *batch) read(tag uint16, d vfs.Data) {
	if n := countPins(&d); n > 0 {
		if b.pins.crowded() {
			d = shortCopy(d)
		} else {
			b.pins.n.Add(n)
			b.pinned += n
		}
	}
	b.buf = wire.AppendRread(b.buf, tag, d.Len())
	b.size += wire.ReadOverhead + d.Len()
	b.replies++
	b.segs = append(b.segs, segment{at: len(b.buf), data: d})
}

// readdir appends an Rreaddir with entries copied.
func (b *batch) readdir(tag uint16, entries []byte) {
	b.buf = wire.AppendRreaddir(b.buf, tag, len(entries))
	b.buf = append(b.buf, entries...)
	b.size += wire.ReadOverhead + len(entries)
	b.replies++
}

// reset gives all pins back and makes the batch empty, for use again.
func (b *batch) reset() {
	for i := range b.segs {
		b.segs[i].data.Release()
	}
	b.pins.n.Add(-b.pinned)
	b.pinned = 0
	clear(b.segs)
	clear(b.iov)
	b.segs, b.iov = b.segs[:0], b.iov[:0]
	b.size, b.replies, b.next = 0, 0, 0
	if cap(b.buf) > flushAt {
		b.buf = nil // one large burst shall not cost memory for ever
	}
	b.buf = b.buf[:0]
}

// seal lays out the vectors. Nothing may be appended afterwards.
func (b *batch) seal() {
	from := 0
	for i := range b.segs {
		s := &b.segs[i]
		b.vector(b.buf[from:s.at])
		from = s.at
		for d := &s.data; d != nil; d = d.More {
			b.vector(d.Bytes)
			for z := d.Zeros; z > 0; z -= len(zeroPage) {
				b.vector(zeroPage[:min(z, len(zeroPage))])
			}
		}
	}
	b.vector(b.buf[from:])
}

func (b *batch) vector(p []byte) {
	if len(p) > 0 {
		v := unix.Iovec{Base: &p[0]}
		v.SetLen(len(p))
		b.iov = append(b.iov, v)
	}
}

// send sends until all is out or the socket is full.
func (b *batch) send(s *socket.Socket) (done bool, err error) {
	for b.next < len(b.iov) {
		v := b.iov[b.next:]
		if len(v) > maxIovecs {
			v = v[:maxIovecs]
		}
		n, err := s.Writev(v)
		switch {
		case err == socket.ErrNothing:
			return false, nil
		case err != nil:
			return false, err
		}
		b.sent(n)
	}
	return true, nil
}

// sent moves on by n bytes.
func (b *batch) sent(n int) {
	for n > 0 {
		v := &b.iov[b.next]
		if k := int(v.Len); n < k {
			v.Base = (*byte)(unsafe.Add(unsafe.Pointer(v.Base), n))
			v.SetLen(k - n)
			return
		}
		n -= int(v.Len)
		b.next++
	}
}

// coalesced is how much sendConn hands over at once: a few records of TLS.
const coalesced = 64 << 10

// coalescers are buffers of sendConn.
var coalescers = sync.Pool{New: func() any { b := make([]byte, 0, coalesced); return &b }}

// sendConn writes all to a connection that is no socket of the system, such as TLS. It
// hands over large pieces, copied together: each would be a record and a system call.
func (b *batch) sendConn(nc net.Conn) error {
	buf := coalescers.Get().(*[]byte)
	defer coalescers.Put(buf)
	for b.next < len(b.iov) {
		out := (*buf)[:0]
		for b.next < len(b.iov) && len(out) < coalesced {
			v := &b.iov[b.next]
			part := unsafe.Slice(v.Base, min(int(v.Len), coalesced-len(out)))
			populate(part)
			out = append(out, part...)
			b.sent(len(part))
		}
		if _, err := nc.Write(out); err != nil {
			return err
		}
	}
	return nil
}

// populate maps the pages of a slot before Go touches them: a page fault would stop the
// scheduler's thread for as long as the disk takes. If it fails, the touch does it.
func populate(p []byte) {
	page := uintptr(unix.Getpagesize())
	if uintptr(len(p)) < page {
		return // a head, or a small file: not worth a system call
	}
	skip := uintptr(unsafe.Pointer(&p[0])) % page
	_ = unix.Madvise(unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(&p[0]), -int(skip))), len(p)+int(skip)), unix.MADV_POPULATE_READ)
}
