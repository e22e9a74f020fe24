package virtiofs

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience ends a test that hangs.
const patience = 5 * time.Minute

// Where the monitor of these tests has its guest's memory.
const (
	memSize  = 4 << 20
	guestAt  = 0x100000
	ownAt    = 0x7f0000000000
	entries  = 8
	descAt   = 0
	availAt  = 0x1000
	usedAt   = 0x2000
	tableAt  = 0x3000 // an indirect table
	dataAt   = 0x10000
	slotSize = 0x10000 // of a request's data, twice
)

// monitor is a virtual machine's monitor and guest in one, with one queue.
type monitor struct {
	t     *testing.T
	conn  *net.UnixConn
	mem   []byte
	memfd *os.File
	kick  *os.File
	call  *os.File
	avail uint16 // requests that were offered
	seen  uint16 // answers that were seen
	last  request
}

func eventfd(t *testing.T) *os.File {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "event")
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func dialMonitor(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// connect is a monitor up to the point where its guest's driver starts.
func connect(t *testing.T, path string) *monitor {
	t.Helper()
	conn := dialMonitor(t, path)
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	m := &monitor{t: t, conn: conn, memfd: os.NewFile(uintptr(fd), "guest")}
	t.Cleanup(func() { _ = m.memfd.Close() })
	if err := m.memfd.Truncate(memSize); err != nil {
		t.Fatal(err)
	}
	if m.mem, err = unix.Mmap(fd, 0, memSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(m.mem) })
	m.ask(setOwner, nil, nil)
	if f := m.get(getFeatures, nil); f&featureProtocol == 0 || f&featureVersion1 == 0 {
		t.Fatalf("features %#x", f)
	}
	if f := m.get(getProtocolFeatures, nil); f&protocolReplyAck == 0 {
		t.Fatalf("features of the protocol %#x", f)
	}
	if n := m.get(getQueueNum, nil); n != maxQueues {
		t.Fatalf("%d queues", n)
	}
	return m
}

// send sends a message.
func (m *monitor) send(r request, flags uint32, payload []byte, files ...*os.File) {
	m.t.Helper()
	m.last = r
	b := binary.LittleEndian.AppendUint32(nil, uint32(r))
	b = binary.LittleEndian.AppendUint32(b, version|flags)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	var oob []byte
	if len(files) > 0 {
		var fds []int
		for _, f := range files {
			fds = append(fds, int(f.Fd()))
		}
		oob = unix.UnixRights(fds...)
	}
	if _, _, err := m.conn.WriteMsgUnix(append(b, payload...), oob, nil); err != nil {
		m.t.Fatal(err)
	}
}

// get sends a message that has an answer of its own.
func (m *monitor) get(r request, payload []byte) uint64 {
	m.t.Helper()
	m.send(r, 0, payload)
	return m.reply(r)
}

func (m *monitor) reply(r request) uint64 {
	m.t.Helper()
	b := make([]byte, headerSize+8)
	if _, err := io.ReadFull(m.conn, b); err != nil {
		m.t.Fatalf("request %d: %v", r, err)
	}
	if got := request(binary.LittleEndian.Uint32(b)); got != r || binary.LittleEndian.Uint32(b[4:]) != version|flagReply {
		m.t.Fatalf("request %d is answered by % x", r, b)
	}
	return binary.LittleEndian.Uint64(b[headerSize:])
}

// ask sends a message that must succeed.
func (m *monitor) ask(r request, payload []byte, files []*os.File) {
	m.t.Helper()
	m.send(r, flagAskReply, payload, files...)
	if n := m.reply(r); n != 0 {
		m.t.Fatalf("request %d fails", r)
	}
}

// oneRegion is a memory table.
func oneRegion(numbers ...uint64) []byte {
	table := numberBytes(1)
	for _, n := range numbers {
		table = append(table, numberBytes(n)...)
	}
	return table
}

func state(index, num uint32) []byte { return numberBytes(uint64(num)<<32 | uint64(index)) }

// start starts queue 1 at a number, as a driver that begins or a machine that goes on.
func (m *monitor) start(base uint16) {
	m.t.Helper()
	m.ask(setFeatures, numberBytes(featureVersion1|featureProtocol|featureIndirect), nil)
	m.ask(setMemTable, oneRegion(guestAt, memSize, ownAt, 0), []*os.File{m.memfd})
	m.ask(setVringNum, state(1, entries), nil)
	m.ask(setVringBase, state(1, uint32(base)), nil)
	addr := binary.LittleEndian.AppendUint64(nil, 1)
	for _, n := range []uint64{ownAt + descAt, ownAt + usedAt, ownAt + availAt, 0} {
		addr = binary.LittleEndian.AppendUint64(addr, n)
	}
	m.ask(setVringAddr, addr, nil)
	m.kick, m.call = eventfd(m.t), eventfd(m.t)
	m.ask(setVringKick, numberBytes(1), []*os.File{m.kick})
	m.ask(setVringCall, numberBytes(1), []*os.File{m.call})
	m.ask(setVringEnable, state(1, 1), nil)
}

