package scsi

import "encoding/binary"

// SpaceCode says what a SPACE command counts.
type SpaceCode uint8

// Codes of SPACE.
const (
	SpaceBlocks    SpaceCode = 0
	SpaceFilemarks SpaceCode = 1
	SpaceEnd       SpaceCode = 3 // to the end of data; the count is ignored
)

// PositionForm is the service action of READ POSITION.
type PositionForm uint8

// Forms of READ POSITION.
const (
	PositionShort PositionForm = 0x00
	PositionLong  PositionForm = 0x06
)

// Commands of tape drives (SSC-5).
type (
	// Read6 reads one record, or Length records if Fixed.
	Read6 struct {
		Fixed    bool
		Suppress bool   // SILI: say nothing of records shorter than Length
		Length   uint32 // 24 bits
	}
	// Write6 writes one record, or Length records if Fixed.
	Write6 struct {
		Fixed  bool
		Length uint32 // 24 bits
	}
	// WriteFilemarks6 writes Count filemarks. Unless Immediate, it ends when they and
	// all before them are on the medium; so a Count of 0 flushes.
	WriteFilemarks6 struct {
		Immediate bool
		Count     uint32 // 24 bits
	}
	// Space6 moves over records or filemarks; backward if Count is negative.
	Space6 struct {
		Code  SpaceCode
		Count int32 // 24 bits
	}
	// Space16 is Space6 with a larger count.
	Space16 struct {
		Code  SpaceCode
		Count int64
	}
	// Erase6 makes the head's place the end of data; if Long, it erases all that is
	// behind it too, which takes hours.
	Erase6 struct{ Immediate, Long bool }
	// Rewind goes to the beginning of the partition.
	Rewind struct{ Immediate bool }
	// LoadUnload makes the medium ready, or ejects it.
	LoadUnload struct {
		Immediate bool
		Load      bool
	}
	// Locate10 goes to a block, in another partition if ChangePartition.
	Locate10 struct {
		Immediate       bool
		ChangePartition bool
		Partition       uint8
		Block           uint32
	}
	// Locate16 is Locate10 with a larger block number.
	Locate16 struct {
		Immediate       bool
		ChangePartition bool
		Partition       uint8
		Block           uint64
	}
	// ReadPosition asks where the head is.
	ReadPosition struct{ Form PositionForm }
	// ReadBlockLimits asks for the sizes that a record can have.
	ReadBlockLimits struct{}
	// FormatMedium erases all and makes the partitions that MODE SELECT set up
	// (Format 1), or one partition (Format 0).
	FormatMedium struct {
		Immediate bool
		Format    uint8 // 4 bits
	}
	// AllowOverwrite permits one overwrite at a position, where the drive is set to
	// append only.
	AllowOverwrite struct {
		Mode      uint8 // OverwriteHere, OverwriteFormat
		Partition uint8
		Block     uint64
	}
)

// Modes of AllowOverwrite.
const (
	OverwriteHere   = 1 // at the position
	OverwriteFormat = 2 // the next FORMAT MEDIUM
)

// CDB implements CommandBlock.
func (c Read6) CDB() []byte {
	b := []byte{OpRead6, bit(c.Suppress, 2) | bit(c.Fixed, 1), 0, 0, 0, 0}
	put24(b[2:], c.Length)
	return b
}

// CDB implements CommandBlock.
func (c Write6) CDB() []byte {
	b := []byte{OpWrite6, bit(c.Fixed, 1), 0, 0, 0, 0}
	put24(b[2:], c.Length)
	return b
}

// CDB implements CommandBlock.
func (c WriteFilemarks6) CDB() []byte {
	b := []byte{OpWriteFilemarks6, bit(c.Immediate, 1), 0, 0, 0, 0}
	put24(b[2:], c.Count)
	return b
}

// CDB implements CommandBlock.
func (c Space6) CDB() []byte {
	b := []byte{OpSpace6, byte(c.Code) & 0x0F, 0, 0, 0, 0}
	put24(b[2:], uint32(c.Count))
	return b
}

// CDB implements CommandBlock.
func (c Space16) CDB() []byte {
	b := make([]byte, 16)
	b[0], b[1] = OpSpace16, byte(c.Code)&0x0F
	binary.BigEndian.PutUint64(b[4:], uint64(c.Count))
	return b
}

// CDB implements CommandBlock.
func (c Erase6) CDB() []byte {
	return []byte{OpErase6, bit(c.Immediate, 2) | bit(c.Long, 1), 0, 0, 0, 0}
}

// CDB implements CommandBlock.
func (c Rewind) CDB() []byte { return []byte{OpRewind, bit(c.Immediate, 1), 0, 0, 0, 0} }

// CDB implements CommandBlock.
func (c LoadUnload) CDB() []byte {
	return []byte{OpLoadUnload, bit(c.Immediate, 1), 0, 0, bit(c.Load, 1), 0}
}

