package posix

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

func sparse(e *env) {
	const size = 5<<20 + 3
	fd := e.open("f", unix.O_CREAT|unix.O_RDWR)
	e.write(fd, []byte("begin"), 0)
	e.write(fd, []byte("end"), size-3)
	want := make([]byte, size)
	copy(want, "begin")
	copy(want[size-3:], "end")
	check(e, unix.Fsync(fd))
	e.close(fd)
	e.settle("f")
	e.expect(e.path("f"), want)
	e.settle("f")
	check(e, unix.Truncate(e.path("f"), size+1<<20))
	want = append(want, make([]byte, 1<<20)...)
	e.expect(e.path("f"), want)
	// What was cut off is zeros when the file grows again.
	check(e, unix.Truncate(e.path("f"), 3))
	check(e, unix.Truncate(e.path("f"), 10_000))
	e.expect(e.path("f"), append([]byte("beg"), make([]byte, 9997)...))
	// A file of nothing but a hole.
	check(e, os.WriteFile(e.path("hole"), nil, 0o644))
	check(e, unix.Truncate(e.path("hole"), 1<<40))
	if st := e.stat(e.path("hole")); st.Size != 1<<40 || st.Blocks > 8192 {
		e.Errorf("a hole of 1 TiB: %d bytes in %d blocks", st.Size, st.Blocks)
	}
	fd = e.open("hole", unix.O_RDONLY)
	p := []byte("xxxxxxxxxx")
	if n, err := unix.Pread(fd, p, 1<<40-5); n != 5 || err != nil || !bytes.Equal(p[:5], make([]byte, 5)) {
		e.Errorf("the end of a hole: %d, %v, %q", n, err, p)
	}
	e.close(fd)
}

func truncate(e *env) {
	want := content(1, 2<<20+777)
	for i, size := range []int{2<<20 + 776, 2 << 20, 1<<20 + 1, 1 << 20, 4096, 4095, 1, 0} {
		name := fmt.Sprint("f", i)
		e.put(name, want)
		check(e, unix.Truncate(e.path(name), int64(size)))
		e.expect(e.path(name), want[:size])
	}
	// Writing over a part of what is on tape, and cutting it, without reading it before.
	e.put("g", want)
	fd := e.open("g", unix.O_WRONLY)
	e.write(fd, []byte("over it"), 1<<20-3)
	check(e, unix.Ftruncate(fd, 1<<20+100))
	e.write(fd, []byte("more"), 1<<20+50)
	e.close(fd)
	copy(want[1<<20-3:], "over it")
	copy(want[1<<20+50:], "more")
	e.expect(e.path("g"), want[:1<<20+100])
	e.expect(e.theirs("g"), want[:1<<20+100])
}

