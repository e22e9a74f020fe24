package virtiofs

import (
	"encoding/binary"
	stderrors "errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
)

const opOther = 3 // FUSE_GETATTR

// mounted is a monitor whose guest has mounted.
func mounted(t *testing.T, s *served) *monitor {
	t.Helper()
	m := connect(t, s.path)
	m.start(0)
	m.mount()
	return m
}

func (m *monitor) mount() {
	m.t.Helper()
	m.offer(0, fuseRequest(opInit, 1, "init"))
	m.expect(0, 0, "init")
}

// expect takes an answer: of slot, with an error or a text.
func (m *monitor) expect(slot int, errno syscall.Errno, text string) {
	m.t.Helper()
	head, answer := m.await()
	if head != slot || len(answer) != outHeader+len(text) || string(answer[outHeader:]) != text ||
		int32(binary.LittleEndian.Uint32(answer[4:])) != -int32(errno) {
		m.t.Errorf("request %d is answered by % x, not request %d by %v and %q", head, answer, slot, errno, text)
	}
}

// lost sees the end of the connection.
func (m *monitor) lost() {
	m.t.Helper()
	if _, err := m.conn.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		m.t.Errorf("the connection goes on: %v", err)
	}
}

func TestRequests(t *testing.T) {
	m := mounted(t, serve(t))
	for i := range 3 * entries { // more than once around the rings
		m.offer(i%entries, fuseRequest(opOther, uint64(i), strings.Repeat("x", i)))
		m.expect(i%entries, 0, strings.Repeat("x", i))
	}
	m.offer(1, fuseRequest(opOther, 1, "panic"))
	m.expect(1, syscall.EIO, "")
	m.offer(1, fuseRequest(opOther, 1, "refuse"))
	m.expect(1, syscall.EINVAL, "")
	m.offer(2, fuseRequest(opDestroy, 1, "bye"))
	m.expect(2, 0, "bye")
	m.offer(3, fuseRequest(opOther, 1, "nobody"))
	m.expect(3, syscall.ENOTCONN, "")
	m.mount()
}

// TestWaiting: what waits holds up nothing, and its answer comes late.
func TestWaiting(t *testing.T) {
	s := serve(t)
	m := mounted(t, s)
	for i := range entries - 1 {
		m.offer(i, fuseRequest(opOther, 1, "wait"))
	}
	m.offer(entries-1, fuseRequest(opOther, 1, "quick"))
	m.expect(entries-1, 0, "quick")
	close(s.last().wait)
	for range entries - 1 {
		if head, answer := m.await(); head == entries-1 || string(answer[outHeader:]) != "wait" {
			t.Errorf("request %d: %q", head, answer)
		}
	}
}

// TestPause: the machine is stopped while requests wait, and goes on.
func TestPause(t *testing.T) {
	s := serve(t)
	m := mounted(t, s)
	m.offer(2, fuseRequest(opOther, 1, "wait"))
	m.offer(3, fuseRequest(opOther, 1, "quick"))
	m.expect(3, 0, "quick")
	base := m.stop() // returns although a request waits
	if base != 3 {
		t.Errorf("the queue stands at %d, not 3", base)
	}
	close(s.last().wait)
	if used := m.used(); used != 2 {
		t.Errorf("%d answers while the machine was stopped", used)
	}
	m.start(base)
	m.expect(2, 0, "wait")
	m.offer(4, fuseRequest(opOther, 1, "more"))
	m.expect(4, 0, "more")
}

// TestReset: the machine begins again. Nothing is written into its new memory for the
// requests of before, and their session ends.
func TestReset(t *testing.T) {
	s := serve(t)
	m := mounted(t, s)
	first := s.last()
	m.offer(2, fuseRequest(opOther, 1, "wait"))
	m.offer(3, fuseRequest(opOther, 1, "quick"))
	m.expect(3, 0, "quick")
	m.stop()
	clear(m.mem)
	m.avail, m.seen = 0, 0
	m.start(0)
	m.mount() // which waits for the end of the first session
	select {
	case <-first.closed:
	default:
		t.Error("the session of before the reset is still there")
	}
	m.offer(1, fuseRequest(opOther, 1, "again"))
	m.expect(1, 0, "again")
	if used := m.used(); used != 2 {
		t.Errorf("%d answers to 2 requests", used)
	}
}

// TestNext: a second machine is turned away while the first is there, and served after.
func TestNext(t *testing.T) {
	s := serve(t)
	m := mounted(t, s)
	m.offer(2, fuseRequest(opOther, 1, "wait")) // nobody will answer it
	second := &monitor{t: t, conn: dialMonitor(t, s.path)}
	if n, err := second.conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a second machine: %d, %v", n, err)
	}
	_ = m.conn.Close()
	m = mounted(t, s)
	m.offer(1, fuseRequest(opOther, 1, "hello"))
	m.expect(1, 0, "hello")
}

