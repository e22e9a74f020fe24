package sg

import (
	"bytes"
	"context"
	"math"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/pkg/errors"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"sliod/tape/scsi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestLayout compares the header with <scsi/sg.h> on a machine with 64-bit pointers.
func TestLayout(t *testing.T) {
	var h header
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Fatalf("the layout is documented for 64-bit pointers")
	}
	for _, f := range []struct {
		name      string
		got, want uintptr
	}{
		{"size", unsafe.Sizeof(h), 88},
		{"dxfer_direction", unsafe.Offsetof(h.direction), 4}, {"cmd_len", unsafe.Offsetof(h.cdbLength), 8}, {"mx_sb_len", unsafe.Offsetof(h.senseRoom), 9},
		{"iovec_count", unsafe.Offsetof(h.vectorCount), 10}, {"dxfer_len", unsafe.Offsetof(h.dataLength), 12}, {"dxferp", unsafe.Offsetof(h.data), 16},
		{"cmdp", unsafe.Offsetof(h.cdb), 24}, {"sbp", unsafe.Offsetof(h.sense), 32}, {"timeout", unsafe.Offsetof(h.timeout), 40},
		{"flags", unsafe.Offsetof(h.flags), 44}, {"pack_id", unsafe.Offsetof(h.packID), 48}, {"usr_ptr", unsafe.Offsetof(h.user), 56},
		{"status", unsafe.Offsetof(h.status), 64}, {"masked_status", unsafe.Offsetof(h.maskedStatus), 65}, {"msg_status", unsafe.Offsetof(h.messageStatus), 66},
		{"sb_len_wr", unsafe.Offsetof(h.senseLength), 67}, {"host_status", unsafe.Offsetof(h.hostStatus), 68}, {"driver_status", unsafe.Offsetof(h.driverStatus), 70},
		{"resid", unsafe.Offsetof(h.residual), 72}, {"duration", unsafe.Offsetof(h.durationMillis), 76}, {"info", unsafe.Offsetof(h.info), 80},
	} {
		if f.got != f.want {
			t.Errorf("%s is %d, want %d", f.name, f.got, f.want)
		}
	}
}

// fakePort answers as the kernel would.
type fakePort struct {
	submitted func(h *header) error
	answer    func(h *header) error
	closed    chan struct{}
}

func newFake(answer func(h *header) error) *fakePort {
	return &fakePort{answer: answer, closed: make(chan struct{})}
}

func (p *fakePort) submit(f *frame) error {
	if p.submitted != nil {
		return p.submitted(&f.head)
	}
	return nil
}

func (p *fakePort) await(f *frame) error { return p.answer(&f.head) }
func (p *fakePort) Close() error         { close(p.closed); return nil }

func bytesAt(p unsafe.Pointer, n int) []byte { return unsafe.Slice((*byte)(p), n) }

func TestRequest(t *testing.T) {
	data := bytes.Repeat([]byte{7}, 1000)
	for _, tc := range []struct {
		name      string
		c         scsi.Command
		direction int32
		length    uint32
		timeout   uint32
	}{
		{"nothing", scsi.Command{CDB: scsi.TestUnitReady{}.CDB(), Timeout: 1500 * time.Millisecond}, directionNone, 0, 1500},
		{"data of a command without a direction", scsi.Command{CDB: scsi.TestUnitReady{}.CDB(), Data: data}, directionNone, 0, 60000},
		{"a direction without data", scsi.Command{CDB: scsi.TestUnitReady{}.CDB(), Dir: scsi.In, Timeout: 1}, directionNone, 0, 1},
		{"out", scsi.Command{CDB: []byte{0x0A, 0, 0, 3, 0xE8, 0}, Dir: scsi.Out, Data: data, Timeout: 50 * time.Minute}, directionOut, 1000, 3000000},
		{"in", scsi.Command{CDB: make([]byte, 16), Dir: scsi.In, Data: make([]byte, 70000), Timeout: 49 * 24 * time.Hour}, directionIn, 70000, math.MaxInt32},
		{"hours", scsi.Command{CDB: make([]byte, 12), Dir: scsi.In, Data: data, Timeout: 3 * time.Hour}, directionIn, 1000, 3 * 3600 * 1000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			asked := 0
			p := newFake(func(h *header) error { return nil })
			p.submitted = func(h *header) error {
				asked++
				if h.interfaceID != 'S' || h.direction != tc.direction || h.dataLength != tc.length || h.timeout != tc.timeout || h.vectorCount != 0 || h.flags != 0 {
					t.Errorf("%+v", h)
				}
				if h.senseRoom < 96 || h.sense == nil || !bytes.Equal(bytesAt(h.cdb, int(h.cdbLength)), tc.c.CDB) {
					t.Errorf("%+v", h)
				}
				if tc.length == 0 && h.data != nil || tc.length > 0 && h.data != unsafe.Pointer(&tc.c.Data[0]) {
					t.Errorf("the data lies at %v", h.data)
				}
				return nil
			}
			tr := newTransport("/dev/sg9", 1<<20, p)
			if err := tr.Do(t.Context(), &tc.c); err != nil || asked != 1 {
				t.Fatalf("%v, asked %d times", err, asked)
			}
			if tr.frame.head.data != nil {
				t.Error("the caller's data is held")
			}
		})
	}
}

