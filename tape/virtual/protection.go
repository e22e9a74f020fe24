package virtual

import (
	"encoding/binary"
	"hash/crc32"

	"sliod/tape/scsi"
)

const (
	// codeOverwrite: a WORM medium was to be overwritten.
	codeOverwrite scsi.Code = 0x300C
	// codePosition: sequential positioning error; append-only mode forbids the overwrite.
	codePosition scsi.Code = 0x3B00
)

// CarriesTail implements scsi.TailCarrier.
func (d *drive) CarriesTail() bool { return true }

// unguard takes the checksum off a record that was sent, if the drive is set to
// protect writes. sum is the record's CRC-32C, if summed.
func (d *drive) unguard(c *scsi.Command, length int) (data []byte, sum uint32, summed bool, s *scsi.Sense) {
	if c.Dir != scsi.Out || len(c.Data)+len(c.Tail) < length {
		return nil, 0, false, badField
	}
	c.Residual = len(c.Data) + len(c.Tail) - length
	if !d.protection.Write {
		if length > len(c.Data) { // a tail that the drive takes for data
			return append(append(make([]byte, 0, length), c.Data...), c.Tail...)[:length], 0, false, nil
		}
		return c.Data[:length], 0, false, nil
	}
	n := length - scsi.ProtectionSize
	if n <= 0 || n > len(c.Data) {
		return nil, 0, false, badField
	}
	var tail [scsi.ProtectionSize]byte
	copy(tail[copy(tail[:], c.Data[n:]):], c.Tail)
	sum = crc32.Checksum(c.Data[:n], castagnoli)
	if binary.LittleEndian.Uint32(tail[:]) != sum {
		c.Residual = len(c.Data) + len(c.Tail)
		return nil, 0, false, sense(scsi.AbortedCommand, scsi.CodeProtectionFailed)
	}
	return c.Data[:n], sum, true, nil
}

// guard puts a record's checksum behind its n bytes in c, as far as there is room,
// and returns how many bytes go over in all.
func (d *drive) guard(c *scsi.Command, n int, sum uint32) int {
	var tail [scsi.ProtectionSize]byte
	binary.LittleEndian.PutUint32(tail[:], sum)
	in := 0
	if n < len(c.Data) {
		in = copy(c.Data[n:], tail[:])
	}
	return n + in + copy(c.Tail, tail[in:])
}

// flip turns a bit of a record over on the way to the drive, without touching the
// sender's memory.
func flip(c *scsi.Command, n int, at int64) {
	if n = min(n, len(c.Data)); n == 0 {
		return
	}
	if c.Dir == scsi.Out {
		c.Data = append([]byte(nil), c.Data...)
	}
	at %= int64(n) * 8
	c.Data[at/8] ^= 1 << (at % 8)
}
