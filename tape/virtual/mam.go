package virtual

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sliod/tape"
	"sliod/tape/scsi"
)

// maxHostAttributes bounds what a host can store: a real medium has 1 to 4 KiB
// for it, and LTFS needs about 600 bytes.
const maxHostAttributes = 4096

// attributes lists all attributes of a partition, by identifier.
func (d *drive) attributes(partition uint8) []scsi.Attribute {
	p, m := d.cart.parts[partition], d.cart.mem
	number := func(id uint16, size int, v uint64) scsi.Attribute {
		return scsi.Attribute{ID: id, ReadOnly: true, Value: binary.BigEndian.AppendUint64(nil, v)[8-size:]}
	}
	text := func(id uint16, size int, v string) scsi.Attribute {
		return scsi.Attribute{ID: id, ReadOnly: true, Format: tape.AttrASCII, Value: fmt.Appendf(nil, "%-*.*s", size, size, v)}
	}
	as := []scsi.Attribute{
		number(scsi.AttrRemaining, 8, uint64(d.remaining(p)/mib)),
		number(scsi.AttrMaximum, 8, uint64(p.capacity/mib)),
		number(scsi.AttrLoadCount, 8, m.Loads),
		number(scsi.AttrChangeRef, 4, uint64(m.ChangeRef)),
		text(scsi.AttrManufacturer, 8, "SLIOD"),
		text(scsi.AttrMediumSerial, 32, m.Serial),
		number(scsi.AttrMediumType, 1, 0),
	}
	if m.WORM {
		as[len(as)-1].Value[0] = scsi.MediumWORM
	}
	for key, a := range m.Attributes {
		n, hex, _ := strings.Cut(key, ":")
		id, err := strconv.ParseUint(hex, 16, 16)
		if err != nil || attributeKey(partition, uint16(id)) != n+":"+hex {
			continue
		}
		as = append(as, scsi.Attribute{ID: uint16(id), Format: tape.AttributeFormat(a.Format), Value: a.Value})
	}
	slices.SortFunc(as, func(a, b scsi.Attribute) int { return cmp.Compare(a.ID, b.ID) })
	return as
}

func (d *drive) readAttribute(c *scsi.Command, b scsi.ReadAttribute) *scsi.Sense {
	if int(b.Partition) >= len(d.cart.parts) {
		return badField
	}
	as := d.attributes(b.Partition)
	if b.List {
		out := make([]byte, 4)
		for _, a := range as {
			out = binary.BigEndian.AppendUint16(out, a.ID)
		}
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		give(c, out, int(min(b.Alloc, maxRecord)))
		return nil
	}
	at, found := slices.BinarySearchFunc(as, b.First, func(a scsi.Attribute, id uint16) int { return cmp.Compare(a.ID, id) })
	if !found {
		return badField
	}
	give(c, scsi.AppendAttributes(nil, as[at:]...), int(min(b.Alloc, maxRecord)))
	if as[at].ID <= scsi.AttrChangeRef {
		// The host may have seen the reference: the next change needs a new one.
		d.cart.changed = false
	}
	return nil
}

// writeAttribute sets host attributes; an empty value takes one away. All are
// checked before one is set, and they are on disk before the answer.
func (d *drive) writeAttribute(c *scsi.Command, b scsi.WriteAttribute) *scsi.Sense {
	data, ok := taken(c, int(min(b.Length, maxRecord)))
	if int(b.Partition) >= len(d.cart.parts) {
		return badField
	}
	if !ok {
		return sense(scsi.IllegalKey, scsi.CodeParameterLength)
	}
	if s := d.protected(); s != nil || b.Length == 0 {
		return s
	}
	as, err := scsi.ParseAttributes(data)
	if err != nil {
		return sense(scsi.IllegalKey, scsi.CodeParameterLength)
	}
	next := make(map[string]attribute, len(d.cart.mem.Attributes))
	for k, a := range d.cart.mem.Attributes {
		next[k] = a
	}
	for _, a := range as {
		if !(a.ID >= 0x0800 && a.ID <= 0x0BFF || a.ID >= 0x1400 && a.ID <= 0x17FF) {
			return sense(scsi.IllegalKey, scsi.CodeInvalidParameter)
		}
		if key := attributeKey(b.Partition, a.ID); len(a.Value) == 0 {
			delete(next, key)
		} else {
			next[key] = attribute{uint8(a.Format), slices.Clone(a.Value)}
		}
	}
	room := maxHostAttributes
	for _, a := range next {
		room -= 5 + len(a.Value)
	}
	if room < 0 {
		return sense(scsi.IllegalKey, 0x5506) // auxiliary memory out of space
	}
	d.cart.mem.Attributes, d.cart.memDirty = next, true
	return d.written(d.cart.saveMemory())
}