// CDB implements CommandBlock.
func (c Locate10) CDB() []byte {
	b := make([]byte, 10)
	b[0], b[1], b[8] = OpLocate10, bit(c.ChangePartition, 2)|bit(c.Immediate, 1), c.Partition
	binary.BigEndian.PutUint32(b[3:], c.Block)
	return b
}

// CDB implements CommandBlock.
func (c Locate16) CDB() []byte {
	b := make([]byte, 16)
	b[0], b[1], b[3] = OpLocate16, bit(c.ChangePartition, 2)|bit(c.Immediate, 1), c.Partition
	binary.BigEndian.PutUint64(b[4:], c.Block)
	return b
}

// CDB implements CommandBlock.
func (c ReadPosition) CDB() []byte {
	return []byte{OpReadPosition, byte(c.Form) & 0x1F, 0, 0, 0, 0, 0, 0, 0, 0}
}

// CDB implements CommandBlock.
func (ReadBlockLimits) CDB() []byte { return []byte{OpReadBlockLimits, 0, 0, 0, 0, 0} }

// CDB implements CommandBlock.
func (c FormatMedium) CDB() []byte {
	return []byte{OpFormatMedium, bit(c.Immediate, 1), c.Format & 0x0F, 0, 0, 0}
}

// CDB implements CommandBlock.
func (c AllowOverwrite) CDB() []byte {
	b := make([]byte, 16)
	b[0], b[2], b[3] = OpAllowOverwrite, c.Mode&0x0F, c.Partition
	binary.BigEndian.PutUint64(b[4:], c.Block)
	return b
}

// ParseStream parses a command block sent to a tape drive: ErrOpcode or
// ErrField if it is not one.
func ParseStream(b []byte) (CommandBlock, error) {
	if err := checkLength(b); err != nil {
		return nil, err
	}
	switch b[0] {
	case OpRead6:
		c := Read6{b[1]&1 != 0, b[1]&2 != 0, get24(b[2:])}
		if c.Fixed && c.Suppress {
			return nil, ErrField
		}
		return c, nil
	case OpWrite6:
		return Write6{b[1]&1 != 0, get24(b[2:])}, nil
	case OpWriteFilemarks6:
		if b[1]&2 != 0 { // setmarks are gone since SSC-2
			return nil, ErrField
		}
		return WriteFilemarks6{b[1]&1 != 0, get24(b[2:])}, nil
	case OpSpace6:
		return Space6{SpaceCode(b[1] & 0x0F), int32(get24(b[2:])<<8) >> 8}, nil
	case OpSpace16:
		return Space16{SpaceCode(b[1] & 0x0F), int64(binary.BigEndian.Uint64(b[4:]))}, nil
	case OpErase6:
		return Erase6{b[1]&2 != 0, b[1]&1 != 0}, nil
	case OpRewind:
		return Rewind{b[1]&1 != 0}, nil
	case OpLoadUnload:
		if b[4]&0x04 != 0 { // EOT
			return nil, ErrField
		}
		return LoadUnload{b[1]&1 != 0, b[4]&1 != 0}, nil
	case OpLocate10:
		if b[1]&4 != 0 { // device specific block numbers
			return nil, ErrField
		}
		return Locate10{b[1]&1 != 0, b[1]&2 != 0, b[8], binary.BigEndian.Uint32(b[3:])}, nil
	case OpLocate16:
		if b[1]&0x38 != 0 { // to a file, or the end of data
			return nil, ErrField
		}
		return Locate16{b[1]&1 != 0, b[1]&2 != 0, b[3], binary.BigEndian.Uint64(b[4:])}, nil
	case OpReadPosition:
		c := ReadPosition{PositionForm(b[1] & 0x1F)}
		if c.Form != PositionShort && c.Form != PositionLong {
			return nil, ErrField
		}
		return c, nil
	case OpReadBlockLimits:
		if b[1]&1 != 0 { // MLOI
			return nil, ErrField
		}
		return ReadBlockLimits{}, nil
	case OpReportDensity:
		return ReportDensity{b[1]&1 != 0, b[1]&2 != 0, binary.BigEndian.Uint16(b[7:])}, nil
	case OpFormatMedium:
		return FormatMedium{b[1]&1 != 0, b[2] & 0x0F}, nil
	case OpAllowOverwrite:
		return AllowOverwrite{b[2] & 0x0F, b[3], binary.BigEndian.Uint64(b[4:])}, nil
	case OpMaintenanceIn, OpMaintenanceOut:
		return parseMaintenance(b)
	case OpSecurityIn:
		return parseSecurityIn(b)
	case OpSecurityOut:
		return parseSecurityOut(b)
	}
	return parsePrimary(b)
}
