package server

import (
	"bytes"
	"sync"
	"testing"

	"github.com/hugelgupf/p9/p9"
	"sliod/server/wire"
)

// TestRepliesDoNotWaitForTheEndOfInput has a client that has sent more than has been
// served: what has been answered goes out after so many replies, or after so many
// bytes of requests. The last read does not return before the client has the answers.
func TestRepliesDoNotWaitForTheEndOfInput(t *testing.T) {
	for _, tc := range []struct {
		name string
		kind wire.Type // of the requests before the last
		n    int
		size int
	}{
		{"many replies", wire.Rread, flushReplies, 1},
		{"many bytes", wire.Rwrite, 1, flushAt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := newEnv(t)
			e.fs.add("f", []byte("x"))
			c := e.dial()
			c.open(1, "f", p9.ReadWrite)
			calls, received := 0, make(chan struct{})
			release := sync.OnceFunc(func() { close(received) })
			defer release()
			e.fs.with(func() {
				e.fs.onRead = func() { // in the reader alone
					if calls++; tc.kind == wire.Rwrite || calls > tc.n {
						<-received
					}
				}
			})
			var all []byte
			for i := range tc.n {
				if tc.kind == wire.Rread {
					all = c.c.Append(all, uint16(i), &wire.MsgTread{Fid: 1, Count: uint32(tc.size)})
				} else {
					all = append(wire.AppendTwrite(all, uint16(i), 1, 0, tc.size), bytes.Repeat([]byte("y"), tc.size)...)
				}
			}
			last := uint16(tc.n)
			all = c.c.Append(all, last, &wire.MsgTread{Fid: 1, Count: 1})
			sent := make(chan error, 1)
			go func() {
				_, err := c.nc.Write(all)
				sent <- err
			}()
			for i := range tc.n {
				c.want(uint16(i), tc.kind)
			}
			release()
			c.want(last, wire.Rread)
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		})
	}
}
