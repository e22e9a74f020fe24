package scsi

import "encoding/binary"

// Commands that drives and changers share (SPC-5).
type (
	// TestUnitReady asks whether the medium can be accessed.
	TestUnitReady struct{}
	// RequestSense asks for pending sense data.
	RequestSense struct {
		Descriptor bool
		Alloc      uint8
	}
	// Inquiry asks what the device is; with VPD for a page of vital product data.
	Inquiry struct {
		VPD   bool
		Page  uint8
		Alloc uint16
	}
	// ModeSense asks for mode pages.
	ModeSense struct {
		Ten           bool // MODE SENSE(10)
		NoDescriptors bool // DBD
		Control       uint8
		Page, Subpage uint8
		Alloc         uint16 // at most 255 unless Ten
	}
	// ModeSelect sets mode pages.
	ModeSelect struct {
		Ten    bool
		Pages  bool // PF: the data is pages
		Save   bool
		Length uint16 // at most 255 unless Ten
	}
	// LogSense asks for a log page.
	LogSense struct {
		Control       uint8
		Page, Subpage uint8
		Parameter     uint16
		Alloc         uint16
	}
	// ReadAttribute asks for attributes of the medium's memory.
	ReadAttribute struct {
		List      bool // service action 01h: identifiers only
		Partition uint8
		First     uint16
		Alloc     uint32
	}
	// WriteAttribute sets attributes of the medium's memory.
	WriteAttribute struct {
		Through   bool // WTC: not only to a cache
		Partition uint8
		Length    uint32
	}
	// PreventAllow locks (1) or releases (0) the medium.
	PreventAllow struct{ Prevent uint8 }
)

// CDB implements CommandBlock.
func (TestUnitReady) CDB() []byte { return make([]byte, 6) }

// CDB implements CommandBlock.
func (c RequestSense) CDB() []byte {
	return []byte{OpRequestSense, bit(c.Descriptor, 1), 0, 0, c.Alloc, 0}
}

// CDB implements CommandBlock.
func (c Inquiry) CDB() []byte {
	return []byte{OpInquiry, bit(c.VPD, 1), c.Page, byte(c.Alloc >> 8), byte(c.Alloc), 0}
}

// CDB implements CommandBlock.
func (c ModeSense) CDB() []byte {
	flags, page := bit(c.NoDescriptors, 8), c.Control<<6|c.Page&0x3F
	if c.Ten {
		return []byte{OpModeSense10, flags, page, c.Subpage, 0, 0, 0, byte(c.Alloc >> 8), byte(c.Alloc), 0}
	}
	return []byte{OpModeSense6, flags, page, c.Subpage, byte(c.Alloc), 0}
}

// CDB implements CommandBlock.
func (c ModeSelect) CDB() []byte {
	flags := bit(c.Pages, 0x10) | bit(c.Save, 1)
	if c.Ten {
		return []byte{OpModeSelect10, flags, 0, 0, 0, 0, 0, byte(c.Length >> 8), byte(c.Length), 0}
	}
	return []byte{OpModeSelect6, flags, 0, 0, byte(c.Length), 0}
}

// CDB implements CommandBlock.
func (c LogSense) CDB() []byte {
	b := make([]byte, 10)
	b[0], b[2], b[3] = OpLogSense, c.Control<<6|c.Page&0x3F, c.Subpage
	binary.BigEndian.PutUint16(b[5:], c.Parameter)
	binary.BigEndian.PutUint16(b[7:], c.Alloc)
	return b
}

// CDB implements CommandBlock.
func (c ReadAttribute) CDB() []byte {
	b := make([]byte, 16)
	b[0], b[1], b[7] = OpReadAttribute, bit(c.List, 1), c.Partition
	binary.BigEndian.PutUint16(b[8:], c.First)
	binary.BigEndian.PutUint32(b[10:], c.Alloc)
	return b
}

// CDB implements CommandBlock.
func (c WriteAttribute) CDB() []byte {
	b := make([]byte, 16)
	b[0], b[1], b[7] = OpWriteAttribute, bit(c.Through, 1), c.Partition
	binary.BigEndian.PutUint32(b[10:], c.Length)
	return b
}

// CDB implements CommandBlock.
func (c PreventAllow) CDB() []byte { return []byte{OpPreventAllow, 0, 0, 0, c.Prevent & 3, 0} }

// parsePrimary parses the shared commands; ErrOpcode if b is none of them. b
// has the length of its operation code.
func parsePrimary(b []byte) (CommandBlock, error) {
	switch b[0] {
	case OpTestUnitReady:
		return TestUnitReady{}, nil
	case OpRequestSense:
		return RequestSense{b[1]&1 != 0, b[4]}, nil
	case OpInquiry:
		c := Inquiry{b[1]&1 != 0, b[2], binary.BigEndian.Uint16(b[3:])}
		if !c.VPD && c.Page != 0 {
			return nil, ErrField
		}
		return c, nil
	case OpModeSense6:
		return ModeSense{false, b[1]&8 != 0, b[2] >> 6, b[2] & 0x3F, b[3], uint16(b[4])}, nil
	case OpModeSense10:
		return ModeSense{true, b[1]&8 != 0, b[2] >> 6, b[2] & 0x3F, b[3], binary.BigEndian.Uint16(b[7:])}, nil
	case OpModeSelect6:
		return ModeSelect{false, b[1]&0x10 != 0, b[1]&1 != 0, uint16(b[4])}, nil
	case OpModeSelect10:
		return ModeSelect{true, b[1]&0x10 != 0, b[1]&1 != 0, binary.BigEndian.Uint16(b[7:])}, nil
	case OpLogSense:
		return LogSense{b[2] >> 6, b[2] & 0x3F, b[3], binary.BigEndian.Uint16(b[5:]), binary.BigEndian.Uint16(b[7:])}, nil
	case OpReadAttribute:
		if b[1]&0x1F > 1 {
			return nil, ErrField
		}
		return ReadAttribute{b[1]&1 != 0, b[7], binary.BigEndian.Uint16(b[8:]), binary.BigEndian.Uint32(b[10:])}, nil
	case OpWriteAttribute:
		return WriteAttribute{b[1]&1 != 0, b[7], binary.BigEndian.Uint32(b[10:])}, nil
	case OpPreventAllow:
		return PreventAllow{b[4] & 3}, nil
	}
	return nil, ErrOpcode
}
