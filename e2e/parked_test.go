package e2e

import (
	"bufio"
	"bytes"
	"context"
	le "encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/sirupsen/logrus"

	"sliod/backend"
	"sliod/backend/mover"
	"sliod/backend/vfs"
	ninep "sliod/server"
	"sliod/server/wire"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// What TestTenThousandParked parks: every part of every sliver has one request, a
// read or a write.
const (
	parkedFiles   = 25
	sliversOfFile = 25
	partsOfSliver = 16
	partSize      = 1 << 20 / partsOfSliver
	partsOfFile   = sliversOfFile * partsOfSliver
	parkedTotal   = parkedFiles * partsOfFile

	mostGoroutines = 100
	mostHeap       = 4 << 10 // for each request
)

// self is who runs the tests: a server without root lets nobody else attach.
var self = &vfs.Cred{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}

// part fills p with the content of a part, as it was first or as it is written
// while parked.
func part(p []byte, i int, written bool) {
	x := uint64(i)*2 + 1
	if written {
		x++
	}
	x *= 0x9E3779B97F4A7C15
	for j := 0; j < len(p); j += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		le.LittleEndian.PutUint64(p[j:], x)
	}
}

// place returns the file that part i is in, and its offset there.
func place(i int) (file int, off uint64) { return i / partsOfFile, uint64(i%partsOfFile) * partSize }

// archive is an archive and a server in this process, over a library with one drive.
// Its files are on tape only.
type archive struct {
	t     *testing.T
	files int
	lib   *virtual.Library
	fs    *backend.FS
	srv   *ninep.Server
	log   *output
}

