package scsi

import (
	"encoding/binary"

	"github.com/pkg/errors"
)

// Mode pages.
const (
	PageCompression   = 0x0F
	PageConfiguration = 0x10
	PagePartitions    = 0x11
	PageMedium        = 0x1D // medium configuration, of a drive
	PageElements      = 0x1D // element address assignment, of a changer
	PageAll           = 0x3F
)

// ModeData is what MODE SENSE answers and MODE SELECT takes.
type ModeData struct {
	Medium         uint8
	WriteProtected bool  // sense only
	Buffered       uint8 // 1: writes end when the data is in the drive's buffer
	Speed          uint8
	HasBlock       bool // a block descriptor is there
	Density        uint8
	BlockLength    uint32 // 0: variable
	Pages          []ModePage
}

// ModePage is a page with its two (or four) bytes of header: Data[0] is byte 2 of the page
// (byte 4 if it has a subpage).
type ModePage struct {
	Page     uint8
	Subpage  uint8
	Saveable bool // PS
	Data     []byte
}

// Bytes encodes m for the 10 or the 6 byte commands.
func (m ModeData) Bytes(ten bool) []byte {
	device := bit(m.WriteProtected, 0x80) | m.Buffered&7<<4 | m.Speed&0x0F
	b := make([]byte, 4, 64)
	if ten {
		b = make([]byte, 8, 64)
	}
	descriptor := byte(0)
	if m.HasBlock {
		descriptor = 8
		d := make([]byte, 8)
		d[0] = m.Density
		put24(d[5:], m.BlockLength)
		b = append(b, d...)
	}
	for _, p := range m.Pages {
		if p.Subpage != 0 {
			b = append(b, p.Page&0x3F|0x40|bit(p.Saveable, 0x80), p.Subpage, byte(len(p.Data)>>8), byte(len(p.Data)))
		} else {
			b = append(b, p.Page&0x3F|bit(p.Saveable, 0x80), byte(len(p.Data)))
		}
		b = append(b, p.Data...)
	}
	if ten {
		binary.BigEndian.PutUint16(b, uint16(len(b)-2))
		b[2], b[3], b[7] = m.Medium, device, descriptor
	} else {
		b[0], b[1], b[2], b[3] = byte(len(b)-1), m.Medium, device, descriptor
	}
	return b
}

// ParseMode decodes mode data of the 10 or the 6 byte commands. A last page that
// is cut short is an error. Its pages alias b.
func ParseMode(ten bool, b []byte) (ModeData, error) {
	head := 4
	if ten {
		head = 8
	}
	if len(b) < head {
		return ModeData{}, errors.Errorf("scsi: mode data of %d bytes is shorter than its header", len(b))
	}
	var m ModeData
	var device byte
	var descriptors int
	if ten {
		m.Medium, device, descriptors = b[2], b[3], int(binary.BigEndian.Uint16(b[6:]))
	} else {
		m.Medium, device, descriptors = b[1], b[2], int(b[3])
	}
	m.WriteProtected, m.Buffered, m.Speed = device&0x80 != 0, device>>4&7, device&0x0F
	b = b[head:]
	if descriptors > len(b) || descriptors%8 != 0 {
		return ModeData{}, errors.Errorf("scsi: mode data names %d bytes of block descriptors, %d follow", descriptors, len(b))
	}
	if descriptors >= 8 {
		m.HasBlock, m.Density, m.BlockLength = true, b[0], get24(b[5:])
	}
	for b = b[descriptors:]; len(b) > 0; {
		if len(b) < 2 {
			return ModeData{}, errors.New("scsi: mode page cut short")
		}
		p := ModePage{Page: b[0] & 0x3F, Saveable: b[0]&0x80 != 0}
		n, at := int(b[1]), 2
		if b[0]&0x40 != 0 {
			if len(b) < 4 {
				return ModeData{}, errors.New("scsi: mode page cut short")
			}
			p.Subpage, n, at = b[1], int(binary.BigEndian.Uint16(b[2:])), 4
		}
		if at+n > len(b) {
			return ModeData{}, errors.Errorf("scsi: mode page %02x/%02x of %d bytes, %d follow", p.Page, p.Subpage, n, len(b)-at)
		}
		p.Data = b[at : at+n]
		m.Pages, b = append(m.Pages, p), b[at+n:]
	}
	return m, nil
}

