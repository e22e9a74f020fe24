package main

import (
	"fmt"
	"log"
	"os"
)

const (
	readOnly  = 0o0
	writeOnly = 0o1
	created   = 0o1101 // O_WRONLY|O_CREAT|O_TRUNC
	exclusive = 0o302  // O_RDWR|O_CREAT|O_EXCL
)

// bigFid is the connection's one large file, of reads, writes and getattr.
const bigFid = 1

// worker has one request in flight on its connection.
type worker struct {
	*client
	o    *options
	conn int // number of the connection
	no   int // of the worker in it
	tag  uint16
	fid  uint32 // its own, for files that it opens
	n    uint32 // bytes an operation
	data []byte
}

// open makes the connection ready for the operation.
func (o *options) open(c *client, conn int) error {
	name := o.file
	switch o.op {
	case "write":
		name = fmt.Sprintf("%s.%d", o.file, conn)
		if err := c.walk(0, 0, bigFid, ""); err != nil {
			return err
		}
		if c.create(0, bigFid, name, created) == nil {
			return nil
		}
		// It is there, and the server does not open what is there by Tlcreate.
		if err := c.clunk(0, bigFid); err != nil {
			return err
		}
		if err := c.walk(0, 0, bigFid, name); err != nil {
			return err
		}
		return c.open(0, bigFid, writeOnly)
	case "read", "park":
		if err := c.walk(0, 0, bigFid, name); err != nil {
			return err
		}
		return c.open(0, bigFid, readOnly)
	case "getattr":
		return c.walk(0, 0, bigFid, name)
	case "walkopen", "create", "put", "get":
		return nil
	}
	return fmt.Errorf("there is no operation %q", o.op)
}

// do runs operation number i at offset off and returns the bytes of data that it
// moved.
func (w *worker) do(i, off int64) (int64, error) {
	switch w.o.op {
	case "read":
		p, err := w.read(w.tag, bigFid, off, w.n)
		if err == nil && len(p) == 0 {
			log.Fatal("short read at ", off)
		}
		if w.o.stamp {
			check(p, off)
		}
		return int64(len(p)), err
	case "write":
		if w.o.stamp {
			stamp(w.data, off)
		}
		return int64(w.n), w.write(w.tag, bigFid, off, w.data)
	case "getattr":
		return 0, w.getattr(w.tag, bigFid)
	case "walkopen":
		return 0, w.opened(w.o.file, nil)
	case "create":
		return 0, w.made(fmt.Sprintf("c%d-%d-%d-%d", os.Getpid(), w.conn, w.no, i), exclusive, nil)
	case "put":
		if w.o.stamp {
			stamp(w.data, off)
		}
		return int64(w.n), w.made(w.small(off), created, func() error { return w.write(w.tag, w.fid, 0, w.data) })
	case "get":
		return int64(w.n), w.opened(w.small(off), func() error {
			p, err := w.read(w.tag, w.fid, 0, w.n)
			if err == nil && len(p) != int(w.n) {
				err = fmt.Errorf("%s has %d bytes, not %d", w.small(off), len(p), w.n)
			}
			if err == nil && w.o.stamp {
				check(p, off)
			}
			return err
		})
	}
	return 0, fmt.Errorf("there is no operation %q", w.o.op)
}

// small is the name of the small file that stands for offset off.
func (w *worker) small(off int64) string {
	return fmt.Sprintf("%s-%d-%d", w.o.file, w.conn, off/int64(w.n))
}

// opened opens name, runs use if there is one, and closes it.
func (w *worker) opened(name string, use func() error) error {
	if err := w.walk(w.tag, 0, w.fid, name); err != nil {
		return err
	}
	if err := w.open(w.tag, w.fid, readOnly); err != nil {
		return err
	}
	return w.closed(use)
}

// made creates name, runs use if there is one, and closes it.
func (w *worker) made(name string, flags uint32, use func() error) error {
	if err := w.walk(w.tag, 0, w.fid, ""); err != nil {
		return err
	}
	if err := w.create(w.tag, w.fid, name, flags); err != nil {
		return err
	}
	return w.closed(use)
}

func (w *worker) closed(use func() error) error {
	if use != nil {
		if err := use(); err != nil {
			return err
		}
	}
	return w.clunk(w.tag, w.fid)
}

// stamp writes each 512-byte block's own offset into it.
func stamp(b []byte, off int64) {
	for i := 0; i+8 <= len(b); i += 512 {
		le.PutUint64(b[i:], uint64(off)+uint64(i)+1)
	}
}

// check stops the program at the first block whose stamp is not its offset.
func check(b []byte, off int64) {
	for i := int((512 - off%512) % 512); i+8 <= len(b); i += 512 {
		if got, want := le.Uint64(b[i:]), uint64(off)+uint64(i)+1; got != want {
			log.Fatalf("wrong data at offset %d: stamp %d, want %d", off+int64(i), got, want)
		}
	}
}
