package catalog

import (
	stderrors "errors"
	"math/bits"

	"github.com/pkg/errors"
)

// ErrCorrupt is in the chain of every error that says that a stored record
// cannot be understood.
var ErrCorrupt = stderrors.New("catalog record is corrupt")

func corrupt(format string, args ...any) error { return errors.Wrapf(ErrCorrupt, format, args...) }

// Numbers are stored as varints: 7 bits a byte, least significant first, bit 7
// set in all bytes but the last (as encoding/binary does it), always in the
// shortest form. Signed numbers are zigzag-coded first.

func appendUint(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func appendInt(b []byte, v int64) []byte { return appendUint(b, uint64(v)<<1^uint64(v>>63)) }

func appendString(b []byte, s string) []byte { return append(appendUint(b, uint64(len(s))), s...) }

func appendTime(b []byte, t Time) []byte { return appendUint(appendInt(b, t.Sec), uint64(t.Nsec)) }

// decoder reads a record. The first error sticks, and all reads after it return
// zero values, so that a caller looks at the error once, in end.
type decoder struct {
	b   []byte
	bad string // what is wrong; "" so far nothing
}

func (d *decoder) fail(why string) {
	if d.bad == "" {
		d.bad = why
	}
	d.b = nil
}

// end returns the error of the whole record, which must have been used up.
func (d *decoder) end(what string) error {
	if d.bad == "" && len(d.b) != 0 {
		d.bad = "bytes after its end"
	}
	if d.bad != "" {
		return corrupt("%s: %s", what, d.bad)
	}
	return nil
}

// format reads the format byte that begins every record.
func (d *decoder) format(want byte) {
	if got := d.byte(); got != want && d.bad == "" {
		d.fail("unknown format byte")
	}
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail("too short")
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uint() uint64 {
	if len(d.b) > 0 && d.b[0] < 0x80 { // most numbers are small
		v := uint64(d.b[0])
		d.b = d.b[1:]
		return v
	}
	return d.uintLong()
}

func (d *decoder) uintLong() uint64 {
	var v uint64
	for i, c := range d.b {
		if i == 9 && c > 1 {
			d.fail("number above 64 bits")
			return 0
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				d.fail("number not in its shortest form")
				return 0
			}
			d.b = d.b[i+1:]
			return v
		}
	}
	d.fail("too short")
	return 0
}

func (d *decoder) uint32() uint32 {
	v := d.uint()
	if bits.Len64(v) > 32 {
		d.fail("number above 32 bits")
		return 0
	}
	return uint32(v)
}

func (d *decoder) int() int64 {
	v := d.uint()
	return int64(v>>1) ^ -int64(v&1)
}

// bytes returns the next n bytes of the record itself.
func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail("too short")
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) string() string { return string(d.bytes(d.uint())) }

func (d *decoder) time() Time {
	t := Time{Sec: d.int(), Nsec: d.uint32()}
	if t.Nsec >= 1e9 {
		d.fail("nanoseconds of a whole second or more")
	}
	return t
}
