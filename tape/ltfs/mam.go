package ltfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/pkg/errors"
	"sliod/tape"
)

// Attributes of the medium auxiliary memory that LTFS uses (SPC-5, LTFS 2.4
// annex on MAM).
const (
	mamMaximum    = 0x0001 // MiB that a partition takes
	mamVCR        = 0x0009 // volume change reference, counted by the drive
	mamVendor     = 0x0800
	mamAppName    = 0x0801
	mamAppVersion = 0x0802
	mamUserLabel  = 0x0803
	mamTextCode   = 0x0805
	mamBarcode    = 0x0806
	mamMediaPool  = 0x0808
	mamFormat     = 0x080B
	mamCoherency  = 0x080C // one a partition
	mamVolumeGUID = 0x0820
)

// coherency is attribute 080C: which index of the partition was its last when
// the volume change reference was VCR. It is worth something only as long as
// the drive still says the same VCR.
type coherency struct {
	VCR        uint64
	Generation uint64
	Block      uint64 // first record of the index
	UUID       string
}

const coherencyLen = 70

func (c *coherency) encode() []byte {
	b := make([]byte, 0, coherencyLen)
	b = append(b, 8)
	b = binary.BigEndian.AppendUint64(b, c.VCR)
	b = binary.BigEndian.AppendUint64(b, c.Generation)
	b = binary.BigEndian.AppendUint64(b, c.Block)
	b = binary.BigEndian.AppendUint16(b, 0x2b)
	b = append(b, "LTFS\x00"...)
	uuid := make([]byte, 37)
	copy(uuid, c.UUID)
	b = append(b, uuid...)
	return append(b, 1)
}

func parseCoherency(b []byte) (c coherency, ok bool) {
	if len(b) < 1+8+8+8+2+5+37 || b[0] != 8 || binary.BigEndian.Uint16(b[25:]) < 0x2a || string(b[27:32]) != "LTFS\x00" {
		return c, false
	}
	c.VCR = binary.BigEndian.Uint64(b[1:])
	c.Generation = binary.BigEndian.Uint64(b[9:])
	c.Block = binary.BigEndian.Uint64(b[17:])
	c.UUID = string(bytes.ToLower(bytes.TrimRight(b[32:69], "\x00 ")))
	return c, true
}

// parseVCR reads attribute 0009, whose length differs between drives. All ones
// and zero mean that the drive does not know.
func parseVCR(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 8 {
		return 0, false
	}
	var n uint64
	ones := true
	for _, c := range b {
		n = n<<8 | uint64(c)
		ones = ones && c == 0xff
	}
	return n, n != 0 && !ones
}

// coherencyOf returns the partition's 080C if it is valid now.
func (v *Volume) coherencyOf(ctx context.Context, p tape.Partition) (coherency, bool, error) {
	if !v.d.Limits().HasMAM {
		return coherency{}, false, nil
	}
	vcr, ok, err := v.readVCR(ctx)
	if err != nil || !ok {
		return coherency{}, false, err
	}
	b, err := v.d.ReadAttribute(ctx, p, mamCoherency)
	if err != nil {
		return coherency{}, false, v.mamError(err)
	}
	c, ok := parseCoherency(b)
	return c, ok && c.VCR == vcr && c.UUID == v.label.UUID && c.Block > labelBlocks, nil
}

// readVCR asks partition 0, as other implementations do: the count is the medium's.
func (v *Volume) readVCR(ctx context.Context) (uint64, bool, error) {
	b, err := v.d.ReadAttribute(ctx, 0, mamVCR)
	if err != nil {
		return 0, false, v.mamError(err)
	}
	n, ok := parseVCR(b)
	return n, ok, nil
}

// learnIndexRoom asks how large the index partition is. Real drives give it a pair of
// wraps, far more than any index needs.
func (v *Volume) learnIndexRoom(ctx context.Context) error {
	if v.ip == v.dp || !v.d.Limits().HasMAM {
		return nil
	}
	b, err := v.d.ReadAttribute(ctx, v.ip, mamMaximum)
	if err != nil {
		return v.mamError(err)
	}
	if len(b) == 8 {
		if n := binary.BigEndian.Uint64(b); n < 1<<40 {
			v.indexRoom = int64(n) << 20
		}
	}
	return nil
}

// mamError lets pass what means that the memory has nothing to say: the tape
// itself tells the truth, only slower.
func (v *Volume) mamError(err error) error {
	switch tape.KindOf(err) {
	case tape.NotFound, tape.IllegalRequest, tape.MediumError, tape.WriteProtected:
		v.log.WithError(err).Debug("the cartridge's memory has no use for LTFS; going by the tape alone")
		return nil
	}
	return errors.WithMessage(err, "access the cartridge's memory")
}

// writeCoherency is the last step of writing an index.
func (v *Volume) writeCoherency(ctx context.Context, at map[tape.Partition]uint64) error {
	if !v.d.Limits().HasMAM {
		return nil
	}
	for _, p := range v.partitions() {
		block, ok := at[p]
		if !ok {
			continue
		}
		vcr, ok, err := v.readVCR(ctx)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		c := coherency{VCR: vcr, Generation: v.index.Generation, Block: block, UUID: v.label.UUID}
		if err := v.d.WriteAttribute(ctx, p, mamCoherency, tape.AttrBinary, c.encode()); err != nil {
			if err := v.mamError(err); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeIdentity writes what tells others what the cartridge is.
func (v *Volume) writeIdentity(ctx context.Context, barcode, name string) error {
	if !v.d.Limits().HasMAM {
		return nil
	}
	padded := func(s string, n int) []byte { return []byte(fmt.Sprintf("%-*.*s", n, n, s)) }
	text := func(s string, n int) []byte {
		b := make([]byte, n)
		copy(b, s)
		return b
	}
	for _, a := range []struct {
		id     uint16
		format tape.AttributeFormat
		value  []byte
	}{
		{mamVendor, tape.AttrASCII, padded("SLIOD", 8)},
		{mamAppName, tape.AttrASCII, padded("SLIOD LTFS", 32)},
		{mamAppVersion, tape.AttrASCII, padded("1.0", 8)},
		{mamUserLabel, tape.AttrText, text(name, 160)},
		{mamTextCode, tape.AttrBinary, []byte{0x81}},
		{mamBarcode, tape.AttrASCII, padded(barcode, 32)},
		{mamMediaPool, tape.AttrText, text(v.pool, 160)},
		{mamFormat, tape.AttrASCII, padded(FormatVersion, 16)},
		{mamVolumeGUID, tape.AttrASCII, padded(v.label.UUID, 36)},
	} {
		if a.id == mamMediaPool && v.pool == "" && v.index.Generation > 0 {
			continue // not known here: it stays
		}
		if err := v.d.WriteAttribute(ctx, 0, a.id, a.format, a.value); err != nil {
			if err := v.mamError(err); err != nil {
				return err
			}
		}
	}
	return nil
}
