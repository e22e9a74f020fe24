// Package scsitest holds the contract of scsi.Transport as a test suite that any
// implementation must pass: the emulated library's devices, and real ones through /dev/sg.
package scsitest

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"sliod/tape/scsi"
)

const timeout = time.Minute

// TestTransport runs the contract of a transport to a drive or a changer, whose state it
// does not change, but for unit attentions: it takes them. It does not close the transport.
func TestTransport(t *testing.T, tr scsi.Transport) {
	inquiry := func(q scsi.Inquiry) *scsi.Command {
		return &scsi.Command{CDB: q.CDB(), Dir: scsi.In, Data: make([]byte, q.Alloc), Timeout: timeout}
	}
	do := func(t *testing.T, c *scsi.Command) {
		t.Helper()
		if err := tr.Do(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	good := func(t *testing.T, c *scsi.Command) []byte {
		t.Helper()
		do(t, c)
		if c.Status != scsi.Good || len(c.Sense) != 0 {
			t.Fatalf("command %02x: status %02x, sense % x", c.CDB[0], uint8(c.Status), c.Sense)
		}
		if n := c.Transferred(); n < 0 || n > len(c.Data) {
			t.Fatalf("command %02x: %d of %d bytes transferred", c.CDB[0], n, len(c.Data))
		}
		return c.Data[:c.Transferred()]
	}
	standard := scsi.Inquiry{Alloc: 96}
	serial := scsi.Inquiry{VPD: true, Page: scsi.PageSerial, Alloc: 252}

	t.Run("Data", func(t *testing.T) {
		b := good(t, inquiry(standard))
		q, err := scsi.ParseInquiry(b)
		if err != nil || q.Vendor == "" || q.Device != scsi.DeviceTape && q.Device != scsi.DeviceChanger {
			t.Fatalf("%+v, %v", q, err)
		}
		// The device cuts its answer to what it is allowed; the rest of the buffer is not touched.
		c := inquiry(scsi.Inquiry{Alloc: 20})
		c.Data = bytes.Repeat([]byte{0xEE}, 20)
		if got := good(t, c); !bytes.Equal(got, b[:20]) {
			t.Errorf("the first 20 bytes are % x instead of % x", got, b[:20])
		}
	})
	t.Run("NoData", func(t *testing.T) {
		for range 9 { // at most 8 unit attentions wait
			c := &scsi.Command{CDB: scsi.TestUnitReady{}.CDB(), Timeout: timeout}
			do(t, c)
			if c.Status == scsi.Good {
				return
			}
			s, ok := scsi.ParseSense(c.Sense)
			if c.Status != scsi.CheckCondition || !ok {
				t.Fatalf("status %02x, sense % x", uint8(c.Status), c.Sense)
			}
			if s.Key == scsi.NotReadyKey {
				return // a drive without a cartridge
			}
		}
		t.Error("always another unit attention")
	})
	t.Run("Refused", func(t *testing.T) {
		// An operation code that no drive and no changer has had since SCSI-2.
		c := &scsi.Command{CDB: []byte{0x02, 0, 0, 0, 0, 0}, Timeout: timeout}
		do(t, c)
		if s, ok := scsi.ParseSense(c.Sense); c.Status != scsi.CheckCondition || !ok || !s.Is(scsi.IllegalKey, scsi.CodeInvalidOpcode) {
			t.Fatalf("status %02x, sense % x", uint8(c.Status), c.Sense)
		}
		// The next answer has nothing of this one, in the same Command.
		c.CDB, c.Dir, c.Data = standard.CDB(), scsi.In, make([]byte, standard.Alloc)
		good(t, c)
	})
	t.Run("Cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := tr.Do(ctx, inquiry(standard)); err == nil {
			t.Error("a command ran for a context that had ended")
		}
		good(t, inquiry(standard))
	})
	t.Run("Concurrent", func(t *testing.T) {
		want := map[scsi.Inquiry][]byte{standard: bytes.Clone(good(t, inquiry(standard))), serial: bytes.Clone(good(t, inquiry(serial)))}
		var wg sync.WaitGroup
		for i := range 8 {
			q := standard
			if i%2 == 1 {
				q = serial
			}
			wg.Go(func() {
				for range 20 {
					c := inquiry(q)
					if err := tr.Do(t.Context(), c); err != nil || c.Status != scsi.Good {
						t.Errorf("status %02x, %v", uint8(c.Status), err)
						return
					}
					n := 5 + int(c.Data[4]) // as the answers say themselves: not all hosts report residuals
					if q.VPD {
						n = 4 + int(c.Data[3])
					}
					if n > len(want[q]) || !bytes.Equal(c.Data[:n], want[q][:n]) {
						t.Errorf("the answer to %+v is that of another command: % x", q, c.Data[:n])
						return
					}
				}
			})
		}
		wg.Wait()
	})
}
