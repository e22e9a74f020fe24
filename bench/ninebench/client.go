package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"
	"sync"
)

// Message types of 9P2000.L.
const (
	tlopen, tlcreate, tgetattr = 12, 14, 24
	tfsync                     = 50
	tversion, tattach, twalk   = 100, 104, 110
	tread, twrite, tclunk      = 116, 118, 120
	rlerror                    = 7
)

var le = binary.LittleEndian

// client is one connection. Each worker uses a tag of its own.
type client struct {
	c     net.Conn
	msize uint32

	wmu sync.Mutex
	w   *bufio.Writer

	r       *bufio.Reader
	pending [65536]chan []byte // by tag: where the reply goes
}

// dial connects, agrees on a version and attaches as fid 0. Tags 0 to depth can
// be used.
func dial(addr string, msize uint32, aname string, uid uint32, depth int) (*client, error) {
	network, a, _ := strings.Cut(addr, ":")
	nc, err := net.Dial(network, a)
	if err != nil {
		return nil, err
	}
	c := &client{c: nc, w: bufio.NewWriterSize(nc, int(msize)+64), r: bufio.NewReaderSize(nc, 256<<10)}
	for i := range depth + 1 {
		c.pending[i] = make(chan []byte, 1)
	}
	go c.reader()
	r, err := c.call(0, tversion, str(le.AppendUint32(nil, msize), "9P2000.L"), nil)
	if err != nil {
		return nil, err
	}
	c.msize = le.Uint32(r)
	b := u32(nil, 0, 0xffffffff)
	b = str(str(b, ""), aname)
	_, err = c.call(0, tattach, u32(b, uid), nil)
	return c, err
}

func str(b []byte, s string) []byte {
	return append(le.AppendUint16(b, uint16(len(s))), s...)
}

func u32(b []byte, v ...uint32) []byte {
	for _, x := range v {
		b = le.AppendUint32(b, x)
	}
	return b
}

// send writes one message: its body, and more of it that is not copied.
func (c *client) send(tag uint16, typ byte, body, extra []byte) error {
	var h [7]byte
	le.PutUint32(h[:], uint32(7+len(body)+len(extra)))
	h[4] = typ
	le.PutUint16(h[5:], tag)
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.w.Write(h[:]) // a bufio.Writer keeps its error for Flush
	c.w.Write(body)
	c.w.Write(extra)
	return c.w.Flush()
}

// call sends one message and returns its reply's body, which is valid until the
// tag's next call.
func (c *client) call(tag uint16, typ byte, body, extra []byte) ([]byte, error) {
	if err := c.send(tag, typ, body, extra); err != nil {
		return nil, err
	}
	r := <-c.pending[tag]
	switch {
	case r == nil:
		return nil, io.ErrUnexpectedEOF
	case r[0] == rlerror:
		return nil, fmt.Errorf("errno %d", le.Uint32(r[1:]))
	case r[0] != typ+1:
		return nil, fmt.Errorf("got type %d want %d", r[0], typ+1)
	}
	return r[1:], nil
}

// reader hands the replies out. Each tag has a buffer that is used again.
func (c *client) reader() {
	var h [7]byte
	bufs := make(map[uint16][]byte)
	for {
		if _, err := io.ReadFull(c.r, h[:]); err != nil {
			for _, ch := range c.pending {
				select {
				case ch <- nil:
				default: // nobody waits, or there is no such tag
				}
			}
			return
		}
		n := int(le.Uint32(h[:])) - 7
		tag := le.Uint16(h[5:])
		b := bufs[tag]
		if cap(b) < n+1 {
			b = make([]byte, n+1)
			bufs[tag] = b
		}
		b = b[:n+1]
		b[0] = h[4]
		if _, err := io.ReadFull(c.r, b[1:]); err != nil {
			log.Fatal("the connection ended within a reply: ", err)
		}
		c.pending[tag] <- b
	}
}

// walk makes newfid the file called name in the directory fid; "" is the
// directory itself.
func (c *client) walk(tag uint16, fid, newfid uint32, name string) error {
	b := u32(nil, fid, newfid)
	var names []string
	if name != "" {
		names = strings.Split(name, "/")
	}
	b = le.AppendUint16(b, uint16(len(names)))
	for _, n := range names {
		b = str(b, n)
	}
	r, err := c.call(tag, twalk, b, nil)
	if err == nil && int(le.Uint16(r)) != len(names) {
		return os.ErrNotExist
	}
	return err
}

func (c *client) open(tag uint16, fid, flags uint32) error {
	_, err := c.call(tag, tlopen, u32(nil, fid, flags), nil)
	return err
}

// create makes and opens a file in the directory fid, which becomes that file.
func (c *client) create(tag uint16, fid uint32, name string, flags uint32) error {
	_, err := c.call(tag, tlcreate, u32(str(u32(nil, fid), name), flags, 0o644, 0), nil)
	return err
}

func (c *client) clunk(tag uint16, fid uint32) error {
	_, err := c.call(tag, tclunk, u32(nil, fid), nil)
	return err
}

func (c *client) getattr(tag uint16, fid uint32) error {
	_, err := c.call(tag, tgetattr, le.AppendUint64(u32(nil, fid), 0x7ff), nil)
	return err
}

func (c *client) fsync(fid uint32) error {
	_, err := c.call(0, tfsync, u32(nil, fid, 0), nil)
	return err
}

// read returns the data of one Rread.
func (c *client) read(tag uint16, fid uint32, off int64, n uint32) ([]byte, error) {
	r, err := c.call(tag, tread, readBody(fid, off, n), nil)
	if err != nil {
		return nil, err
	}
	return r[4 : 4+le.Uint32(r)], nil
}

func readBody(fid uint32, off int64, n uint32) []byte {
	return u32(le.AppendUint64(u32(make([]byte, 0, 16), fid), uint64(off)), n)
}

// write writes all of p: a server may answer short, then it sends the rest.
func (c *client) write(tag uint16, fid uint32, off int64, p []byte) error {
	for len(p) > 0 {
		r, err := c.call(tag, twrite, readBody(fid, off, uint32(len(p))), p)
		if err != nil {
			return err
		}
		n := le.Uint32(r)
		if n == 0 || int(n) > len(p) {
			return fmt.Errorf("write of %d bytes answered with %d", len(p), n)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}
