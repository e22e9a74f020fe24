package server

import (
	"io"

	"golang.org/x/sys/unix"
)

// receiver is where a connection's input comes from. It sends what is queued before
// it waits for the client, and not sooner: while requests come in, their replies go
// out together.
type receiver struct{ c *conn }

func (r receiver) Read(p []byte) (int, error) {
	c := r.c
	if c.raw == nil {
		c.push()
		return c.nc.Read(p)
	}
	c.recvBuf, c.pushed = p, false
	err := c.raw.Read(c.recvFn)
	c.recvBuf = nil
	switch {
	case err != nil: // closed, or a deadline
		return 0, err
	case c.recvErr != nil:
		return 0, c.recvErr
	case c.recvN == 0:
		return 0, io.EOF
	}
	return c.recvN, nil
}

// recv reads from the non-blocking socket fd. False: nothing has come in.
func (c *conn) recv(fd uintptr) bool {
	for {
		c.recvN, c.recvErr = unix.Read(int(fd), c.recvBuf)
		switch {
		case c.recvErr == unix.EINTR:
		case c.recvErr != unix.EAGAIN:
			return true
		case c.pushed:
			return false
		default:
			c.push()
			c.pushed = true
		}
	}
}
