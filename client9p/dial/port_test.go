package dial

import (
	"bytes"
	"context"
	stderrors "errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"sliod/server/wire"
)

// TestSettle: answers to an earlier user are thrown away, however they arrive.
func TestSettle(t *testing.T) {
	var codec wire.Codec
	old := codec.Append(nil, 7, &wire.MsgRwrite{Count: 100})
	old = append(old, codec.Append(nil, wire.NoTag, &wire.MsgRversion{Msize: 1 << 20, Version: []byte(wire.Version)})...)
	for name, stale := range map[string][]byte{
		"nothing": nil, "answers": old, "half an answer": old[3:], "much": bytes.Repeat(old, 10_000),
	} {
		for _, piece := range []int{1, 10, 1 << 20} {
			if piece == 1 && name == "much" {
				continue
			}
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				ask := make([]byte, 21)
				if _, err := io.ReadFull(theirs, ask); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				ask[4]++ // Rversion is Tversion with the next type
				for out := append(bytes.Clone(stale), ask...); len(out) > 0; {
					n, err := theirs.Write(out[:min(piece, len(out))])
					if err != nil {
						t.Errorf("%s: %v", name, err)
						return
					}
					out = out[n:]
				}
			}()
			if err := settle(t.Context(), ours); err != nil {
				t.Errorf("%s, %d bytes at a time: %v", name, piece, err)
			}
			if n, err := ours.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("%s: %d bytes are left, %v", name, n, err)
			}
			_ = ours.Close()
		}
	}
}

// TestSettleSilent: a server that does not answer, and one that is gone.
func TestSettleSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := settle(ctx, ours); !stderrors.Is(err, ErrStuck) {
			t.Errorf("a silent server: %v", err)
		}
		_ = theirs.Close()
	})
	ours, theirs := net.Pipe()
	defer ours.Close()
	_ = theirs.Close()
	if err := settle(t.Context(), ours); err == nil || stderrors.Is(err, ErrStuck) {
		t.Errorf("no server: %v", err)
	}
}
