package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sliod/backend/sliver"
	"sliod/client9p/bridge"
	"sliod/guest/child"
	"sliod/server/local"
)

// bridgeReads is how many reads TestBridgeParked parks, a page each.
const bridgeReads = 1000

// readKind is how a page is asked for.
type readKind int

const (
	byRead      readKind = iota // pread(2)
	byPopulate                  // madvise(2) of a mapped file
	byAdvice                    // posix_fadvise(2) with WILLNEED: the kernel's readahead, nobody waits
	byReadahead                 // readahead(2), the same
	byTouch                     // a mapped file is touched, in another process
	readKinds
)

// pageRead is one read: a page of its own, in a part.
type pageRead struct {
	kind readKind
	file int
	part int
	off  int64
}

// pageReads spreads the reads over all slivers of two files.
func pageReads() []pageRead {
	const parts = 2 * sliversOfFile * partsOfSliver
	list := make([]pageRead, bridgeReads)
	for i := range list {
		where := i * parts / bridgeReads
		file, off := place(where)
		list[i] = pageRead{readKind(i) % readKinds, file, where, int64(off) + int64(i%4)*4096*3}
	}
	return list
}

// right says whether p is the page.
func (r pageRead) right(p []byte) bool {
	want := make([]byte, partSize)
	part(want, r.part, false)
	_, begin := place(r.part)
	return bytes.Equal(p, want[r.off-int64(begin):][:4096])
}

// TestBridgeParked mounts an archive whose tape does not move. A thousand reads wait for
// it: by read(2), by the kernel's readahead and by faults of mapped files; what needs no tape is done meanwhile;
// programs that wait can be ended; then every read gets its bytes.
func TestBridgeParked(t *testing.T) {
	requireFUSE(t)
	a := newArchive(t, 3)
	dir := t.TempDir()
	srv := a.mount(dir)
	t.Cleanup(func() {
		if err := srv.Unmount(); err != nil {
			t.Error(err)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
		srv.Wait()
	})
	resident := content(5, 100_000)
	if err := os.WriteFile(dir+"/resident", resident, 0o644); err != nil {
		t.Fatal(err)
	}
	release := a.holdTape()
	fds, maps := openForReads(t, dir)
	heap := heapInUse()
	parked := func() int64 { return a.fs.Status().Parked }

	var ahead []pageRead // what nobody waits for
	var wg sync.WaitGroup
	var err error
	for _, r := range pageReads() {
		switch r.kind {
		case byAdvice:
			err = unix.Fadvise(fds[r.file], r.off, 4096, unix.FADV_WILLNEED)
		case byReadahead:
			if _, _, errno := unix.Syscall(unix.SYS_READAHEAD, uintptr(fds[r.file]), uintptr(r.off), 4096); errno != 0 {
				err = errno
			}
		default:
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		ahead = append(ahead, r)
	}
	until(t, "the readahead is parked", func() bool { return parked() >= int64(len(ahead)) })
	for _, r := range pageReads() {
		if r.kind == byRead || r.kind == byPopulate {
			wg.Go(func() { readPage(t, fds[r.file], maps[r.file], r) })
		}
	}
	touching := touchPages(t, dir)
	until(t, "all reads are parked", func() bool { return parked() >= bridgeReads })
	t.Logf("%d requests are parked: %d bytes of heap for each", parked(), (int64(heapInUse())-int64(heap))/parked())
	wg.Go(func() { readAlong(t, dir+"/f2", 2) })
	// How many requests its readahead makes is the kernel's business.
	until(t, "so is a sequential one", func() bool { return parked() > bridgeReads })

	meanwhile(t, dir, resident)
	endWaiting(t, dir)
	release()
	wg.Wait()
	if err := touching.Wait(); err != nil {
		t.Errorf("the process that touches mapped files: %v", err)
	}
	for _, r := range ahead {
		readPage(t, fds[r.file], maps[r.file], r)
	}
	for i := range fds {
		_ = unix.Munmap(maps[i])
		_ = unix.Close(fds[i])
	}
	until(t, "nothing is parked", func() bool { return parked() == 0 })
}

// mount mounts the archive on dir.
func (a *archive) mount(dir string) *fuse.Server {
	a.t.Helper()
	fs, err := bridge.New(a.t.Context(), local.New(a.fs), uint32(os.Getuid()), bridge.Options{})
	if err != nil {
		a.t.Fatal(err)
	}
	srv, err := bridge.Mount(fs, dir, bridge.MountOptions{Source: "test"})
	if err != nil {
		a.t.Fatal(err)
	}
	return srv
}

// TestBridgeUnmountParked unmounts while the readahead of a program that lives on waits for tape:
// who serves the mount does not wait for that, whoever unmounts.
func TestBridgeUnmountParked(t *testing.T) {
	requireFUSE(t)
	a := newArchive(t, 1)
	release := a.holdTape()
	for _, tc := range []struct {
		name    string
		unmount func(*fuse.Server, string) error
	}{
		{"by who serves", func(s *fuse.Server, _ string) error { return s.Unmount() }},
		{"by another", func(_ *fuse.Server, dir string) error { return exec.Command("umount", dir).Run() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			srv := a.mount(dir)
			f, err := os.Open(dir + "/f0")
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.Fadvise(int(f.Fd()), 0, 4096, unix.FADV_WILLNEED); err != nil {
				t.Fatal(err)
			}
			until(t, "the readahead is parked", func() bool { return a.fs.Status().Parked > 0 })
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				err := tc.unmount(srv, dir)
				srv.Wait()
				ended <- err
			}()
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
					_ = unix.Unmount(dir, unix.MNT_DETACH)
				}
			case <-time.After(patience):
				t.Error("the mount is gone, and still served")
				release()
				<-ended
			}
			until(t, "nothing is parked", func() bool { return a.fs.Status().Parked == 0 })
		})
	}
}

