package bridge

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/client9p"
	"sliod/server/wire"
)

// crashing is a server that ends and begins as the test has it. Its files are those that are
// asked for by "2", "3" ..., or by number; they keep nothing.
type crashing struct {
	mu       sync.Mutex
	instance string
	conns    []net.Conn
}

// newCrashing returns a server, and the file system of a Remote that is connected to it.
func newCrashing(t *testing.T) (*crashing, *FS) {
	t.Helper()
	s := &crashing{instance: "A"}
	sock := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			wg.Go(func() { s.serve(conn) })
		}
	})
	tree, err := NewRemote(t.Context(), RemoteOptions{Dial: func(ctx context.Context) (*client9p.Client, error) {
		return client9p.Dial(ctx, "unix", sock)
	}})
	if err != nil {
		t.Fatal(err)
	}
	fs, err := New(t.Context(), tree, 0, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		fs.OnUnmount()
		_ = tree.Close() // the server has closed its connection, maybe
		_ = l.Close()
		s.restart("")
		wg.Wait()
	})
	return s, fs
}

// restart ends all connections. The server that takes the next has another name: see continues.
func (s *crashing) restart(instance string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instance = instance
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func (s *crashing) name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.instance
}

// serve answers the requests of a connection until it ends.
func (s *crashing) serve(conn net.Conn) {
	var codec wire.Codec
	fids := make(map[uint32]uint64) // FileIDs
	for {
		head := make([]byte, wire.HeaderSize)
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		h := wire.ParseHeader(head)
		body := make([]byte, h.Size-wire.HeaderSize)
		if _, err := io.ReadFull(conn, body); err != nil {
			return
		}
		var frame []byte
		if h.Type == wire.Tread {
			rest := s.name()[min(binary.LittleEndian.Uint64(body[4:]), uint64(len(s.name()))):]
			frame = append(wire.AppendRread(nil, h.Tag, len(rest)), rest...)
		} else {
			frame = codec.Append(nil, h.Tag, s.answer(h.Type, body, fids))
		}
		_, _ = conn.Write(frame) // the next read says that the connection has ended
	}
}

func (s *crashing) answer(typ wire.Type, body []byte, fids map[uint32]uint64) wire.Message {
	var codec wire.Codec
	decode := func(m wire.Message) {
		if err := codec.Decode(body, m); err != nil {
			panic(err)
		}
	}
	number := func(name []byte) uint64 {
		n, _ := strconv.ParseUint(strings.TrimPrefix(string(name), "id:"), 10, 64)
		return max(n, 1) // the root
	}
	switch typ {
	case wire.Tversion:
		return &wire.MsgRversion{Msize: 1 << 16, Version: []byte(wire.Version)}
	case wire.Tattach:
		var q wire.MsgTattach
		decode(&q)
		fids[q.Fid] = number(q.Aname)
		return &wire.MsgRattach{QID: p9.QID{Path: fids[q.Fid]}}
	case wire.Twalk:
		var q wire.MsgTwalk
		decode(&q)
		fids[q.NewFid] = fids[q.Fid]
		r := &wire.MsgRwalk{N: q.N}
		for i, name := range q.Names[:q.N] {
			fids[q.NewFid] = number(name)
			r.QIDs[i].Path = fids[q.NewFid]
		}
		return r
	case wire.Tlcreate:
		var q wire.MsgTlcreate
		decode(&q)
		fids[q.Fid] = number(q.Name)
		return &wire.MsgRlcreate{QID: p9.QID{Path: fids[q.Fid]}}
	case wire.Tlopen:
		return &wire.MsgRlopen{QID: p9.QID{Path: fids[binary.LittleEndian.Uint32(body)]}}
	case wire.Tgetattr:
		return &wire.MsgRgetattr{Valid: wire.AttrAll, QID: p9.QID{Path: fids[binary.LittleEndian.Uint32(body)]}, Attr: p9.Attr{Mode: p9.ModeRegular | 0o644}}
	case wire.Twrite:
		_, _, data, err := wire.ParseTwrite(body)
		if err != nil {
			panic(err)
		}
		return &wire.MsgRwrite{Count: uint32(len(data))}
	case wire.Txattrwalk:
		var q wire.MsgTxattrwalk
		decode(&q)
		if string(q.Name) != "user.sliod.instance" {
			return &wire.MsgRlerror{Errno: uint32(linux.ENODATA)}
		}
		return &wire.MsgRxattrwalk{Size: uint64(len(s.name()))}
	case wire.Tsetattr:
		return &wire.MsgRsetattr{}
	case wire.Tfsync:
		return &wire.MsgRfsync{}
	case wire.Tclunk:
		return &wire.MsgRclunk{}
	}
	return &wire.MsgRlerror{Errno: uint32(linux.ENOSYS)}
}

