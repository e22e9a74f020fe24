package bridge

import (
	"context"
	"os"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// directHandle lends out its content.
type directHandle struct {
	*fakeHandle
	released int
}

func (h *directHandle) ReadDirect(context.Context, int, uint64) (Pinned, bool, error) {
	return h, true, nil
}

func (h *directHandle) Bytes() []byte { return []byte("content") }
func (h *directHandle) Release()      { h.released++ }

// TestAnswerIsOneWrite looks for the method by which go-fuse writes an answer that is in memory
// at once, with its head.
func TestAnswerIsOneWrite(t *testing.T) {
	tree, fs := newFake(t)
	node := lookup(t, fs, "2")
	fh, _ := open(t, fs, node, uint32(os.O_RDONLY))
	copied := fs.handle(fh).h.(*fakeHandle)
	direct := &directHandle{fakeHandle: copied}
	for _, h := range []Handle{copied, direct} {
		fs.handle(fh).h = h
		got, st := fs.Read(nil, &fuse.ReadIn{InHeader: header(node), Fh: fh, Size: 20}, make([]byte, 20))
		if st != fuse.OK {
			t.Fatal(st)
		}
		s, ok := got.(interface {
			Slices() ([][]byte, fuse.Status)
		})
		if !ok {
			t.Fatalf("the answer is a %T, which go-fuse tries to splice", got)
		}
		if v, st := s.Slices(); st != fuse.OK || len(v) != 1 || string(v[0]) != "content" || got.Size() != 7 {
			t.Errorf("%q, %v, %d bytes", v, st, got.Size())
		}
		if direct.released != 0 {
			t.Error("it is given back before it has been written")
		}
		got.Done()
	}
	if direct.released != 1 {
		t.Errorf("it is given back %d times", direct.released)
	}
	fs.release(fh)
	fs.Forget(node, 1)
	if tree.handles != 0 || tree.files != 1 {
		t.Errorf("%d handles, %d files are open", tree.handles, tree.files)
	}
}

// TestCloseLarge closes a file that may have much to free: the thread that is told does not
// do it.
func TestCloseLarge(t *testing.T) {
	tree, fs := newFake(t)
	tree.write = func(p []byte) (int, error) { return len(p), nil }
	node := lookup(t, fs, "2")
	fh, _ := open(t, fs, node, uint32(os.O_WRONLY))
	if _, st := fs.Write(nil, &fuse.WriteIn{InHeader: header(node), Fh: fh, Offset: largeFile}, []byte("x")); st != fuse.OK {
		t.Fatal(st)
	}
	tree.mu.Lock() // a close waits for it
	fs.release(fh)
	fs.Forget(node, 1)
	tree.mu.Unlock()
	fs.closing.Wait()
	if tree.handles != 0 || tree.files != 1 {
		t.Errorf("%d handles, %d files are open", tree.handles, tree.files)
	}
}
