package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sliod/backend/sliver"
	"sliod/client9p/bridge"
	"sliod/server/local"
)

// bridgeReads is how many reads TestBridgeParked parks.
const bridgeReads = 1000

// TestBridgeParked mounts an archive whose tape does not move. A thousand reads wait for
// it, by read(2) and by faults of mapped files; what needs no tape is done meanwhile;
// programs that wait can be ended; then every read gets its bytes.
func TestBridgeParked(t *testing.T) {
	requireFUSE(t)
	a := newArchive(t, 2)
	fs, err := bridge.New(t.Context(), local.New(a.fs), uint32(os.Getuid()), bridge.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	srv, err := bridge.Mount(fs, dir, bridge.MountOptions{Source: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Unmount(); err != nil {
			t.Error(err)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
		fs.Stop()
		srv.Wait()
	})
	resident := content(5, 100_000)
	if err := os.WriteFile(dir+"/resident", resident, 0o644); err != nil {
		t.Fatal(err)
	}
	release := a.holdTape()

	// Each read has a page of its own, spread over all slivers.
	const parts = 2 * sliversOfFile * partsOfSliver
	fds, maps := openForReads(t, dir)
	heap := heapInUse()
	var wg sync.WaitGroup
	for i := range bridgeReads {
		where := i * parts / bridgeReads
		file, off := place(where)
		page := int64(off) + int64(i%4)*4096*3
		wg.Go(func() { readPage(t, fds[file], maps[file], where, page, i%2 == 1) })
	}
	until(t, "the reads are parked", func() bool { return a.fs.Status().Parked >= bridgeReads/2 })
	last := int64(-1)
	until(t, "no more are", func() bool {
		now := a.fs.Status().Parked
		same := now == last
		last = now
		return same
	})
	t.Logf("%d requests are parked: %d bytes of heap for each", last, (int64(heapInUse())-int64(heap))/last)

	meanwhile(t, dir, resident)
	endWaiting(t, dir)
	release()
	wg.Wait()
	for i := range fds {
		_ = unix.Munmap(maps[i])
		_ = unix.Close(fds[i])
	}
	until(t, "nothing is parked", func() bool { return a.fs.Status().Parked == 0 })
}

func openForReads(t *testing.T, dir string) (fds []int, maps [][]byte) {
	t.Helper()
	for i := range 2 {
		fd, err := unix.Open(fmt.Sprintf("%s/f%d", dir, i), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		// A request is a page, not a window of the readahead.
		if err := unix.Fadvise(fd, 0, 0, unix.FADV_RANDOM); err != nil {
			t.Fatal(err)
		}
		m, err := unix.Mmap(fd, 0, sliversOfFile*sliver.Size, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Madvise(m, unix.MADV_RANDOM); err != nil {
			t.Fatal(err)
		}
		fds, maps = append(fds, fd), append(maps, m)
	}
	return fds, maps
}

// readPage reads the page at off, which is in a part, and compares it.
func readPage(t *testing.T, fd int, m []byte, where int, off int64, fault bool) {
	got := make([]byte, 4096)
	var err error
	if fault {
		// The fault in a system call: one in Go code would stop the scheduler.
		for {
			if err = unix.Madvise(m[off:off+4096], unix.MADV_POPULATE_READ); err != unix.EINTR && err != unix.EAGAIN {
				break
			}
		}
		if err == nil {
			copy(got, m[off:])
		}
	} else {
		_, err = unix.Pread(fd, got, off)
	}
	want := make([]byte, partSize)
	part(want, where, false)
	_, begin := place(where)
	if err != nil || !bytes.Equal(got, want[off-int64(begin):][:4096]) {
		t.Errorf("page at %d: %v, or other bytes", off, err)
	}
}

// meanwhile does what needs no tape.
func meanwhile(t *testing.T, dir string, resident []byte) {
	t.Helper()
	for i := range 100 {
		name := filepath.Join(dir, fmt.Sprint("new", i))
		if err := os.WriteFile(name, resident, 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, resident) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if err := os.Rename(name, name+".renamed"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		from, to := "f0", "g0"
		if i%2 == 1 {
			from, to = to, from
		}
		if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
		if l, err := os.ReadDir(dir); err != nil || len(l) < 103 {
			t.Fatalf("%d names, %v", len(l), err)
		}
		if _, err := os.Stat(filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
}

// endWaiting ends programs that wait for tape, each at once; a signal that does not end
// them does nothing.
func endWaiting(t *testing.T, dir string) {
	t.Helper()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		cmd := exec.Command("cat", dir+"/f1")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		blocked := func() bool {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", cmd.Process.Pid))
			return err != nil || bytes.HasPrefix(b, []byte("0 ")) || bytes.HasPrefix(b, []byte("40 ")) || bytes.HasPrefix(b, []byte("326 ")) // read, sendfile, copy_file_range
		}
		until(t, "cat reads", blocked)
		for range 3 { // SIGURG and SIGCHLD are ignored unless there is a handler
			_ = cmd.Process.Signal(syscall.SIGURG)
			_ = cmd.Process.Signal(syscall.SIGCHLD)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != sig {
			t.Errorf("cat with %v: %v", sig, cmd.ProcessState)
		}
	}
}
