package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// slots of the file that TestBridgeServerKilled writes, a page each.
const slots = 16

// page is what is written as number i.
func page(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%07d\n", i), 512) }

// slotWriter writes pages with fsync, and notes what was tried and what was confirmed.
type slotWriter struct {
	name      string
	tried     [slots]int
	confirmed [slots]int
	failures  int
}

// run writes until stop is closed. An error ends the use of an open file, no more.
func (w *slotWriter) run(t *testing.T, stop <-chan struct{}) {
	for i := 1; ; {
		f, err := os.OpenFile(w.name, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			t.Errorf("open: %v", err)
			return
		}
		for ; err == nil; i++ {
			select {
			case <-stop:
				if err := f.Close(); err != nil {
					t.Error(err)
				}
				return
			default:
			}
			at := i % slots
			w.tried[at] = i
			if _, err = f.WriteAt(page(i), int64(at)*4096); err == nil {
				err = f.Sync()
			}
			if err == nil {
				w.confirmed[at] = i
				got := make([]byte, 4096)
				if _, err = f.ReadAt(got, int64(at)*4096); err == nil && !bytes.Equal(got, page(i)) {
					t.Errorf("page %d is %.8q after its fsync", i, got)
				}
			}
		}
		w.failures++
		_ = f.Close() // it has failed
	}
}

// check reads the file on another mount: a page is what was confirmed last, or what was
// tried later.
func (w *slotWriter) check(t *testing.T, name string) {
	t.Helper()
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for at := range slots {
		var n int
		if end := (at + 1) * 4096; end > len(got) {
			if w.confirmed[at] > 0 {
				t.Errorf("the file ends before slot %d", at)
			}
			continue
		}
		p := got[at*4096 : (at+1)*4096]
		if _, err := fmt.Sscan(string(p[:7]), &n); w.confirmed[at] > 0 && (err != nil || n < w.confirmed[at] || n > w.tried[at] || !bytes.Equal(p, page(n))) {
			t.Errorf("slot %d has %.8q; %d was confirmed, %d tried", at, p, w.confirmed[at], w.tried[at])
		}
	}
}

// TestBridgeServerKilled kills and stops a server under a bridge that is in use. The bridge
// connects again; what was confirmed is there; who reads waits, and reads nothing wrong.
func TestBridgeServerKilled(t *testing.T) {
	requireFUSE(t)
	dir := stateDir(t)
	s := start(t, dir, settings{})
	mnt := mountBridge(t, s, "")
	resident := content(3, 300_000)
	if err := os.WriteFile(mnt+"/resident", resident, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(mnt+"/resident", os.O_RDWR, 0)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &slotWriter{name: filepath.Join(mnt, "written")}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { w.run(t, stop) })
	wg.Go(func() { // reads by a file that stays open: it wrote nothing, and must not fail
		got := make([]byte, len(resident))
		for {
			select {
			case <-stop:
				return
			default:
			}
			if n, err := f.ReadAt(got, 0); n != len(got) || !bytes.Equal(got, resident) {
				t.Errorf("a file that is only read: %d bytes, %v", n, err)
				return
			}
			dropPages(t, f)
		}
	})
	for round := range 4 {
		if round%2 == 0 {
			if err := s.proc.Kill(); err == nil {
				t.Error("the server ended before it was killed")
			}
		} else {
			s.stop()
		}
		s = start(t, dir, settings{})
		if err := os.WriteFile(mnt+"/alive", []byte{byte(round)}, 0o644); err != nil {
			t.Errorf("after round %d: %v", round, err)
		}
	}
	close(stop)
	wg.Wait()
	t.Logf("%d pages were tried, open files failed %d times", max(w.tried[0], w.tried[slots-1]), w.failures)
	w.check(t, mountBridge(t, s, "")+"/written")
	w.check(t, mnt+"/written")
}

// dropPages has the kernel read the file from the server next time.
func dropPages(t *testing.T, f *os.File) {
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Error(err)
	}
}
