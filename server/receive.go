package server

import "sliod/socket"

// receiver is where a connection's input comes from. It sends what is queued before
// it waits for the client, and not sooner: while requests come in, their replies go
// out together.
type receiver struct{ c *conn }

func (r receiver) Read(p []byte) (int, error) {
	c := r.c
	if c.sock == nil {
		c.push()
		return c.nc.Read(p)
	}
	n, err := c.sock.Recv(p)
	if err != socket.ErrNothing {
		return n, err
	}
	c.push()
	for n, err = c.sock.RecvSoon(p); err == socket.ErrNothing; n, err = c.sock.Recv(p) {
		if err := c.sock.AwaitInput(); err != nil {
			return 0, err // the deadline, or no memory for it
		}
	}
	return n, err
}
