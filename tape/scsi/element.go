package scsi

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/pkg/errors"

	"sliod/tape"
)

// Sizes in READ ELEMENT STATUS data.
const (
	statusHeader  = 8
	pageHeader    = 8
	elementHeader = 12
	volumeTag     = 36
	tagText       = 32
)

// ElementStatus is one element descriptor of READ ELEMENT STATUS.
type ElementStatus struct {
	Type        uint8 // as tape.ElementKind
	Address     uint16
	Full        bool
	Exception   bool
	Accessible  bool
	Code        Code // why, if Exception
	SourceValid bool
	Source      uint16
	Tag         string // of the volume; "" if none
	DeviceID    DeviceID
}

// DeviceID is a designator in an element descriptor (DVCID).
type DeviceID struct {
	CodeSet uint8
	Type    uint8 // 0: vendor specific, 1: vendor, product and serial number
	ID      []byte
}

// Serial takes the drive's serial number out of its designator: type 1 has it
// behind 8 bytes of vendor and 16 of product, others are nothing else. What is no text, such as
// a worldwide name in binary, is no serial number: "".
func (d DeviceID) Serial() string {
	id := d.ID
	if d.Type == 1 && len(id) > 24 {
		id = id[24:]
	}
	if i := bytes.IndexByte(id, 0); i > 0 { // some pad with zeros, and leave anything behind them
		id = id[:i]
	}
	serial := text(id)
	for _, c := range []byte(serial) {
		if c < ' ' || c > '~' {
			return ""
		}
	}
	return serial
}

// ElementBytes encodes elements, all that are asked for, as the answer to c. Those of
// one type must follow each other. The caller cuts it to c.Alloc.
func ElementBytes(c ReadElementStatus, es []ElementStatus) []byte {
	b := make([]byte, statusHeader)
	if len(es) > 0 {
		first := es[0].Address
		for _, e := range es {
			first = min(first, e.Address)
		}
		binary.BigEndian.PutUint16(b, first)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(es)))
	for len(es) > 0 {
		n := 1
		for n < len(es) && es[n].Type == es[0].Type {
			n++
		}
		b = appendElementPage(b, c, es[:n])
		es = es[n:]
	}
	put24(b[5:], uint32(len(b)-statusHeader))
	return b
}

// appendElementPage encodes the elements of one type, which all have descriptors of
// the same length.
func appendElementPage(b []byte, c ReadElementStatus, es []ElementStatus) []byte {
	size, id := elementHeader+4, 0
	if c.VolumeTags {
		size += volumeTag
	}
	if c.DeviceIDs {
		for _, e := range es {
			id = max(id, len(e.DeviceID.ID))
		}
	}
	size += id
	page := len(b)
	b = append(b, es[0].Type, bit(c.VolumeTags, 0x80), byte(size>>8), byte(size), 0, 0, 0, 0)
	put24(b[page+5:], uint32(size*len(es)))
	for _, e := range es {
		d := make([]byte, size)
		binary.BigEndian.PutUint16(d, e.Address)
		d[2] = bit(e.Full, 0x01) | bit(e.Exception, 0x04) | bit(e.Accessible, 0x08)
		binary.BigEndian.PutUint16(d[4:], uint16(e.Code))
		if e.SourceValid {
			d[9] = 0x80
			binary.BigEndian.PutUint16(d[10:], e.Source)
		}
		rest := d[elementHeader:]
		if c.VolumeTags {
			if e.Tag != "" {
				copyPadded(rest[:tagText], e.Tag)
			}
			rest = rest[volumeTag:]
		}
		if c.DeviceIDs && len(e.DeviceID.ID) > 0 {
			rest[0], rest[1], rest[3] = e.DeviceID.CodeSet&0x0F, e.DeviceID.Type&0x0F, byte(len(e.DeviceID.ID))
			copy(rest[4:], e.DeviceID.ID)
		}
		b = append(b, d...)
	}
	return b
}