// stop stops queue 1 and returns where it stood.
func (m *monitor) stop() uint16 {
	m.t.Helper()
	n := m.get(getVringBase, state(1, 0))
	if uint32(n) != 1 {
		m.t.Fatalf("queue 1 is queue %d", uint32(n))
	}
	return uint16(n >> 32)
}

// desc writes a descriptor into a table.
func (m *monitor) desc(at, i int, addr uint64, size uint32, flags, next uint16) {
	b := m.mem[at+i*descSize:]
	binary.LittleEndian.PutUint64(b, addr)
	binary.LittleEndian.PutUint32(b[8:], size)
	binary.LittleEndian.PutUint16(b[12:], flags)
	binary.LittleEndian.PutUint16(b[14:], next)
}

// request is a FUSE request of an operation with a text behind.
func fuseRequest(op uint32, unique uint64, text string) []byte {
	b := make([]byte, inHeader)
	binary.LittleEndian.PutUint32(b, uint32(inHeader+len(text)))
	binary.LittleEndian.PutUint32(b[4:], op)
	binary.LittleEndian.PutUint64(b[8:], unique)
	return append(b, text...)
}

// offer puts a request into slot n: two pieces to read, two to write.
func (m *monitor) offer(n int, req []byte) {
	at := dataAt + n*2*slotSize
	copy(m.mem[at:], req)
	in, out := uint64(guestAt+at), uint64(guestAt+at+slotSize)
	d := n * 4
	m.desc(tableAt, d, in, 20, descNext, uint16(1))
	m.desc(tableAt, d+1, in+20, uint32(len(req)-20), descNext, 2)
	m.desc(tableAt, d+2, out, 10, descNext|descWrite, 3)
	m.desc(tableAt, d+3, out+10, 200, descWrite, 0)
	m.desc(descAt, n, guestAt+tableAt+uint64(d*descSize), 4*descSize, descIndirect, 0)
	m.publish(uint16(n))
}

// publish makes a chain available and tells so.
func (m *monitor) publish(head uint16) {
	binary.LittleEndian.PutUint16(m.mem[availAt+4+2*int(m.avail%entries):], head)
	m.avail++
	atomic.StoreUint32(word(m.mem[availAt:]), uint32(m.avail)<<16)
	_, _ = m.kick.Write(one)
}

func (m *monitor) used() uint16 { return uint16(atomic.LoadUint32(word(m.mem[usedAt:])) >> 16) }

// await returns the next answer: whose it is, and its bytes.
func (m *monitor) await() (head int, answer []byte) {
	m.t.Helper()
	if err := m.call.SetDeadline(time.Now().Add(patience)); err != nil {
		m.t.Fatal(err)
	}
	for m.used() == m.seen {
		var b [8]byte
		if _, err := m.call.Read(b[:]); err != nil {
			m.t.Fatalf("no answer: %v", err)
		}
	}
	e := m.mem[usedAt+4+8*int(m.seen%entries):]
	m.seen++
	head = int(binary.LittleEndian.Uint32(e))
	return head, m.mem[dataAt+head*2*slotSize+slotSize:][:binary.LittleEndian.Uint32(e[4:])]
}

// echo is a Session that answers with what it is asked, when it is let.
type echo struct {
	wait   chan struct{} // requests that begin with "wait" answer when it is closed
	closed chan struct{}
	once   sync.Once
}

func (e *echo) HandleRequest(in, out [][]byte) (int, fuse.Status) {
	req := bytes.Join(in, nil)
	text := req[inHeader:]
	switch {
	case bytes.HasPrefix(text, []byte("wait")):
		select {
		case <-e.wait:
		case <-e.closed:
			return 0, fuse.EIO
		}
	case bytes.HasPrefix(text, []byte("panic")):
		panic("a bug")
	case bytes.HasPrefix(text, []byte("refuse")):
		return 0, fuse.EINVAL
	}
	answer := append(make([]byte, outHeader), text...)
	binary.LittleEndian.PutUint32(answer, uint32(len(answer)))
	copy(answer[8:], req[8:16])
	return copy(out[0], answer), fuse.OK
}

func (e *echo) Close() { e.once.Do(func() { close(e.closed) }) }

// served is a server, and the sessions that its guests have begun.
type served struct {
	path string
	log  *lockedBuffer
	mu   sync.Mutex
	all  []*echo
	fail error // of the next Open
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (s *served) last() *echo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[len(s.all)-1]
}

// serve serves echoes until the test ends.
func serve(t *testing.T) *served {
	t.Helper()
	s := &served{path: filepath.Join(t.TempDir(), "s"), log: new(lockedBuffer)}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(s.log)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, l, Options{Log: logrus.NewEntry(log), Open: func(context.Context) (Session, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.fail != nil {
				return nil, s.fail
			}
			e := &echo{wait: make(chan struct{}), closed: make(chan struct{})}
			s.all = append(s.all, e)
			return e, nil
		}})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if t.Failed() {
			t.Logf("it said:\n%s", strings.TrimSpace(s.log.String()))
		}
	})
	return s
}
