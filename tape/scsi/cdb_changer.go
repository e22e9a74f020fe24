package scsi

import "encoding/binary"

// Commands of medium changers (SMC-3).
type (
	// InitializeElementStatus has the changer look at all its elements.
	InitializeElementStatus struct{}
	// InitializeElementRange has it look at some.
	InitializeElementRange struct {
		Start, Count uint16
	}
	// ReadElementStatus asks what is where.
	ReadElementStatus struct {
		VolumeTags   bool
		Type         uint8 // 0: all; the codes are tape.ElementKind's
		Start, Count uint16
		Current      bool   // CURDATA: do not move anything
		DeviceIDs    bool   // DVCID
		Alloc        uint32 // 24 bits
	}
	// MoveMedium carries a cartridge. Arm 0 is the default one.
	MoveMedium struct {
		Arm, From, To uint16
		Invert        bool
	}
	// PositionToElement moves the arm in front of an element.
	PositionToElement struct {
		Arm, To uint16
		Invert  bool
	}
)

// CDB implements CommandBlock.
func (InitializeElementStatus) CDB() []byte {
	return []byte{OpInitializeElementStatus, 0, 0, 0, 0, 0}
}

// CDB implements CommandBlock.
func (c InitializeElementRange) CDB() []byte {
	b := make([]byte, 10)
	b[0], b[1] = OpInitializeElementRange, 1
	binary.BigEndian.PutUint16(b[2:], c.Start)
	binary.BigEndian.PutUint16(b[6:], c.Count)
	return b
}

// CDB implements CommandBlock.
func (c ReadElementStatus) CDB() []byte {
	b := make([]byte, 12)
	b[0], b[1], b[6] = OpReadElementStatus, bit(c.VolumeTags, 0x10)|c.Type&0x0F, bit(c.Current, 2)|bit(c.DeviceIDs, 1)
	binary.BigEndian.PutUint16(b[2:], c.Start)
	binary.BigEndian.PutUint16(b[4:], c.Count)
	put24(b[7:], c.Alloc)
	return b
}

// CDB implements CommandBlock.
func (c MoveMedium) CDB() []byte {
	b := make([]byte, 12)
	b[0], b[10] = OpMoveMedium, bit(c.Invert, 1)
	binary.BigEndian.PutUint16(b[2:], c.Arm)
	binary.BigEndian.PutUint16(b[4:], c.From)
	binary.BigEndian.PutUint16(b[6:], c.To)
	return b
}

// CDB implements CommandBlock.
func (c PositionToElement) CDB() []byte {
	b := make([]byte, 10)
	b[0], b[8] = OpPositionToElement, bit(c.Invert, 1)
	binary.BigEndian.PutUint16(b[2:], c.Arm)
	binary.BigEndian.PutUint16(b[4:], c.To)
	return b
}

// ParseChanger parses a command block sent to a medium changer: ErrOpcode or
// ErrField if it is not one.
func ParseChanger(b []byte) (CommandBlock, error) {
	if err := checkLength(b); err != nil {
		return nil, err
	}
	switch b[0] {
	case OpInitializeElementStatus:
		return InitializeElementStatus{}, nil
	case OpInitializeElementRange:
		if b[1]&1 == 0 {
			return InitializeElementStatus{}, nil
		}
		return InitializeElementRange{binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint16(b[6:])}, nil
	case OpReadElementStatus:
		c := ReadElementStatus{b[1]&0x10 != 0, b[1] & 0x0F, binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint16(b[4:]),
			b[6]&2 != 0, b[6]&1 != 0, get24(b[7:])}
		if c.Type > 4 {
			return nil, ErrField
		}
		return c, nil
	case OpMoveMedium:
		return MoveMedium{binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:]), b[10]&1 != 0}, nil
	case OpPositionToElement:
		return PositionToElement{binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint16(b[4:]), b[8]&1 != 0}, nil
	}
	return parsePrimary(b)
}
