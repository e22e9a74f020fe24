package client9p

import (
	"bytes"
	"encoding/binary"
	stderrors "errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/server/wire"
)

// TestCreateLookup has each of the four requests refused in turn, by a server that
// answers only when it has all, and by one that gets them one by one. What was made
// is given back then, and every number of a fid is free again.
func TestCreateLookup(t *testing.T) {
	types := []wire.Type{wire.Twalk, wire.Tlcreate, wire.Twalk, wire.Tgetattr}
	for _, extended := range []bool{true, false} {
		for refused := range 5 { // 4: none
			c, p := newPeer(t, 8192)
			c.extended = extended
			clunks := make(chan int, 1)
			go func() {
				type request struct {
					typ uint8
					tag uint16
				}
				answer := func(i int, r request) {
					if wire.Type(r.typ) != types[i] {
						t.Errorf("request %d is a %v", i, wire.Type(r.typ))
					}
					if i == refused || extended && i == 1 && refused == 0 {
						p.errno(r.tag, linux.EACCES)
						return
					}
					var m wire.Message
					switch i {
					case 0:
						m = &wire.MsgRwalk{}
					case 1:
						m = &wire.MsgRlcreate{QID: p9.QID{Path: 5}}
					case 2:
						w := &wire.MsgRwalk{N: 1}
						w.QIDs[0] = p9.QID{Path: 5}
						m = w
					case 3:
						m = &wire.MsgRgetattr{QID: p9.QID{Path: 5}}
					}
					_, _ = p.conn.Write(new(wire.Codec).Append(nil, r.tag, m))
				}
				var all []request
				for i := range types {
					if !extended && i > refused {
						break
					}
					typ, tag, _ := p.next()
					if all = append(all, request{typ, tag}); !extended {
						answer(i, all[i])
					}
				}
				if extended {
					for i, r := range all {
						answer(i, r)
					}
				}
				n := 0
				for ; ; n++ {
					typ, tag, _ := p.next()
					if wire.Type(typ) != wire.Tclunk {
						break // Tstatfs ends it
					}
					_, _ = p.conn.Write(new(wire.Codec).Append(nil, tag, &wire.MsgRclunk{}))
				}
				clunks <- n
			}()
			open, f, _, err := file(c).CreateLookup(t.Context(), "new", 2, 0o644, 0)
			if (err == nil) != (refused == 4) || err != nil && !stderrors.Is(err, linux.EACCES) {
				t.Errorf("extended %v, request %d refused: %v", extended, refused, err)
			}
			if err == nil && (open.QID().Path != 5 || f.QID().Path != 5) {
				t.Errorf("made %+v, found %+v", open.QID(), f.QID())
			}
			go func() { _, _ = file(c).Statfs(t.Context()) }()
			// Without an answer to Twalk there is no fid; the name may be found all the same.
			want := []int{1, 1, 1, 2, 0}
			if !extended {
				want = []int{0, 1, 1, 2, 0}
			}
			if extended {
				want[1] = 2 // the name was found: it is another's
			}
			if n := <-clunks; n != want[refused] {
				t.Errorf("extended %v, request %d refused: %d fids given back, want %d", extended, refused, n, want[refused])
			}
			c.mu.Lock()
			free := slices.Clone(c.freeFids)
			c.mu.Unlock()
			if wantFree := 2; refused < 4 && len(free) != wantFree {
				t.Errorf("extended %v, request %d refused: free fids %v", extended, refused, free)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestRemoveGetattr: a removal's error is told whatever becomes of the attributes, and the name is gone also if those
// cannot be had. A server that does not know the extension is asked for the removal alone.
func TestRemoveGetattr(t *testing.T) {
	for _, tc := range []struct {
		extended      bool
		remove, get   linux.Errno // 0: done
		ok            bool
		wantFlags     uint32
		wantQuestions int
	}{
		{extended: true, ok: true, wantQuestions: 2},
		{extended: true, ok: true, wantFlags: 0x200, wantQuestions: 2},
		{extended: true, remove: linux.ENOENT, wantQuestions: 2},
		{extended: true, get: linux.EIO, wantQuestions: 2},
		{wantQuestions: 1},
		{remove: linux.ENOTEMPTY, wantFlags: 0x200, wantQuestions: 1},
	} {
		c, p := newPeer(t, 8192)
		c.extended = tc.extended
		asked := make(chan int, 1)
		go func() {
			n := 0
			for ; ; n++ {
				typ, tag, body := p.next()
				var m wire.Message
				failed := linux.Errno(0)
				switch wire.Type(typ) {
				case wire.Tunlinkat:
					// dirfid[4] name[s] flags[4]
					if want := binary.LittleEndian.AppendUint32([]byte("\x07\x00\x00\x00\x04\x00name"), tc.wantFlags); !bytes.Equal(body, want) {
						t.Errorf("Tunlinkat is %q, want %q", body, want)
					}
					m, failed = &wire.MsgRunlinkat{}, tc.remove
				case wire.Tgetattr:
					m, failed = &wire.MsgRgetattr{Attr: p9.Attr{Size: 11}}, tc.get
				default: // Tstatfs ends it
					asked <- n
					return
				}
				if failed != 0 {
					p.errno(tag, failed)
				} else {
					_, _ = p.conn.Write(new(wire.Codec).Append(nil, tag, m))
				}
			}
		}()
		attr, ok, err := file(c).RemoveGetattr(t.Context(), "name", tc.wantFlags != 0)
		if (err != nil) != (tc.remove != 0) || err != nil && !stderrors.Is(err, tc.remove) || ok != tc.ok || ok && attr.Size != 11 {
			t.Errorf("%+v: size %d, %v, %v", tc, attr.Size, ok, err)
		}
		go func() { _, _ = file(c).Statfs(t.Context()) }()
		if n := <-asked; n != tc.wantQuestions {
			t.Errorf("%+v: %d requests", tc, n)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestPush writes more than a socket takes at once, from several goroutines: what callers
// cannot send the writer does, and each frame arrives whole.
func TestPush(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		p := &peer{t, conn}
		p.next()
		p.agree(1<<20, wire.Version)
		head := make([]byte, wire.HeaderSize)
		for {
			if _, err := io.ReadFull(conn, head); err != nil {
				return
			}
			h := wire.ParseHeader(head)
			body := make([]byte, int(h.Size)-len(head))
			if _, err := io.ReadFull(conn, body); err != nil {
				t.Error(err)
				return
			}
			_, off, data, err := wire.ParseTwrite(body)
			if err != nil || h.Type != wire.Twrite {
				t.Errorf("%v: %v", h.Type, err)
				return
			}
			for _, b := range data {
				if b != byte(off>>32) {
					t.Errorf("data of %d has %d", off>>32, b)
					return
				}
			}
			_, _ = conn.Write(new(wire.Codec).Append(nil, h.Tag, &wire.MsgRwrite{Count: uint32(len(data))}))
		}
	}()
	c, err := Dial(t.Context(), "unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for n := range 6 {
		wg.Go(func() {
			size := []int{100, 5 << 10, 3 << 20}[n%3]
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(n)
			}
			for range 5 {
				if done, err := file(c).WriteFull(t.Context(), data, uint64(n)<<32); err != nil || done != size {
					t.Errorf("wrote %d of %d bytes: %v", done, size, err)
				}
			}
		})
	}
	wg.Wait()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	<-served
}
