package server

import (
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend/vfs"
	"sliod/server/wire"
)

var _ vfs.Extended = (*memOpen)(nil)

// Seek implements vfs.Extended: all is data.
func (o *memOpen) Seek(off uint64, whence vfs.Whence) (uint64, error) {
	defer o.lock()()
	switch {
	case off >= uint64(len(o.f.data)):
		return 0, linux.ENXIO
	case whence == vfs.SeekHole:
		return uint64(len(o.f.data)), nil
	}
	return off, nil
}

// Allocate implements vfs.Extended, by at most 10 bytes.
func (o *memOpen) Allocate(mode vfs.AllocateMode, off, n uint64, w *vfs.Waiter) (uint64, error) {
	defer o.lock()()
	switch {
	case o.f.fail != nil:
		return 0, o.f.fail
	case o.f.absent:
		return 0, o.f.park(w, kindRead, 0)
	}
	n = min(n, 10)
	clear(o.f.data[off : off+n])
	return n, nil
}

// CopyFrom implements vfs.Extended.
func (o *memOpen) CopyFrom(src vfs.File, from, to, n uint64, w *vfs.Waiter) (uint64, error) {
	s, ok := src.(*memOpen)
	if !ok {
		return 0, linux.EXDEV
	}
	defer o.lock()()
	if s.f.absent {
		return 0, s.f.park(w, kindRead, 0)
	}
	return uint64(copy(o.f.data[to:], s.f.data[from:from+n])), nil
}

func (e *env) extended() *client {
	e.t.Helper()
	c := e.raw()
	c.reply(wire.NoTag, &wire.MsgTversion{Msize: 1 << 20, Version: []byte(wire.ExtendedVersion)}, new(wire.MsgRversion))
	c.ok(1, attach(0, ""))
	return c
}

func TestExtension(t *testing.T) {
	e := newEnv(t)
	e.fs.add("f", []byte("0123456789abcdefghij"))
	e.fs.add("g", []byte("--------------------"))
	seek := &wire.MsgTseek{Fid: 4, Offset: 3, Whence: 4}
	allocate := &wire.MsgTallocate{Fid: 4, Mode: 3, Offset: 5, Length: 15}
	cp := &wire.MsgTcopy{Fid: 4, Offset: 0, ToFid: 5, ToOffset: 2, Count: 5}
	plain := e.dial()
	plain.open(4, "f", p9.ReadWrite)
	for _, m := range []wire.Message{seek, allocate, cp} {
		plain.err(m, linux.EOPNOTSUPP)
	}

	c := e.extended()
	c.open(4, "f", p9.ReadWrite)
	c.open(5, "g", p9.ReadWrite)
	c.open(6, "f", p9.ReadOnly)
	c.open(7, "g", p9.WriteOnly)
	var s wire.MsgRseek
	c.reply(1, seek, &s)
	var a wire.MsgRallocate
	c.reply(1, allocate, &a)
	var r wire.MsgRcopy
	c.reply(1, cp, &r)
	if s.Offset != 20 || a.Count != 10 || r != (wire.MsgRcopy{Count: 5}) {
		t.Error(s, a, r)
	}
	if got := string(c.read(1, 5, 0, 10)); got != "--01234---" {
		t.Errorf("%q", got)
	}
	for _, tc := range []struct {
		m   wire.Message
		err linux.Errno
	}{
		{&wire.MsgTseek{Fid: 77}, linux.EBADF},
		{&wire.MsgTseek{Fid: 0}, linux.EBADF}, // not open
		{&wire.MsgTseek{Fid: 4, Offset: 1 << 63}, linux.ENXIO},
		{&wire.MsgTallocate{Fid: 77, Length: 1}, linux.EBADF},
		{&wire.MsgTallocate{Fid: 6, Length: 1}, linux.EBADF},
		{&wire.MsgTallocate{Fid: 4}, linux.EINVAL},
		{&wire.MsgTallocate{Fid: 4, Offset: 1 << 62, Length: 1 << 63}, linux.EFBIG},
		{&wire.MsgTcopy{Fid: 77, ToFid: 5}, linux.EBADF},
		{&wire.MsgTcopy{Fid: 4, ToFid: 77}, linux.EBADF},
		{&wire.MsgTcopy{Fid: 7, ToFid: 5}, linux.EBADF},
		{&wire.MsgTcopy{Fid: 4, ToFid: 6}, linux.EBADF},
		{&wire.MsgTcopy{Fid: 4, ToFid: 5, Offset: 1 << 63}, linux.EINVAL},
	} {
		c.err(tc.m, tc.err)
	}
}

// What waits is answered when it is woken, and can be flushed.
func TestExtensionWaits(t *testing.T) {
	e := newEnv(t)
	f := e.fs.add("f", []byte("0123456789"))
	e.fs.add("g", []byte("----------"))
	f.setAbsent(true)
	c := e.extended()
	c.open(4, "f", p9.ReadWrite)
	c.open(5, "g", p9.ReadWrite)
	allocate := &wire.MsgTallocate{Fid: 4, Mode: 3, Offset: 0, Length: 5}
	c.send(20, allocate)
	c.sync()
	c.ok(21, &wire.MsgTflush{OldTag: 20}) // no answer to 20 comes before it
	c.send(22, allocate)
	c.sync()
	f.deliver(nil)
	var a wire.MsgRallocate
	if err := c.c.Decode(c.want(22, wire.Rallocate), &a); err != nil || a.Count != 0 {
		t.Error(a, err)
	}
	c.reply(22, allocate, &a)
	if a.Count != 5 {
		t.Error(a)
	}
}

// Those who speak the extension say the umask in the mode; of others these bits are
// nothing, as before.
func TestUmask(t *testing.T) {
	e := newEnv(t)
	const mode = 0o640 | 0o027<<wire.UmaskShift
	for _, tc := range []struct {
		c    *client
		name string
		want p9.FileMode
	}{{e.dial(), "plain", 0o640}, {e.extended(), "extended", mode}} {
		tc.c.ok(1, &wire.MsgTmkdir{Name: []byte(tc.name + "dir"), Mode: mode | 0o7<<28})
		tc.c.ok(1, &wire.MsgTmknod{Name: []byte(tc.name + "node"), Mode: p9.ModeNamedPipe | mode})
		tc.c.ok(1, &wire.MsgTwalk{Fid: 0, NewFid: 9})
		tc.c.ok(1, &wire.MsgTlcreate{Fid: 9, Name: []byte(tc.name + "file"), Mode: mode})
		for _, kind := range []string{"dir", "node", "file"} {
			e.fs.mu.Lock()
			got := e.fs.asked[tc.name+kind]
			e.fs.mu.Unlock()
			if got&^0o170000 != tc.want {
				t.Errorf("%s %s: the tree is asked for mode %o, want %o", tc.name, kind, got, tc.want)
			}
		}
	}
}
