package virtiofs

import (
	"encoding/binary"
	"os"
	"testing"
)

// FuzzChain reads requests out of a guest's memory of any content.
func FuzzChain(f *testing.F) {
	le := binary.LittleEndian
	desc := func(addr uint64, size uint32, flags, next uint16) []byte {
		b := le.AppendUint64(nil, addr)
		b = le.AppendUint32(b, size)
		return le.AppendUint16(le.AppendUint16(b, flags), next)
	}
	f.Add(append(desc(guestAt, 40, descNext, 1), desc(guestAt+64, 100, descWrite, 0)...), uint16(0))
	f.Add(desc(guestAt, 32, descIndirect, 0), uint16(0))
	f.Add(desc(guestAt+250, 100, 0, 0), uint16(0))
	f.Fuzz(func(t *testing.T, content []byte, head uint16) {
		const half = 256
		data := make([]byte, 2*half)
		copy(data, content)
		m := memory{
			{place: place{guest: guestAt, size: half}, data: data[:half]},
			{place: place{guest: guestAt + half, size: half}, data: data[half:]},
		}
		c, err := readChain(m, data[:entries*descSize], head)
		if err != nil {
			return
		}
		if len(c.in) > maxTransfer || c.size > maxTransfer || c.head != head {
			t.Fatalf("a request of %d bytes with an answer of %d", len(c.in), c.size)
		}
	})
}

// FuzzMessage reads what a monitor might send.
func FuzzMessage(f *testing.F) {
	f.Add([]byte{5, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0}, oneRegion(guestAt, memSize, ownAt, 0), uint8(1))
	f.Add([]byte{9, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0}, make([]byte, 40), uint8(0))
	f.Fuzz(func(t *testing.T, head, payload []byte, files uint8) {
		if len(head) < headerSize {
			return
		}
		m, size, err := parseHeader(head)
		if err != nil {
			return
		}
		if size > maxPayload {
			t.Fatalf("a payload of %d bytes", size)
		}
		m.payload, m.files = payload, make([]*os.File, files%(maxRegions+1))
		if places, err := m.places(); err == nil {
			for _, p := range places {
				if p.size == 0 || p.guest+p.size < p.guest || p.offset+p.size < p.offset || p.monitor+p.size < p.monitor {
					t.Fatalf("memory that cannot be: %+v", p)
				}
			}
		}
		if index, num, err := m.state(); err == nil && len(payload) != 8 {
			t.Fatalf("queue %d, %d from %d bytes", index, num, len(payload))
		}
		if a, err := m.addrs(); err == nil && len(payload) != 40 {
			t.Fatalf("%+v from %d bytes", a, len(payload))
		}
	})
}
