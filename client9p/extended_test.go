package client9p

import (
	"bytes"
	stderrors "errors"
	"net"
	"testing"

	"github.com/hugelgupf/p9/linux"

	"sliod/server/wire"
)

// TestExtension agrees with servers that know the extension, that know 9P2000.L, and
// that know only their own name for it.
func TestExtension(t *testing.T) {
	refuse := func(p *peer) { p.errno(noTag, linux.EPROTO) }
	for _, tc := range []struct {
		name     string
		first    func(p *peer)
		again    bool
		extended bool
	}{
		{"extended", func(p *peer) { p.agree(8192, "9P2000.L.sliod") }, false, true},
		{"plain", func(p *peer) { p.agree(8192, "9P2000.L") }, false, false},
		{"unknown", func(p *peer) { p.agree(8192, "unknown") }, true, false},
		{"refused", refuse, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, b := net.Pipe()
			done := make(chan struct{})
			go func() {
				defer close(done)
				p := &peer{t, b}
				p.next()
				tc.first(p)
				if tc.again {
					if _, _, body := p.next(); !bytes.HasSuffix(body, []byte("9P2000.L")) {
						t.Errorf("asked again with %q", body)
					}
					p.agree(8192, "9P2000.L")
				}
			}()
			c, err := New(t.Context(), a, 8192)
			<-done
			if err != nil {
				t.Fatal(err)
			}
			if c.Extended() != tc.extended {
				t.Errorf("extended is %v", c.Extended())
			}
			if !tc.extended { // nothing is sent: nobody would answer
				_, err := file(c).Seek(t.Context(), 0, 3)
				if _, e := file(c).Allocate(t.Context(), 3, 0, 1); !stderrors.Is(err, linux.EOPNOTSUPP) || !stderrors.Is(e, linux.EOPNOTSUPP) {
					t.Error(err, e)
				}
			}
			_ = b.Close()
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestExtendedParts: what the server does in parts is asked for until all is done.
func TestExtendedParts(t *testing.T) {
	c, p := newPeer(t, 8192)
	c.extended = true
	reply := func(m wire.Message) {
		_, tag, _ := p.next()
		_, _ = p.conn.Write(new(wire.Codec).Append(nil, tag, m))
	}
	go func() {
		reply(&wire.MsgRallocate{Count: 100})
		reply(&wire.MsgRallocate{Count: 0})
		reply(&wire.MsgRallocate{Count: 900})
		reply(&wire.MsgRcopy{Count: 100})
		reply(&wire.MsgRcopy{Again: 1})
		reply(&wire.MsgRcopy{Count: 200})
		reply(&wire.MsgRcopy{})
		reply(&wire.MsgRseek{Offset: 77})
	}()
	if n, err := file(c).Allocate(t.Context(), 3, 5, 1000); n != 1000 || err != nil {
		t.Error(n, err)
	}
	if n, err := file(c).CopyTo(t.Context(), 5, file(c), 5000, 1000); n != 300 || err != nil {
		t.Error(n, err)
	}
	if n, err := file(c).Seek(t.Context(), 5, 4); n != 77 || err != nil {
		t.Error(n, err)
	}
}
