package server

import (
	"io"
	"testing"
	"time"

	"github.com/hugelgupf/p9/p9"
	"sliod/server/wire"
)

// FuzzConn sends a stream of any bytes after a good beginning. The server must answer
// or close, leak nothing (newEnv looks), and go on serving others.
func FuzzConn(f *testing.F) {
	var c wire.Codec
	frames := func(ms ...wire.Message) (out []byte) {
		for i, m := range ms {
			out = c.Append(out, uint16(i), m)
		}
		return out
	}
	f.Add(frames(walkTo(0, 1, "f"), &wire.MsgTlopen{Fid: 1, Flags: p9.ReadWrite}, readReq(10), &wire.MsgTflush{OldTag: 2}))
	f.Add(frames(walkTo(0, 1), &wire.MsgTlcreate{Fid: 1, Name: []byte("g"), Flags: p9.ReadWrite}, &wire.MsgTclunk{Fid: 1}, &wire.MsgTclunk{Fid: 1}))
	f.Add(frames(walkTo(0, 1), &wire.MsgTxattrcreate{Fid: 1, Name: []byte("user.x"), Size: 1}, &wire.MsgTremove{Fid: 1}))
	f.Add(frames(&wire.MsgTversion{Msize: 8192, Version: []byte(wire.Version)}, attach(0, "/f"), &wire.MsgTgetattr{Fid: 0}))
	f.Add(frames(&wire.MsgTxattrwalk{Fid: 0, NewFid: 1}, readReq(1), &wire.MsgTrenameat{OldDir: 0, OldName: []byte("f"), NewDir: 0, NewName: []byte("g")}))
	f.Add(append(wire.AppendTwrite(nil, 1, 5, 0, 3), "abc"...))
	f.Add([]byte{255, 255, 255, 255, 118, 0, 0})
	f.Fuzz(func(t *testing.T, stream []byte) {
		e := newEnv(t)
		file := e.fs.add("f", []byte("data"))
		file.setAbsent(len(stream)%2 == 0)
		bad := e.dial()
		go func() { _, _ = io.Copy(io.Discard, bad.nc) }() // ends with the connection
		if err := bad.nc.SetWriteDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		_, _ = bad.nc.Write(stream) // the server may close before all is written
		e.dial().sync()
		file.deliver(nil)
	})
}
