package scsi

import (
	"encoding/binary"

	"github.com/pkg/errors"
)

// ReportDensity is REPORT DENSITY SUPPORT (SSC-5): which formats the drive knows, for the
// medium that is loaded if Media.
type ReportDensity struct {
	Media bool
	Types bool // of media instead of densities
	Alloc uint16
}

// CDB implements CommandBlock.
func (c ReportDensity) CDB() []byte {
	b := make([]byte, 10)
	b[0], b[1] = OpReportDensity, bit(c.Media, 1)|bit(c.Types, 2)
	binary.BigEndian.PutUint16(b[7:], c.Alloc)
	return b
}

// DensitySize is the size of a density descriptor.
const DensitySize = 52

// Density is a density descriptor.
type Density struct {
	Primary, Secondary uint8
	Writable           bool // WRTOK: the drive writes it on this medium
	Duplicate          bool
	Default            bool
	BitsPerMM          uint32 // 24 bits
	Width              uint16 // of the tape, in 0.1 mm
	Tracks             uint16
	CapacityMB         uint32 // in 10^6 bytes
	Organization       string // at most 8 characters
	Name               string // at most 8
	Description        string // at most 20
}

// DensityBytes encodes the answer to REPORT DENSITY SUPPORT.
func DensityBytes(ds []Density) []byte {
	b := make([]byte, 4, 4+DensitySize*len(ds))
	binary.BigEndian.PutUint16(b, uint16(2+DensitySize*len(ds)))
	for _, d := range ds {
		x := make([]byte, DensitySize)
		x[0], x[1], x[2] = d.Primary, d.Secondary, bit(d.Writable, 0x80)|bit(d.Duplicate, 0x40)|bit(d.Default, 0x20)
		put24(x[5:], d.BitsPerMM)
		binary.BigEndian.PutUint16(x[8:], d.Width)
		binary.BigEndian.PutUint16(x[10:], d.Tracks)
		binary.BigEndian.PutUint32(x[12:], d.CapacityMB)
		copyPadded(x[16:24], d.Organization)
		copyPadded(x[24:32], d.Name)
		copyPadded(x[32:52], d.Description)
		b = append(b, x...)
	}
	return b
}

// ParseDensities decodes it. Descriptors that say that they are longer (DLV) are taken
// as such; one that is cut short by the allocation length is left out.
func ParseDensities(b []byte) ([]Density, error) {
	if len(b) < 4 {
		return nil, errors.Errorf("scsi: density data of %d bytes is shorter than its header", len(b))
	}
	b = b[4:min(len(b), max(4, 2+int(binary.BigEndian.Uint16(b))))]
	var ds []Density
	for len(b) >= DensitySize {
		n := DensitySize
		if b[2]&0x10 != 0 { // DLV: the length behind byte 4 is given
			if n = 5 + int(binary.BigEndian.Uint16(b[3:])); n < DensitySize {
				return nil, errors.Errorf("scsi: a density descriptor of %d bytes", n)
			}
		}
		ds = append(ds, Density{
			Primary: b[0], Secondary: b[1], Writable: b[2]&0x80 != 0, Duplicate: b[2]&0x40 != 0, Default: b[2]&0x20 != 0,
			BitsPerMM: get24(b[5:]), Width: binary.BigEndian.Uint16(b[8:]), Tracks: binary.BigEndian.Uint16(b[10:]),
			CapacityMB:   binary.BigEndian.Uint32(b[12:]),
			Organization: text(b[16:24]), Name: text(b[24:32]), Description: text(b[32:52]),
		})
		b = b[min(n, len(b)):]
	}
	return ds, nil
}