// Find returns a page's data, or nil.
func (m ModeData) Find(page uint8) []byte {
	for _, p := range m.Pages {
		if p.Page == page && p.Subpage == 0 {
			return p.Data
		}
	}
	return nil
}

// Compression is mode page 0Fh.
type Compression struct {
	Enabled bool // DCE
	Capable bool // DCC
	Decode  bool // DDE
}

// Page encodes c.
func (c Compression) Page() ModePage {
	d := make([]byte, 14)
	d[0] = bit(c.Enabled, 0x80) | bit(c.Capable, 0x40)
	d[1] = bit(c.Decode, 0x80)
	d[5], d[9] = 1, 1 // algorithms; what they are is up to the drive
	return ModePage{Page: PageCompression, Data: d}
}

// ParseCompression decodes page 0Fh.
func ParseCompression(d []byte) (Compression, error) {
	if len(d) < 2 {
		return Compression{}, errors.Errorf("scsi: compression page of %d bytes", len(d))
	}
	return Compression{d[0]&0x80 != 0, d[0]&0x40 != 0, d[1]&0x80 != 0}, nil
}

// Partitioning is mode page 11h, the medium's partitions.
type Partitioning struct {
	MaxAdditional uint8
	Additional    uint8 // beside partition 0
	Initiator     bool  // IDP: the initiator chooses the sizes
	Flags         uint8 // the low 5 bits of byte 4: PSUM, POFM, CLEAR, ADDP
	Recognition   uint8
	Unit          uint8    // sizes are in 10^Unit bytes
	Sizes         []uint16 // FFFFh: what is left
}

// Page encodes p.
func (p Partitioning) Page() ModePage {
	d := make([]byte, 6+2*len(p.Sizes))
	d[0], d[1], d[2], d[3], d[4] = p.MaxAdditional, p.Additional, bit(p.Initiator, 0x20)|p.Flags&0x1F, p.Recognition, p.Unit&0x0F
	for i, s := range p.Sizes {
		binary.BigEndian.PutUint16(d[6+2*i:], s)
	}
	return ModePage{Page: PagePartitions, Data: d}
}

// ParsePartitioning decodes page 11h.
func ParsePartitioning(d []byte) (Partitioning, error) {
	if len(d) < 6 {
		return Partitioning{}, errors.Errorf("scsi: partition page of %d bytes", len(d))
	}
	p := Partitioning{MaxAdditional: d[0], Additional: d[1], Initiator: d[2]&0x20 != 0, Flags: d[2] & 0x1F, Recognition: d[3], Unit: d[4] & 0x0F}
	for d = d[6:]; len(d) >= 2; d = d[2:] {
		p.Sizes = append(p.Sizes, binary.BigEndian.Uint16(d))
	}
	return p, nil
}

// Addresses is a run of element addresses.
type Addresses struct{ First, Count uint16 }

// ElementAddresses is mode page 1Dh.
type ElementAddresses struct{ Arms, Slots, ImportExport, Drives Addresses }

// Page encodes e.
func (e ElementAddresses) Page() ModePage {
	d := make([]byte, 18)
	for i, a := range []Addresses{e.Arms, e.Slots, e.ImportExport, e.Drives} {
		binary.BigEndian.PutUint16(d[4*i:], a.First)
		binary.BigEndian.PutUint16(d[4*i+2:], a.Count)
	}
	return ModePage{Page: PageElements, Data: d}
}

// ParseElementAddresses decodes page 1Dh.
func ParseElementAddresses(d []byte) (ElementAddresses, error) {
	if len(d) < 16 {
		return ElementAddresses{}, errors.Errorf("scsi: element address page of %d bytes", len(d))
	}
	var a [4]Addresses
	for i := range a {
		a[i] = Addresses{binary.BigEndian.Uint16(d[4*i:]), binary.BigEndian.Uint16(d[4*i+2:])}
	}
	return ElementAddresses{a[0], a[1], a[2], a[3]}, nil
}
