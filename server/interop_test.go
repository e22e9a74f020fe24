package server

import (
	"bytes"
	"crypto/rand"
	stderrors "errors"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"sliod/server/wire"
)

// TestP9Client runs another implementation's client against the server.
func TestP9Client(t *testing.T) {
	e := newEnv(t)
	a, b := socketpair(t)
	e.s.ServeConn(b)
	cl, err := p9.NewClient(a)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cl.Close() }()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := cl.Attach("")
	ok(err)
	_, err = root.Mkdir("dir", 0o755, 0, 0)
	ok(err)
	_, dir, err := root.Walk([]string{"dir"})
	ok(err)
	_, f, err := dir.Walk(nil)
	ok(err)
	f2, _, _, err := f.Create("file", p9.ReadWrite, 0o644, 0, 0)
	ok(err)
	data := make([]byte, 300000)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	n, err := f2.WriteAt(data, 0)
	ok(err)
	got := make([]byte, len(data))
	for at := 0; at < len(got); {
		n, err := f2.ReadAt(got[at:], int64(at))
		ok(err)
		at += n
	}
	if n != len(data) || !bytes.Equal(got, data) {
		t.Fatalf("wrote %d bytes of %d, or read others", n, len(data))
	}
	ok(f2.FSync())
	_, _, attr, err := f2.GetAttr(p9.AttrMaskAll)
	ok(err)
	if attr.Size != uint64(len(data)) || attr.Mode != p9.ModeRegular|0o644 {
		t.Errorf("%v", attr)
	}
	ok(f2.SetAttr(p9.SetAttrMask{Size: true}, p9.SetAttr{Size: 10}))
	ok(dir.RenameAt("file", root, "moved"))
	ok(root.Link(f2, "hard"))
	_, err = root.Symlink("dir/x", "soft", 0, 0)
	ok(err)
	_, err = root.Mknod("pipe", p9.ModeNamedPipe|0o600, 0, 0, 0, 0)
	ok(err)
	_, soft, err := root.Walk([]string{"soft"})
	ok(err)
	if target, err := soft.Readlink(); target != "dir/x" || err != nil {
		t.Error(target, err)
	}
	_, d, err := root.Walk(nil)
	ok(err)
	_, _, err = d.Open(p9.ReadOnly)
	ok(err)
	names := map[string]bool{}
	for off := uint64(0); ; {
		entries, err := d.Readdir(off, 64<<10)
		ok(err)
		if len(entries) == 0 {
			break
		}
		for _, x := range entries {
			names[x.Name], off = true, x.Offset
		}
	}
	for _, want := range []string{".", "..", "dir", "moved", "hard", "soft", "pipe"} {
		if !names[want] {
			t.Errorf("%s is not in %v", want, names)
		}
	}
	_, err = root.StatFS()
	ok(err)
	// No Lock: this client forgets the fid in Tlock.
	ok(soft.Rename(dir, "soft2"))
	ok(dir.UnlinkAt("soft2", 0))
	ok(root.UnlinkAt("dir", atRemoveDir))
	if err := root.UnlinkAt("dir", atRemoveDir); !stderrors.Is(err, linux.ENOENT) {
		t.Error(err)
	}
	if _, _, err := root.Walk([]string{"nothing"}); !stderrors.Is(err, linux.ENOENT) {
		t.Error(err)
	}
	for _, x := range []p9.File{f2, d, soft, dir, root} {
		ok(x.Close())
	}
}

// TestLargeFrames moves 4 MiB in one message each way.
func TestLargeFrames(t *testing.T) {
	e := newEnv(t)
	e.fs.add("f", nil)
	c := e.raw()
	if r := c.version(1 << 30); r.Msize != LargestMsize {
		t.Fatal(r.Msize)
	}
	c.ok(1, attach(0, ""))
	c.open(1, "f", p9.ReadWrite)
	data := make([]byte, 4<<20)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	var out []byte
	for i := range uint16(3) { // with small ones between, in one stream
		out = wire.AppendTwrite(out, 10+i, 1, uint64(i)*4<<20, len(data))
		out = append(out, data...)
		out = c.c.Append(out, 20+i, &wire.MsgTgetattr{Fid: 1})
	}
	done := make(chan error, 1)
	go func() {
		_, err := c.nc.Write(out)
		done <- err
	}()
	for i := range uint16(3) {
		c.want(10+i, wire.Rwrite)
		c.want(20+i, wire.Rgetattr)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for i := range uint64(3) {
		if !bytes.Equal(c.read(1, 1, i*4<<20, 4<<20), data) {
			t.Error("other data")
		}
	}
}