// ParseElements decodes the answer to READ ELEMENT STATUS. It returns the
// whole descriptors, and the size of the report with its header: if that is
// more than len(b), the report was cut short. ids says that DVCID was set.
func ParseElements(b []byte, ids bool) (es []ElementStatus, size int, err error) {
	if len(b) < statusHeader {
		return nil, 0, errors.Errorf("scsi: element status of %d bytes is shorter than its header", len(b))
	}
	size = statusHeader + int(get24(b[5:]))
	for b = b[statusHeader:min(size, len(b))]; len(b) >= pageHeader; {
		kind, flags := b[0]&0x0F, b[1]
		each, all := int(binary.BigEndian.Uint16(b[2:])), int(get24(b[5:]))
		if each < elementHeader {
			return nil, 0, errors.Errorf("scsi: element descriptors of %d bytes", each)
		}
		b = b[pageHeader:]
		page := b[:min(all, len(b))]
		b = b[len(page):]
		for ; len(page) >= each; page = page[each:] {
			es = append(es, parseElement(kind, flags, page[:each], ids))
		}
	}
	return es, size, nil
}

// elementsTold is the number of elements that a report says it has.
func elementsTold(b []byte) int { return int(binary.BigEndian.Uint16(b[2:])) }

func parseElement(kind, flags uint8, d []byte, ids bool) ElementStatus {
	e := ElementStatus{Type: kind, Address: binary.BigEndian.Uint16(d), Full: d[2]&1 != 0, Exception: d[2]&4 != 0,
		Accessible: d[2]&8 != 0, Code: Code(binary.BigEndian.Uint16(d[4:])), SourceValid: d[9]&0x80 != 0}
	if e.SourceValid {
		e.Source = binary.BigEndian.Uint16(d[10:])
	}
	rest := d[elementHeader:]
	if flags&0x80 != 0 && len(rest) >= volumeTag { // PVOLTAG
		e.Tag, rest = text(rest[:tagText]), rest[volumeTag:]
	}
	if flags&0x40 != 0 && len(rest) >= volumeTag { // AVOLTAG
		rest = rest[volumeTag:]
	}
	if ids && len(rest) >= 4 {
		if n := int(rest[3]); n > 0 && 4+n <= len(rest) {
			e.DeviceID = DeviceID{rest[0] & 0x0F, rest[1] & 0x0F, append([]byte(nil), rest[4:4+n]...)}
		}
	}
	return e
}

// Element turns e into what the rest of SLIOD sees.
func (e ElementStatus) Element() tape.Element {
	out := tape.Element{Address: e.Address, Kind: tape.ElementKind(e.Type), Full: e.Full, Drive: e.DeviceID.Serial(),
		Source: e.Source, SourceValid: e.SourceValid}
	if e.Full {
		out.Volume = tape.Barcode(e.Tag)
	}
	if e.Exception {
		out.Fault = e.fault()
	}
	return out
}

// elementFaults say what exceptions of elements mean (SMC-3, and what libraries of IBM and their
// relatives answer).
var elementFaults = map[Code]string{
	0x3003: "a cleaning cartridge is in it",
	0x3B11: "its magazine is not there or cannot be reached",
	0x3B12: "its magazine was taken out",
	0x3B13: "its magazine was put in and not looked at yet",
	0x3B14: "its magazine is locked",
	0x3B18: "the library has switched it off",
	0x3B1A: "the drive was taken out",
	0x8300: "the barcode was not read",
	0x8301: "the barcode cannot be read",
	0x8302: "its magazine is not there",
	0x8303: "its magazine is not there or not known",
	0x8304: "the drive is not there",
}

// fault says what is the matter with an element that is not as it should be.
func (e ElementStatus) fault() string {
	s, ok := elementFaults[e.Code]
	if !ok {
		s = fmt.Sprintf("the library reports an exception, code %02x %02x", uint8(e.Code>>8), uint8(e.Code))
	}
	if !e.Accessible {
		s += "; the arm cannot reach it"
	}
	return s
}