func TestAnswer(t *testing.T) {
	sense := scsi.Sense{Key: scsi.MediumErrorKey, Code: 0x1100}.Bytes()
	for _, tc := range []struct {
		name     string
		answer   header // the second half
		sense    []byte
		status   scsi.Status
		residual int
		err      string
	}{
		{"good", header{}, nil, scsi.Good, 0, ""},
		{"residual", header{residual: 90}, nil, scsi.Good, 90, ""},
		{"residual of nonsense", header{residual: -5}, nil, scsi.Good, 0, ""},
		{"too large a residual", header{residual: 1 << 30}, nil, scsi.Good, 100, ""},
		{"check condition", header{status: 2, maskedStatus: 1, driverStatus: driverSense, residual: 100}, sense, scsi.CheckCondition, 100, ""},
		{"sense data with good status", header{driverStatus: driverSense}, sense, scsi.CheckCondition, 0, ""},
		{"check condition and a host status", header{status: 2, hostStatus: 0x13}, sense, scsi.CheckCondition, 0, ""},
		{"check condition without sense data", header{status: 2}, nil, scsi.CheckCondition, 0, ""},
		{"busy", header{status: 8}, nil, scsi.Busy, 0, ""},
		{"bus busy", header{hostStatus: 2}, nil, scsi.Busy, 0, ""},
		{"soft error", header{hostStatus: 0x0B}, nil, 0, 0, "soft error"},
		{"retry at once", header{hostStatus: 0x0C}, nil, scsi.Busy, 0, ""},
		{"requeue", header{hostStatus: 0x0D}, nil, scsi.Busy, 0, ""},
		{"transport disrupted", header{hostStatus: 0x0E}, nil, 0, 0, "disrupted"},
		{"reservation conflict", header{status: 0x18, hostStatus: 0x11}, nil, scsi.ReservationConflict, 0, ""},
		{"driver suggests sense that is not there", header{driverStatus: driverSense}, nil, scsi.Good, 0, ""},
		{"timeout", header{hostStatus: 3}, nil, 0, 0, "the command timed out (host status 03)"},
		{"no connection", header{hostStatus: 1}, nil, 0, 0, "no connection to the device"},
		{"reset", header{hostStatus: 8}, nil, 0, 0, "was reset"},
		{"a new host status", header{hostStatus: 0x77}, nil, 0, 0, "unknown code 119 (host status 77)"},
		{"driver timeout", header{driverStatus: 0x36}, nil, 0, 0, "the driver's timeout (driver status 06)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newFake(func(h *header) error {
				h.status, h.maskedStatus, h.hostStatus, h.driverStatus, h.residual = tc.answer.status, tc.answer.maskedStatus, tc.answer.hostStatus, tc.answer.driverStatus, tc.answer.residual
				h.senseLength = uint8(copy(bytesAt(h.sense, int(h.senseRoom)), tc.sense))
				return nil
			})
			c := &scsi.Command{CDB: make([]byte, 6), Dir: scsi.In, Data: make([]byte, 100), Timeout: time.Minute, Sense: []byte("old"), Status: 0x28, Residual: 7}
			err := newTransport("/dev/sg9", 1<<20, p).Do(t.Context(), c)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || !strings.Contains(err.Error(), "command 00 on /dev/sg9") {
					t.Fatalf("%v", err)
				}
				return
			}
			if err != nil || c.Status != tc.status || c.Residual != tc.residual || !bytes.Equal(c.Sense, tc.sense) {
				t.Errorf("%v, status %02x, residual %d, sense % x", err, uint8(c.Status), c.Residual, c.Sense)
			}
			if s, ok := scsi.ParseSense(c.Sense); tc.sense != nil && (!ok || s.Key != scsi.MediumErrorKey) {
				t.Errorf("sense %v", s)
			}
		})
	}
}