func newArchive(t *testing.T, files int) *archive {
	t.Helper()
	a := &archive{t: t, files: files, log: newOutput()}
	log := logrus.New()
	log.SetOutput(a.log)
	log.SetLevel(logrus.WarnLevel)
	dir := t.TempDir()
	var err error
	a.lib, err = virtual.Open(virtual.Config{Dir: dir + "/library", Drives: 1, Slots: 2, Capacity: 4 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.lib.Close(); err != nil {
			t.Error(err)
		}
	})
	a.fs, err = backend.Open(backend.Options{Dir: dir + "/state", Log: logrus.NewEntry(log), Library: a.lib.Tape(),
		CacheBytes: int64(files+15) * sliversOfFile << 20, ArchiveIdle: -1, ArchiveDirty: 1, SyncInterval: time.Hour,
		Mover: mover.Config{Linger: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.fs.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	a.writeFiles()
	a.job(backend.JobArchive)
	a.job(backend.JobEvict)
	a.srv, err = ninep.New(ninep.Config{Log: logrus.NewEntry(log), Trees: map[string]vfs.FS{"": a.fs}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.srv.Close() }) // always nil
	return a
}

// holdTape has the drive stop before its next read, until release is called.
func (a *archive) holdTape() (release func()) {
	open := make(chan struct{})
	a.lib.Hook(func(e virtual.Event) {
		if e.Opcode == scsi.OpRead6 {
			<-open
		}
	})
	release = sync.OnceFunc(func() { close(open) })
	a.t.Cleanup(release)
	return release
}

// park sends the requests for the parts below n, in an order of its own, and waits
// until they are parked. Those with an odd number are writes.
func (a *archive) park(c *conn, n int) {
	a.t.Helper()
	buf := make([]byte, partSize)
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		file, off := place(i)
		if !isWrite(i) {
			c.send(uint16(i), &wire.MsgTread{Fid: uint32(file + 1), Offset: off, Count: partSize})
			continue
		}
		part(buf, i, true)
		c.write(wire.AppendTwrite(nil, uint16(i), uint32(file+1), off, partSize))
		c.write(buf)
	}
	until(a.t, "all requests are parked", func() bool { return a.fs.Status().Parked == int64(n) })
}

func isWrite(i int) bool { return i%2 == 1 }

// check reads the parts below n and compares them.
func (a *archive) check(c *conn, n int, written func(int) bool) {
	a.t.Helper()
	buf := make([]byte, partSize)
	for i := range n {
		file, off := place(i)
		c.send(requestTag, &wire.MsgTread{Fid: uint32(file + 1), Offset: off, Count: partSize})
		part(buf, i, written(i))
		if got := c.await(requestTag, wire.Rread); !bytes.Equal(got[4:], buf) {
			a.t.Fatalf("part %d: %d bytes that differ", i, len(got)-4)
		}
	}
}

// job runs a job of the archive to its end.
func (a *archive) job(kind backend.JobKind) {
	t := a.t
	t.Helper()
	id, err := a.fs.StartJob(kind, []string{"/"})
	if err != nil {
		t.Fatal(err)
	}
	until(t, string(kind), func() bool {
		j, _ := a.fs.Job(id)
		if j.State == "failed" {
			t.Fatalf("%+v", j)
		}
		return j.State == "done"
	})
}

// until waits for what the server does by itself.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC() // the first one may have swept only what an earlier one found
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Ten thousand requests of one connection wait for a tape that does not move. They
// cost little memory and no goroutines; when the tape moves each gets its answer,
// in whatever order, and every byte is right.
func TestTenThousandParked(t *testing.T) {
	a := newArchive(t, parkedFiles)
	fs := a.fs
	buf := make([]byte, partSize)
	c := a.conn()
	release := a.holdTape()

	begin := time.Now()
	goroutines, heap := runtime.NumGoroutine(), heapInUse()
	a.park(c, parkedTotal)
	perRequest := (int64(heapInUse()) - int64(heap)) / parkedTotal
	more := runtime.NumGoroutine() - goroutines
	t.Logf("parked in %v: %d bytes of heap for each request, %d goroutines more", time.Since(begin), perRequest, more)
	if perRequest > mostHeap {
		t.Errorf("a parked request costs %d bytes of heap, more than %d", perRequest, mostHeap)
	}
	if more >= mostGoroutines {
		t.Errorf("%d parked requests have %d goroutines", parkedTotal, more)
	}
	// What does not need the tape is answered meanwhile: this connection is not stuck.
	c.send(parkedTotal, &wire.MsgTgetattr{Fid: 1, Mask: 0x7ff})
	c.await(parkedTotal, wire.Rgetattr)

	begin = time.Now()
	release()
	answers(t, c, buf)
	t.Logf("answered in %v", time.Since(begin))
	if s := fs.Status(); s.Parked != 0 || s.FaultsFail != 0 {
		t.Errorf("afterwards: %+v", s)
	}
	// Every write is readable.
	a.check(c, parkedTotal, isWrite)
}

// writeFiles makes the files, through the tree and without a server.
func (a *archive) writeFiles() {
	t := a.t
	t.Helper()
	buf := make([]byte, partSize)
	root, err := a.fs.Attach(self, "/")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Release()
	for file := range a.files {
		n, f, err := root.Create(self, fmt.Sprint("f", file), p9.ReadWrite, 0o644, 0)
		if err != nil {
			t.Fatal(err)
		}
		for j := range partsOfFile {
			part(buf, file*partsOfFile+j, false)
			if m, err := f.WriteAt(uint64(j)*partSize, buf, nil); m != partSize || err != nil {
				t.Fatalf("write: %d, %v", m, err)
			}
		}
		f.Close()
		n.Release()
	}
}

// conn connects to the server and opens all files: file i is fid i+1.
func (a *archive) conn() *conn {
	t := a.t
	t.Helper()
	// A path of a unix socket has at most 108 bytes.
	dir, err := os.MkdirTemp("", "parked")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", dir+"/s")
	if err != nil {
		t.Fatal(err)
	}
	nc, err := net.Dial("unix", dir+"/s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	a.srv.ServeConn(other)
	c := &conn{t: t, nc: nc, r: bufio.NewReaderSize(nc, 1<<16), parked: map[uint16]string{}, doing: "ten thousand parked requests"}
	c.send(wire.NoTag, &wire.MsgTversion{Msize: 1 << 20, Version: []byte(wire.Version)})
	c.await(wire.NoTag, wire.Rversion)
	c.ok(&wire.MsgTattach{Fid: 0, Afid: wire.NoFid, Uname: []byte("root"), NUname: self.UID})
	for i := range a.files {
		c.open(uint32(i+1), p9.ReadWrite, fmt.Sprint("f", i))
	}
	return c
}

// answers takes the answers to all parked requests, each once and in any order.
func answers(t *testing.T, c *conn, buf []byte) {
	t.Helper()
	seen := make([]bool, parkedTotal)
	for range parkedTotal {
		if err := c.nc.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		h, body, err := c.receive()
		if err != nil {
			t.Fatal(err)
		}
		i := int(h.Tag)
		if i >= parkedTotal || seen[i] {
			t.Fatalf("a second answer to %d, or one to nothing", i)
		}
		seen[i] = true
		switch {
		case isWrite(i):
			if h.Type != wire.Rwrite || le.LittleEndian.Uint32(body) != partSize {
				t.Fatalf("write %d gets %v %x", i, h.Type, body[:min(len(body), 8)])
			}
		default:
			part(buf, i, false)
			if h.Type != wire.Rread || !bytes.Equal(body[4:], buf) {
				t.Fatalf("read %d gets %v with %d bytes", i, h.Type, len(body)-4)
			}
		}
	}
}

// A connection goes away while 400 requests of it wait for the tape: nothing of them
// is left, and none of the writes has happened.
func TestDisconnectDuringFaults(t *testing.T) {
	a := newArchive(t, 1)
	release := a.holdTape()
	gone := a.conn()
	a.park(gone, partsOfFile)
	if err := gone.nc.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "nothing is parked", func() bool { return a.fs.Status().Parked == 0 })
	release()
	until(t, "no fault is left", func() bool { return a.fs.Status().Faults == 0 })
	a.check(a.conn(), partsOfFile, func(int) bool { return false })
}

// Of the requests that wait every third is flushed: it gets no answer but Rflush,
// and if it was a write it has not happened. The others get theirs.
func TestFlushDuringFaults(t *testing.T) {
	a := newArchive(t, 1)
	release := a.holdTape()
	c := a.conn()
	a.park(c, partsOfFile)
	flushed := func(i int) bool { return i%3 == 0 }
	for i := 0; i < partsOfFile; i += 3 {
		c.send(parkedTotal, &wire.MsgTflush{OldTag: uint16(i)})
		c.await(parkedTotal, wire.Rflush)
	}
	release()
	for range partsOfFile - (partsOfFile+2)/3 {
		h, body, err := c.receive()
		if err != nil {
			t.Fatal(err)
		}
		want := wire.Rread
		if isWrite(int(h.Tag)) {
			want = wire.Rwrite
		}
		if flushed(int(h.Tag)) || h.Type != want {
			t.Fatalf("%d gets %v %x", h.Tag, h.Type, body[:min(8, len(body))])
		}
	}
	a.check(c, partsOfFile, func(i int) bool { return isWrite(i) && !flushed(i) })
}

// The tape cannot be read: all 400 get EIO, the log says once for each sliver where,
// and not for each request. Then it can be read again.
func TestMediumErrorDuringFaults(t *testing.T) {
	a := newArchive(t, 1)
	release := a.holdTape()
	remove := a.lib.SetFault(virtual.Fault{Device: virtual.AnyDrive, Opcode: scsi.OpRead6, Times: -1,
		Sense: scsi.Sense{Key: scsi.MediumErrorKey, Code: scsi.CodeReadError}})
	c := a.conn()
	a.park(c, partsOfFile)
	release()
	for range partsOfFile {
		h, body, err := c.receive()
		if err != nil {
			t.Fatal(err)
		}
		if h.Type != wire.Rlerror || le.LittleEndian.Uint32(body) != uint32(linux.EIO) {
			t.Fatalf("%d gets %v %x", h.Tag, h.Type, body[:min(8, len(body))])
		}
	}
	es := a.fs.Queue().Errors
	if len(es) == 0 || es[0].Volume == "" || es[0].Drive == "" || es[0].Position == "" {
		t.Fatalf("the queue shows %+v", es)
	}
	log := a.log.String()
	if n := strings.Count(log, "\n"); n > 3*sliversOfFile || strings.Contains(log, "no errno") {
		t.Errorf("%d lines were logged: %.2000s", n, log)
	}
	for _, part := range []string{es[0].Volume, es[0].Drive, es[0].Position} {
		if !strings.Contains(log, part) {
			t.Errorf("the log does not name %s: %.2000s", part, log)
		}
	}
	remove()
	a.check(c, partsOfFile, func(int) bool { return false })
}