// TestSyncAfterLoss: a sync tells, once, that what was written may have been lost, whichever
// open file it was written through.
func TestSyncAfterLoss(t *testing.T) {
	const eio = fuse.EIO
	write := func(t *testing.T, fs *FS, n, fh uint64, flags uint32) {
		t.Helper()
		in := &fuse.WriteIn{InHeader: header(n), Fh: fh, WriteFlags: flags}
		if k, st := fs.Write(nil, in, []byte("x")); k != 1 || st != fuse.OK {
			t.Fatalf("write: %d, %v", k, st)
		}
	}
	// another writes through an open file of its own, and returns that.
	another := func(t *testing.T, fs *FS, n uint64) uint64 {
		t.Helper()
		fh, _ := open(t, fs, n, syscall.O_WRONLY)
		write(t, fs, n, fh, 0)
		return fh
	}
	restartAs := func(instance string) func(*testing.T, *crashing, *FS, uint64, uint64) {
		return func(t *testing.T, s *crashing, fs *FS, n, _ uint64) {
			another(t, fs, n)
			s.restart(instance)
		}
	}
	sync := func(fs *FS, n, fh uint64) fuse.Status {
		return fs.Fsync(nil, &fuse.FsyncIn{InHeader: header(n), Fh: fh})
	}
	for _, c := range []struct {
		name string
		do   func(t *testing.T, s *crashing, fs *FS, n, by uint64) // by is an open file that a sync is asked of
		want []fuse.Status                                         // of syncs
	}{
		{"nothing was written", func(_ *testing.T, s *crashing, _ *FS, _, _ uint64) { s.restart("B") }, []fuse.Status{fuse.OK}},
		{"by another open file", restartAs("B"), []fuse.Status{eio, fuse.OK}},
		{"by one that is closed", func(t *testing.T, s *crashing, fs *FS, n, _ uint64) {
			fh := another(t, fs, n)
			fs.release(fh)
			s.restart("B")
		}, []fuse.Status{eio, fuse.OK}},
		{"a page, by one that appends", func(t *testing.T, s *crashing, fs *FS, n, _ uint64) {
			fh, _ := open(t, fs, n, syscall.O_RDWR|syscall.O_APPEND)
			write(t, fs, n, fh, fuse.WRITE_CACHE)
			s.restart("B")
		}, []fuse.Status{eio, fuse.OK}},
		{"a truncation", func(t *testing.T, s *crashing, fs *FS, n, by uint64) {
			in := &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: header(n), Valid: fuse.FATTR_SIZE | fuse.FATTR_FH, Fh: by}}
			if st := fs.SetAttr(nil, in, new(fuse.AttrOut)); st != fuse.OK {
				t.Fatal(st)
			}
			s.restart("B")
		}, []fuse.Status{eio, fuse.OK}},
		{"a truncation by an open", func(t *testing.T, s *crashing, fs *FS, n, _ uint64) {
			fh, _ := open(t, fs, n, syscall.O_WRONLY|syscall.O_TRUNC)
			fs.release(fh)
			s.restart("B")
		}, []fuse.Status{eio, fuse.OK}},
		{"a change of the mode", func(t *testing.T, s *crashing, fs *FS, n, _ uint64) {
			in := &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: header(n), Valid: fuse.FATTR_MODE}}
			if st := fs.SetAttr(nil, in, new(fuse.AttrOut)); st != fuse.OK {
				t.Fatal(st)
			}
			s.restart("B")
		}, []fuse.Status{fuse.OK}},
		{"of another file", func(t *testing.T, s *crashing, fs *FS, _, _ uint64) {
			n := lookup(t, fs, "6")
			another(t, fs, n)
			s.restart("B")
		}, []fuse.Status{fuse.OK}},
		{"and synced", func(t *testing.T, s *crashing, fs *FS, n, by uint64) {
			another(t, fs, n)
			if st := sync(fs, n, by); st != fuse.OK {
				t.Fatal(st)
			}
			s.restart("B")
		}, []fuse.Status{fuse.OK}},
		{"and a server that ends cleanly", restartAs("B A"), []fuse.Status{fuse.OK}},
		{"and a server that ends cleanly twice", restartAs("C B A"), []fuse.Status{fuse.OK}},
		{"and a server that names no end of others", restartAs("B A" + strings.Repeat(" C", maxInstance)), []fuse.Status{eio, fuse.OK}},
		{"and only the connection is lost", restartAs("A"), []fuse.Status{fuse.OK}},
		{"after the loss", func(t *testing.T, s *crashing, fs *FS, n, by uint64) {
			s.restart("B")
			write(t, fs, n, by, 0)
		}, []fuse.Status{fuse.OK}},
		{"before the loss, and after it", func(t *testing.T, s *crashing, fs *FS, n, by uint64) {
			another(t, fs, n)
			s.restart("B")
			write(t, fs, n, by, 0)
		}, []fuse.Status{eio, fuse.OK}},
		{"and told, and written, and lost again", func(t *testing.T, s *crashing, fs *FS, n, by uint64) {
			another(t, fs, n)
			s.restart("B")
			if st := sync(fs, n, by); st != eio {
				t.Error(st)
			}
			another(t, fs, n)
			s.restart("C")
		}, []fuse.Status{eio, fuse.OK}},
		{"and told by the open file that wrote it", func(t *testing.T, s *crashing, fs *FS, n, _ uint64) {
			fh := another(t, fs, n)
			s.restart("B")
			for range 2 {
				if st := sync(fs, n, fh); st != eio {
					t.Error(st)
				}
			}
		}, []fuse.Status{fuse.OK}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, fs := newCrashing(t)
			n := lookup(t, fs, "5")
			by, _ := open(t, fs, n, syscall.O_RDWR)
			c.do(t, s, fs, n, by)
			for i, want := range c.want {
				if st := sync(fs, n, by); st != want {
					t.Errorf("sync %d: %v, want %v", i, st, want)
				}
			}
		})
	}
}

// TestCreatedByOthersAgain: what another user than the one who mounts has made and opened can be
// opened again when the connection was lost.
func TestCreatedByOthersAgain(t *testing.T) {
	s, fs := newCrashing(t)
	in := header(fuse.FUSE_ROOT_ID)
	in.Uid = 1
	var out fuse.CreateOut
	if st := fs.Create(nil, &fuse.CreateIn{InHeader: in, Flags: syscall.O_WRONLY}, "5", &out); st != fuse.OK {
		t.Fatal(st)
	}
	s.restart("B A")
	if n, st := fs.Write(nil, &fuse.WriteIn{InHeader: header(out.NodeId), Fh: out.Fh}, []byte("x")); n != 1 || st != fuse.OK {
		t.Errorf("%d, %v", n, st)
	}
}
