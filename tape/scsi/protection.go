package scsi

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/pkg/errors"

	"sliod/tape"
)

// Logical block protection (SSC-4, 4.2.29): each record goes over the wire with a
// checksum behind it, which the drive checks before it writes and stores with the
// record. So a bit that turns over in a cable, a host adapter, a bridge or the drive's
// buffer is an error and not data. On tape nothing is different: a host that does
// not know of protection reads the same records.
const (
	// PageControl and SubpageProtection are mode page 0Ah/F0h, control data protection.
	PageControl       = 0x0A
	SubpageProtection = 0xF0

	// ProtectionCRC32C is the method that SLIOD uses. Method 1, a Reed-Solomon code that
	// LTO-5 and LTO-6 have, would be ten times the work for the processor.
	ProtectionCRC32C = 2
	// ProtectionSize is how many bytes the checksum takes, behind each record. CRC-32C
	// goes out with its lowest byte first, as LTFS and mhvtl do it too.
	ProtectionSize = 4

	// usualRecord is the size of records on most LTFS volumes. A host that can transfer
	// them, but not with a checksum behind, does without.
	usualRecord = 512 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Protection is mode page 0Ah/F0h.
type Protection struct {
	Method      uint8 // 0: none
	Size        uint8 // 6 bits: bytes of checksum behind each record
	Write, Read bool  // records that are written, or read, have one
}

// Page encodes p.
func (p Protection) Page() ModePage {
	d := make([]byte, 28)
	p.put(d)
	return ModePage{Page: PageControl, Subpage: SubpageProtection, Data: d}
}

func (p Protection) put(d []byte) {
	d[0], d[1], d[2] = p.Method, p.Size&0x3F, bit(p.Write, 0x80)|bit(p.Read, 0x40)
}

// ParseProtection decodes page 0Ah/F0h.
func ParseProtection(d []byte) (Protection, error) {
	if len(d) < 3 {
		return Protection{}, errors.Errorf("scsi: protection page of %d bytes", len(d))
	}
	return Protection{d[0], d[1] & 0x3F, d[2]&0x80 != 0, d[2]&0x40 != 0}, nil
}

// FindSubpage returns the data of a page with a subpage, or nil.
func (m ModeData) FindSubpage(page, subpage uint8) []byte {
	for _, p := range m.Pages {
		if p.Page == page && p.Subpage == subpage {
			return p.Data
		}
	}
	return nil
}

// TailCarrier is a Transport that can carry the data of a command from, and to, two
// places: Command.Data and Command.Tail behind it. To other transports protected
// records are copied.
type TailCarrier interface{ CarriesTail() bool }

// guard adds the checksum to records that are written, and checks that of records that are
// read. It belongs to a device; off, it does nothing.
type guard struct {
	on    bool
	tails bool                 // the transport carries tails
	tail  [ProtectionSize]byte // of the record under way
	frame []byte               // record and tail, for a transport that does not
}

// arm changes a READ or WRITE of one record so that the checksum goes with it; armed
// is false for any other command.
func (g *guard) arm(cmd *Command) (armed bool) {
	if !g.on || cmd.CDB[0] != OpRead6 && cmd.CDB[0] != OpWrite6 || cmd.CDB[1]&1 != 0 {
		return false
	}
	n := len(cmd.Data)
	put24(cmd.CDB[2:], uint32(n+ProtectionSize))
	g.tail = [ProtectionSize]byte{}
	if cmd.Dir == Out {
		binary.LittleEndian.PutUint32(g.tail[:], crc32.Checksum(cmd.Data, castagnoli))
	}
	if g.tails {
		cmd.Tail = g.tail[:]
		return true
	}
	g.frame = slices.Grow(g.frame[:0], n+ProtectionSize)[:n+ProtectionSize]
	if cmd.Dir == Out {
		copy(g.frame, cmd.Data)
		copy(g.frame[n:], g.tail[:])
	}
	cmd.Data = g.frame
	return true
}

// finish gives the caller what an armed command brought: how many bytes of data went
// over without the checksum. It is an error if data came with the checksum of other data.
func (g *guard) finish(cmd *Command, data []byte) (n int, err error) {
	total := min(max(len(data)+ProtectionSize-cmd.Residual, 0), len(data)+ProtectionSize)
	if cmd.Dir == Out {
		return min(total, len(data)), nil
	}
	if !g.tails {
		copy(data, g.frame[:min(total, len(data))])
		copy(g.tail[:], g.frame[len(data):])
	}
	if cmd.Status != Good {
		s, ok := ParseSense(cmd.Sense)
		switch {
		case cmd.Status != CheckCondition || !ok || s.Deferred || s.Key != NoSense && s.Key != RecoveredError || s.Filemark:
			return 0, nil // no record came
		case s.ILI && s.Info < 0: // longer than the buffer: its checksum did not come
			return len(data), nil
		case s.ILI && s.InfoValid && s.Info > 0 && s.Info <= int64(len(data)):
			total = len(data) + ProtectionSize - int(s.Info)
		}
	}
	if total < ProtectionSize {
		return 0, errors.Errorf("%d bytes came where a record has at least its checksum", total)
	}
	n = total - ProtectionSize
	var tail [ProtectionSize]byte
	copy(tail[copy(tail[:], data[n:]):], g.tail[:])
	if came, is := binary.LittleEndian.Uint32(tail[:]), crc32.Checksum(data[:n], castagnoli); came != is {
		return 0, errors.Errorf("a record of %d bytes came with checksum %08x and has %08x: suspect the cable, the host adapter or the drive, not the volume", n, came, is)
	}
	return n, nil
}

// protect turns protection on where the drive has it (or off, if it is not wanted), and
// looks whether the drive took that.
func (d *Drive) protect(ctx context.Context) error {
	d.guard.on, d.limits.Protected = false, false
	now, page, err := d.protection(ctx)
	if refused(err) || err == nil && page == nil {
		return nil
	}
	if err != nil {
		return err
	}
	want := Protection{ProtectionCRC32C, ProtectionSize, true, true}
	switch {
	case d.noProtection:
		want = Protection{}
	case d.maxTransfer > 0 && d.maxTransfer < usualRecord+ProtectionSize:
		d.log.Infof("records are not protected: this host transfers %d bytes at most, which a record of %d bytes and its checksum exceed", d.maxTransfer, usualRecord)
		want = Protection{}
	}
	if now.Method != want.Method || now.Write != want.Write || now.Read != want.Read || now.Size != want.Size {
		page = slices.Clone(page)
		want.put(page)
		data := ModeData{Buffered: 1, Pages: []ModePage{{Page: PageControl, Subpage: SubpageProtection, Data: page}}}.Bytes(true)
		data[0], data[1] = 0, 0 // reserved in MODE SELECT
		_, err := d.patient(ctx, call{op: "mode select", block: ModeSelect{Ten: true, Pages: true, Length: uint16(len(data))}, dir: Out, data: data, timeout: d.times.Short})
		if s, ok := senseOf(err); ok && s.Key == IllegalKey {
			d.log.Infof("the drive does not protect records by CRC-32C: %v", s)
		} else if err != nil {
			return err
		}
		if now, _, err = d.protection(ctx); err != nil {
			return err
		}
	}
	d.guard.on = now.Write && now.Read && now.Method == ProtectionCRC32C && now.Size == ProtectionSize
	d.limits.Protected = d.guard.on
	if !d.guard.on && now.Method != 0 && (now.Write || now.Read) {
		// Records would come with checksums that nobody takes off.
		return d.fail("mode select", tape.HardwareError, nil, errors.Errorf("the drive keeps logical block protection by method %d, which cannot be turned off or used: reset the drive", now.Method))
	}
	return nil
}

// protection reads mode page 0Ah/F0h; page is nil if the drive answered without it.
func (d *Drive) protection(ctx context.Context) (p Protection, page []byte, err error) {
	buf := make([]byte, 255)
	n, err := d.patient(ctx, call{op: "mode sense", block: ModeSense{Ten: true, NoDescriptors: true, Page: PageControl, Subpage: SubpageProtection, Alloc: uint16(len(buf))},
		dir: In, data: buf, timeout: d.times.Short})
	if err != nil {
		return p, nil, err
	}
	m, err := ParseMode(true, buf[:min(n, modeLength(true, buf))])
	if err != nil {
		return p, nil, d.fail("mode sense", tape.HardwareError, nil, err)
	}
	if page = m.FindSubpage(PageControl, SubpageProtection); page == nil {
		return p, nil, nil
	}
	if p, err = ParseProtection(page); err != nil {
		return p, nil, d.fail("mode sense", tape.HardwareError, nil, err)
	}
	return p, page, nil
}