func openForReads(t *testing.T, dir string) (fds []int, maps [][]byte) {
	t.Helper()
	for i := range 2 {
		fd, m, err := openForRead(fmt.Sprintf("%s/f%d", dir, i))
		if err != nil {
			t.Fatal(err)
		}
		fds, maps = append(fds, fd), append(maps, m)
	}
	return fds, maps
}

// openForRead opens and maps a file, of which a request is a page, not a window of the readahead.
func openForRead(name string) (int, []byte, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, nil, err
	}
	if err := unix.Fadvise(fd, 0, 0, unix.FADV_RANDOM); err != nil {
		return 0, nil, err
	}
	m, err := unix.Mmap(fd, 0, sliversOfFile*sliver.Size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, nil, err
	}
	return fd, m, unix.Madvise(m, unix.MADV_RANDOM)
}

// readPage reads a page, and compares it.
func readPage(t *testing.T, fd int, m []byte, r pageRead) {
	got := make([]byte, 4096)
	var err error
	if r.kind == byPopulate {
		// The fault in a system call: one in Go code would stop the scheduler.
		for {
			if err = unix.Madvise(m[r.off:r.off+4096], unix.MADV_POPULATE_READ); err != unix.EINTR && err != unix.EAGAIN {
				break
			}
		}
		if err == nil {
			copy(got, m[r.off:])
		}
	} else {
		_, err = unix.Pread(fd, got, r.off)
	}
	if err != nil || !r.right(got) {
		t.Errorf("page at %d of f%d: %v, or other bytes", r.off, r.file, err)
	}
}

// readAlong reads a file from its begin to its end, as most programs do.
func readAlong(t *testing.T, name string, file int) {
	got, err := os.ReadFile(name)
	if err != nil || len(got) != sliversOfFile*sliver.Size {
		t.Errorf("%s: %d bytes, %v", name, len(got), err)
		return
	}
	want := make([]byte, partSize)
	for i := range partsOfFile {
		part(want, file*partsOfFile+i, false)
		if !bytes.Equal(got[i*partSize:][:partSize], want) {
			t.Errorf("%s: other bytes at %d", name, i*partSize)
			return
		}
	}
}

// touchEnv has this program touch mapped files of the directory that it names, instead of
// testing.
const touchEnv = "SLIOD_E2E_TOUCH"

// touchPages starts a process that touches pages of mapped files, each in a thread of its own.
func touchPages(t *testing.T, dir string) *child.Child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), touchEnv+"="+dir)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	c, err := child.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Kill() }) // judged by who waits for it
	return c
}

// touch is that process; it returns its exit status. A thread that waits in a fault keeps
// one of Go's processors and cannot be stopped for the collector.
func touch(dir string) int {
	runtime.GOMAXPROCS(bridgeReads)
	debug.SetGCPercent(-1)
	var maps [][]byte
	for i := range 2 {
		_, m, err := openForRead(fmt.Sprintf("%s/f%d", dir, i))
		if err != nil {
			fmt.Println(err)
			return 1
		}
		maps = append(maps, m)
	}
	var wrong atomic.Int64
	var wg sync.WaitGroup
	for _, r := range pageReads() {
		if r.kind != byTouch {
			continue
		}
		wg.Go(func() {
			if !r.right(maps[r.file][r.off:][:4096]) {
				wrong.Add(1)
			}
		})
	}
	wg.Wait()
	if n := wrong.Load(); n > 0 {
		fmt.Printf("%d pages that were touched have other bytes\n", n)
		return 1
	}
	return 0
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