// TestMountFails: the guest gets EIO, and may try again.
func TestMountFails(t *testing.T) {
	s := serve(t)
	s.fail = stderrors.New("no server")
	m := connect(t, s.path)
	m.start(0)
	m.offer(0, fuseRequest(opInit, 7, "init"))
	m.expect(0, syscall.EIO, "")
	s.mu.Lock()
	s.fail = nil
	s.mu.Unlock()
	m.mount()
}

// TestMessagesRefused: the monitor is told, or loses the connection if it does not ask.
func TestMessagesRefused(t *testing.T) {
	for name, send := range map[string]func(m *monitor, flags uint32){
		"unknown":         func(m *monitor, f uint32) { m.send(99, f, nil) },
		"queue":           func(m *monitor, f uint32) { m.send(setVringNum, f, state(maxQueues, 8)) },
		"entries":         func(m *monitor, f uint32) { m.send(setVringNum, f, state(1, 0)) },
		"short":           func(m *monitor, f uint32) { m.send(setVringNum, f, []byte{1, 2}) },
		"address":         func(m *monitor, f uint32) { m.send(setVringAddr, f, make([]byte, 39)) },
		"no file":         func(m *monitor, f uint32) { m.send(setVringKick, f, numberBytes(1)) },
		"polling":         func(m *monitor, f uint32) { m.send(setVringKick, f, numberBytes(1|noFile)) },
		"not placed":      func(m *monitor, f uint32) { m.send(setVringKick, f, numberBytes(2), eventfd(m.t)) },
		"memory":          func(m *monitor, f uint32) { m.send(setMemTable, f, numberBytes(3), m.memfd) },
		"regions":         func(m *monitor, f uint32) { m.send(setMemTable, f, numberBytes(1<<31), m.memfd) },
		"memory too long": func(m *monitor, f uint32) { m.send(setMemTable, f, oneRegion(guestAt, memSize+1, ownAt, 0), m.memfd) },
		"memory wraps":    func(m *monitor, f uint32) { m.send(setMemTable, f, oneRegion(guestAt, memSize, 1<<64-1, 0), m.memfd) },
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			m := connect(t, s.path)
			send(m, flagAskReply)
			if n := m.reply(m.last); n != 1 {
				t.Errorf("the monitor is told %d", n)
			}
			m.start(0)
			m.mount() // nothing is broken by it
			send(m, 0)
			m.lost()
		})
	}
}

// TestChainsRefused: a guest that breaks the rules loses its device.
func TestChainsRefused(t *testing.T) {
	const g = guestAt + dataAt
	for name, make := range map[string]func(m *monitor){
		"outside":      func(m *monitor) { m.desc(descAt, 1, 0, 40, 0, 0); m.publish(1) },
		"over the end": func(m *monitor) { m.desc(descAt, 1, guestAt+memSize-10, 40, 0, 0); m.publish(1) },
		"circle":       func(m *monitor) { m.desc(descAt, 1, g, 40, descNext, 1); m.publish(1) },
		"head":         func(m *monitor) { m.publish(entries) },
		"next":         func(m *monitor) { m.desc(descAt, 1, g, 40, descNext, entries); m.publish(1) },
		"write, then read": func(m *monitor) {
			m.desc(descAt, 1, g, 40, descWrite|descNext, 2)
			m.desc(descAt, 2, g, 40, 0, 0)
			m.publish(1)
		},
		"too much to read": func(m *monitor) { m.desc(descAt, 1, g, maxTransfer+1, 0, 0); m.publish(1) },
		"too much to write": func(m *monitor) {
			m.desc(descAt, 1, g, 1<<20, descWrite|descNext, 2)
			m.desc(descAt, 2, g, 1<<20, descWrite, 0)
			m.publish(1)
		},
		"empty table": func(m *monitor) { m.desc(descAt, 1, g, 0, descIndirect, 0); m.publish(1) },
		"odd table":   func(m *monitor) { m.desc(descAt, 1, g, 17, descIndirect, 0); m.publish(1) },
		"huge table":  func(m *monitor) { m.desc(descAt, 1, g, (maxIndirect+1)*descSize, descIndirect, 0); m.publish(1) },
		"nested table": func(m *monitor) {
			m.desc(dataAt, 0, g, 16, descIndirect, 0)
			m.desc(descAt, 1, g, 16, descIndirect, 0)
			m.publish(1)
		},
		"more than there is": func(m *monitor) {
			m.avail += entries + 1
			m.publish(1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			m := mounted(t, s)
			make(m)
			m.lost()
			if !strings.Contains(s.log.String(), "breaks the rules") {
				t.Errorf("it said %s", s.log)
			}
			mounted(t, s) // the next machine is served
		})
	}
}