// TestNoAnswer: what the kernel refuses is an error of Do, and says what it means.
func TestNoAnswer(t *testing.T) {
	for errno, want := range map[unix.Errno]string{unix.ENODEV: "the device is gone", unix.ENXIO: "offline", unix.ENOMEM: "no memory", unix.EPERM: "refuses this process", unix.EIO: "input/output error"} {
		p := newFake(func(*header) error { return errors.WithStack(errno) })
		tr := newTransport("/dev/sg9", 1<<20, p)
		c := &scsi.Command{CDB: make([]byte, 10)}
		if err := tr.Do(t.Context(), c); err == nil || !errors.Is(err, errno) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "wait for command 00 on /dev/sg9") {
			t.Errorf("%v: %v", errno, err)
		}
		p.submitted = func(*header) error { return errors.WithStack(errno) }
		if err := tr.Do(t.Context(), c); err == nil || !errors.Is(err, errno) || !strings.Contains(err.Error(), "send command 00 to /dev/sg9") {
			t.Errorf("%v: %v", errno, err)
		}
	}
}

func TestRefusedBeforeTheKernel(t *testing.T) {
	p := newFake(nil)
	p.submitted = func(*header) error { t.Error("sent"); return nil }
	tr := newTransport("/dev/sg9", 4096, p)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		ctx  context.Context
		c    scsi.Command
		want string
	}{
		{t.Context(), scsi.Command{}, "a command block of 0 bytes"},
		{t.Context(), scsi.Command{CDB: make([]byte, 253)}, "a command block of 253 bytes"},
		{t.Context(), scsi.Command{CDB: make([]byte, 6), Dir: scsi.Out, Data: make([]byte, 4097)}, "the host carries at most 4096 at once"},
		{gone, scsi.Command{CDB: make([]byte, 6)}, "context canceled"},
	} {
		if err := tr.Do(tc.ctx, &tc.c); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v, want %s", err, tc.want)
		}
	}
}

// TestClose gives up a command, and may be called again. Meanwhile another caller waits
// for its turn, as long as its context wants to.
func TestClose(t *testing.T) {
	p := newFake(nil)
	sent := make(chan struct{})
	p.submitted = func(*header) error { close(sent); return nil }
	p.answer = func(*header) error { <-p.closed; return errors.New("use of closed file") }
	tr := newTransport("/dev/sg9", 4096, p)
	done := make(chan error)
	go func() { done <- tr.Do(t.Context(), &scsi.Command{CDB: make([]byte, 6)}) }()
	<-sent
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tr.Do(gone, &scsi.Command{CDB: make([]byte, 6)}); !errors.Is(err, context.Canceled) {
		t.Errorf("the second caller: %v", err)
	}
	for range 2 {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), "the device was closed meanwhile") {
		t.Errorf("the command: %v", err)
	}
}

// TestNotASCSIDevice opens what is none.
func TestNotASCSIDevice(t *testing.T) {
	file := t.TempDir() + "/file"
	for path, want := range map[string]string{
		"/dev/null": "/dev/null is no SCSI generic device", file: "is the kernel module sg loaded", t.TempDir(): "is a directory",
	} {
		if tr, err := open(path, toOwn); err == nil {
			t.Errorf("%s was opened: %+v", path, tr)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
