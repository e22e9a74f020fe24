package scsi

import (
	"encoding/binary"

	"github.com/pkg/errors"
)

// PositionData is what READ POSITION answers.
type PositionData struct {
	Beginning bool // BOP
	End       bool // EOP: between early warning and the end
	Warning   bool // BPEW: beyond the programmable early warning
	Unknown   bool // the block number is not known
	Partition uint32
	Block     uint64
	Filemarks uint64 // between the beginning of the partition and here; long form only
}

// plausible says whether p can be true: the drive knows where it is, and "beginning" is said at
// block 0 and nowhere else. tgt's drive says block 0 always, and never "beginning".
func (p PositionData) plausible() bool {
	return !p.Unknown && p.Beginning == (p.Block == 0)
}

// Bytes encodes p in a form of READ POSITION.
func (p PositionData) Bytes(f PositionForm) []byte {
	if f == PositionLong {
		b := make([]byte, 32)
		b[0] = bit(p.Beginning, 0x80) | bit(p.End, 0x40) | bit(p.Unknown, 0x04) | bit(p.Warning, 0x01)
		binary.BigEndian.PutUint32(b[4:], p.Partition)
		binary.BigEndian.PutUint64(b[8:], p.Block)
		binary.BigEndian.PutUint64(b[16:], p.Filemarks)
		return b
	}
	b := make([]byte, 20)
	b[0] = bit(p.Beginning, 0x80) | bit(p.End, 0x40) | bit(p.Unknown, 0x04) | bit(p.Warning, 0x01)
	if p.Block > 0xFFFFFFFF {
		b[0] |= 0x02 // PERR: it does not fit
	}
	b[1] = byte(p.Partition)
	binary.BigEndian.PutUint32(b[4:], uint32(p.Block))
	binary.BigEndian.PutUint32(b[8:], uint32(p.Block))
	return b
}

// ParsePosition decodes the answer to READ POSITION.
func ParsePosition(f PositionForm, b []byte) (PositionData, error) {
	if want := map[PositionForm]int{PositionLong: 32, PositionShort: 20}[f]; len(b) < want {
		return PositionData{}, errors.Errorf("scsi: position data of %d bytes, expected %d", len(b), want)
	}
	p := PositionData{Beginning: b[0]&0x80 != 0, End: b[0]&0x40 != 0, Unknown: b[0]&0x04 != 0, Warning: b[0]&0x01 != 0}
	if f == PositionLong {
		p.Unknown = p.Unknown || b[0]&0x08 != 0 // MPU, the older LONU
		p.Partition = binary.BigEndian.Uint32(b[4:])
		p.Block, p.Filemarks = binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])
		return p, nil
	}
	p.Unknown = p.Unknown || b[0]&0x02 != 0
	p.Partition, p.Block = uint32(b[1]), uint64(binary.BigEndian.Uint32(b[4:]))
	return p, nil
}