// Two append to one file, each by its mount: no record is lost or torn, and those of each
// are in order. Of a longer record the server may take the first 512 bytes alone while the
// file comes from tape, and the rest goes to the end by itself (docs/mount.md).
func appendTwo(e *env) {
	const record, rounds = 500, 60
	start := content(9, 10*record)
	e.put("f", start)
	var wg sync.WaitGroup
	for who, path := range []string{e.path("f"), e.theirs("f")} {
		fd := e.openAt(path, unix.O_WRONLY|unix.O_APPEND)
		defer e.close(fd)
		wg.Go(func() {
			p := bytes.Repeat([]byte{byte('a' + who)}, record)
			for i := range rounds {
				binary.LittleEndian.PutUint32(p[1:], uint32(i))
				if n, err := unix.Write(fd, p); n != record || err != nil {
					e.Errorf("append: %d, %v", n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, path := range []string{e.path("f"), e.theirs("f")} {
		got, err := os.ReadFile(path)
		check(e, err)
		if len(got) != len(start)+2*rounds*record || !bytes.Equal(got[:len(start)], start) {
			e.Fatalf("%s has %d bytes, want %d", path, len(got), len(start)+2*rounds*record)
		}
		next := [2]uint32{}
		for at := len(start); at < len(got); at += record {
			r := got[at : at+record]
			who := r[0] - 'a'
			if who > 1 || binary.LittleEndian.Uint32(r[1:]) != next[who] || !bytes.Equal(r[5:], bytes.Repeat(r[:1], record-5)) {
				e.Fatalf("record at %d: %q", at, r[:20])
			}
			next[who]++
		}
	}
}

func (e *env) mmap(fd, size, flags int) []byte {
	e.Helper()
	p, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		e.Fatalf("mmap: %v", err)
	}
	return p
}

func mmapShared(e *env) {
	const size = 3<<20 + 100
	want := content(1, size)
	e.put("f", want)
	fd := e.open("f", unix.O_RDWR)
	p := e.mmap(fd, size, unix.MAP_SHARED)
	if !bytes.Equal(p, want) {
		e.Fatal("the map differs from the file")
	}
	e.write(fd, []byte("by write"), 50_000)
	copy(want[50_000:], "by write")
	if !bytes.Equal(p[50_000:50_008], []byte("by write")) {
		e.Error("the map does not show a write")
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		at := r.IntN(size - 10)
		copy(p[at:], "by the map")
		copy(want[at:], "by the map")
	}
	e.expectFD(fd, want)
	check(e, unix.Msync(p, unix.MS_SYNC))
	e.expect(e.theirs("f"), want)
	e.settle("f")
	if !bytes.Equal(p, want) {
		e.Error("the map differs later")
	}
	copy(p[1000:], "unmapped without msync")
	copy(want[1000:], "unmapped without msync")
	check(e, unix.Munmap(p))
	e.close(fd)
	e.expect(e.path("f"), want)
	e.expect(e.theirs("f"), want)
}

// A file opened for appending is mapped too: its pages have their places.
func mmapAppend(e *env) {
	const size = 3 << 20
	want := content(1, size)
	e.put("f", want)
	fd := e.open("f", unix.O_RDWR|unix.O_APPEND)
	p := e.mmap(fd, size, unix.MAP_SHARED)
	copy(p[2<<20:], "in the middle")
	copy(want[2<<20:], "in the middle")
	check(e, unix.Msync(p, unix.MS_SYNC))
	check(e, unix.Munmap(p))
	e.close(fd)
	e.expect(e.theirs("f"), want)
}

func mmapPrivate(e *env) {
	want := content(1, 1<<20+5)
	e.put("f", want)
	fd := e.open("f", unix.O_RDONLY)
	defer e.close(fd)
	p := e.mmap(fd, len(want), unix.MAP_PRIVATE)
	if !bytes.Equal(p, want) {
		e.Error("the map differs from the file")
	}
	copy(p[100:], "private")
	check(e, unix.Munmap(p))
	e.expect(e.path("f"), want)
}

func direct(e *env) {
	const page = 4096
	buf := make([]byte, 300*page)
	buf = buf[page-int(uintptr(unsafe.Pointer(&buf[0]))%page):][:290*page]
	want := content(1, len(buf))
	fd := e.open("f", unix.O_CREAT|unix.O_RDWR|unix.O_DIRECT)
	copy(buf, want)
	e.write(fd, buf, 0)
	e.settle("f")
	for i := range 29 {
		p := buf[:10*page]
		if n, err := unix.Pread(fd, p, int64(i*10*page)); n != len(p) || err != nil || !bytes.Equal(p, want[i*10*page:][:len(p)]) {
			e.Fatalf("direct read %d: %d, %v", i, n, err)
		}
	}
	// Beside a file that is open as usual.
	other := e.open("f", unix.O_RDWR)
	e.write(other, []byte("buffered"), 5*page)
	copy(want[5*page:], "buffered")
	if n, err := unix.Pread(fd, buf[:page], 5*page); n != page || err != nil || !bytes.Equal(buf[:page], want[5*page:6*page]) {
		e.Errorf("direct read of what was written otherwise: %d, %v, %q", n, err, buf[:8])
	}
	copy(buf, content(2, page))
	e.write(fd, buf[:page], 7*page)
	copy(want[7*page:], buf[:page])
	e.expectFD(other, want)
	if n, err := unix.Pread(fd, buf[:2*page], int64(len(want)-page)); n != page || err != nil {
		e.Errorf("direct read over the end: %d, %v", n, err)
	}
	e.close(other)
	e.close(fd)
}

// What one mount wrote and closed, the other finds at its next open, of any size and
// however lately it looked.
func coherence(e *env) {
	for i := range 20 {
		want := content(byte(i), 1000+7777*(i%5)*(i%3))
		check(e, os.WriteFile(e.theirs("f"), want, 0o666))
		e.expect(e.path("f"), want)
		e.expect(e.path("f"), want) // from the kernel's pages
		fd := e.open("f", unix.O_WRONLY|unix.O_APPEND)
		e.write(fd, []byte("more"), 0)
		e.close(fd)
		e.expect(e.theirs("f"), append(want, "more"...))
		if i == 10 {
			e.settle("f")
		}
	}
}

// Many write to parts of one file and read it, by both mounts.
func parallel(e *env) {
	const parts, part = 16, 100_000
	want := content(1, parts*part)
	e.put("f", make([]byte, parts*part))
	var wg sync.WaitGroup
	for i := range parts {
		wg.Go(func() {
			path := e.path("f")
			if i%2 == 1 {
				path = e.theirs("f")
			}
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				e.Error(err)
				return
			}
			defer f.Close()
			mine := want[i*part : (i+1)*part]
			for at := 0; at < part; at += 12_345 {
				if _, err := f.WriteAt(mine[at:min(at+12_345, part)], int64(i*part+at)); err != nil {
					e.Error(err)
					return
				}
			}
			if err := f.Sync(); err != nil {
				e.Error(err)
			}
		})
	}
	wg.Wait()
	e.expect(e.path("f"), want)
	e.expect(e.theirs("f"), want)
	e.settle("f")
	e.expect(e.path("f"), want)
}
