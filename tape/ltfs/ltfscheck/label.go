package ltfscheck

import (
	"bytes"
	"encoding/xml"
	"strings"

	"sliod/tape"
)

// labelBlocks is how many blocks VOL1, filemark, label, filemark are.
const labelBlocks = 4

// label is what the label of one partition says.
type label struct {
	serial      string
	version     string
	creator     string
	formatted   string
	uuid        string
	location    string
	index, data string
	blockSize   uint64
	compression string
	rest        []byte // the XML without what stands in location
}

// labels reads the label of each partition; false: this is no LTFS volume.
func (c *checker) labels() (bool, error) {
	size := 1 << 20
	if m := c.d.Limits().MaxBlock; m > 0 {
		size = min(size, m)
	}
	c.buf = make([]byte, size)
	first, err := c.readLabel(0)
	if err != nil || first == nil {
		return false, err
	}
	c.label = first
	c.rep.Serial, c.rep.UUID, c.rep.BlockSize, c.rep.Partitions = first.serial, first.uuid, int(first.blockSize), 1
	c.size = int(first.blockSize)
	c.parts = []*part{{no: 0, letter: first.location}}
	if first.index == first.data {
		c.sayAll(Note, "the volume has one partition: only SLIOD reads it")
		if first.location != first.index {
			c.say(Error, tape.Position{Block: 2}, "the label calls its partition %q, and the volume's only one %q", first.location, first.index)
		}
		return c.fits(), nil
	}
	c.rep.Partitions = 2
	second, err := c.readLabel(1)
	if err != nil || second == nil {
		return false, err
	}
	c.parts = append(c.parts, &part{no: 1, letter: second.location})
	at := tape.Position{Partition: 1, Block: 2}
	if first.serial != second.serial {
		c.say(Error, tape.Position{Partition: 1}, "volume serial %q, in partition 0 it is %q", second.serial, first.serial)
	}
	if !bytes.Equal(first.rest, second.rest) {
		c.say(Error, at, "the labels of the partitions differ in more than their location")
	}
	if first.location == second.location {
		c.say(Error, at, "both labels say that they are in partition %q", first.location)
		return false, nil
	}
	for _, l := range []*label{first, second} {
		if l.location != first.index && l.location != first.data {
			c.say(Error, at, "a label is in partition %q; the volume has %q and %q", l.location, first.index, first.data)
			return false, nil
		}
	}
	if first.location != first.index {
		// The index partition comes first, whichever it is on tape.
		c.parts[0], c.parts[1] = c.parts[1], c.parts[0]
		c.say(Note, tape.Position{Block: 2}, "the data partition is tape partition 0; most write it as 1")
	}
	return c.fits(), nil
}

// fits makes the buffer as large as the volume's records.
func (c *checker) fits() bool {
	if m := c.d.Limits().MaxBlock; m > 0 && c.size > m {
		c.sayAll(Error, "records of %d bytes; the drive reads no more than %d", c.size, m)
		return false
	}
	if c.size > len(c.buf) {
		c.buf = make([]byte, c.size)
	}
	return true
}

// readLabel reads the label of partition p; nil: it has none.
func (c *checker) readLabel(p tape.Partition) (*label, error) {
	if err := c.locate(p, 0); err != nil {
		if tape.KindOf(err) == tape.IllegalRequest {
			c.say(Error, tape.Position{Partition: p}, "the medium has no partition %d", p)
			return nil, nil
		}
		return nil, err
	}
	var records [2][]byte
	for block := range uint64(labelBlocks) {
		at := tape.Position{Partition: p, Block: tape.BlockNo(block)}
		rec, err := c.read()
		isMark := tape.KindOf(err) == tape.Filemark
		switch wantMark := block%2 == 1; {
		case err != nil && !blames(err):
			return nil, err
		case block == 0 && tape.KindOf(err) == tape.EndOfData:
			c.say(Error, at, "partition %d is blank", p)
			return nil, nil
		case isMark && wantMark:
		case err == nil && !wantMark:
			records[block/2] = bytes.Clone(rec)
		case err == nil:
			c.say(Error, at, "a record of %d bytes where the label has a filemark", len(rec))
			return nil, nil
		default:
			c.say(Error, at, "the label cannot be read: %v", err)
			return nil, nil
		}
	}
	l := &label{}
	if !c.vol1(l, tape.Position{Partition: p}, records[0]) {
		return nil, nil
	}
	if !c.labelXML(l, tape.Position{Partition: p, Block: 2}, records[1]) {
		return nil, nil
	}
	return l, nil
}

// vol1 checks the VOL1 record. Its fields, as bytes 0 to 79: "VOL1", serial (6),
// accessibility (1), reserved (13), implementation (13), owner (14), reserved (28),
// standard version (1).
func (c *checker) vol1(l *label, at tape.Position, b []byte) bool {
	if len(b) != 80 || string(b[:4]) != "VOL1" {
		c.say(Error, at, "the first record has %d bytes and begins with %q; an LTFS volume begins with 80 bytes, VOL1", len(b), b[:min(len(b), 16)])
		return false
	}
	field := func(from, to int) string { return strings.TrimRight(string(b[from:to]), " ") }
	if got := field(24, 37); got != "LTFS" {
		c.say(Error, at, "VOL1 names the implementation %q, not LTFS", got)
		return false
	}
	if b[79] != '4' {
		c.say(Error, at, "VOL1 has standard version %q, not 4", b[79:])
	}
	l.serial = field(4, 10)
	for _, ch := range []byte(l.serial) {
		if (ch < 'A' || ch > 'Z') && (ch < '0' || ch > '9') {
			c.say(Error, at, "volume serial %q: only A to Z and 0 to 9 are allowed", l.serial)
			break
		}
	}
	if len(l.serial) != 6 {
		c.say(Warning, at, "volume serial %q is not of 6 characters", l.serial)
	}
	if b[10] != 'L' {
		c.say(Error, at, "VOL1 has accessibility %q, not L", b[10:11])
	}
	for _, r := range [][2]int{{11, 24}, {51, 79}} {
		if got := field(r[0], r[1]); got != "" {
			c.say(Error, at, "VOL1 has %q in bytes %d to %d, which are spaces", got, r[0], r[1]-1)
		}
	}
	return true
}

// labelXML checks the label's XML record.
func (c *checker) labelXML(l *label, at tape.Position, b []byte) bool {
	d := newReader(bytes.NewReader(b))
	e, err := d.document("ltfslabel")
	if err != nil {
		c.say(Error, at, "the label cannot be read: %v", err)
		return false
	}
	ok := true
	bad := func(text string) {
		c.say(Error, at, "label: %s", text)
		ok = false
	}
	f := fields{e: e, bad: bad, odd: func(text string) { c.say(Note, at, "label: %s", text) }}
	f.only("creator", "formattime", "volumeuuid", "location", "partitions", "blocksize", "compression")
	l.version = attr(e.attrs, "version")
	if !strings.HasPrefix(l.version, "2.") && !strings.HasPrefix(l.version, "1.") {
		bad("version " + quote(l.version))
	}
	l.creator = f.text("creator")
	f.creator()
	f.time("formattime")
	l.formatted = f.text("formattime")
	l.uuid = f.uuid("volumeuuid")
	l.blockSize = f.number("blocksize")
	l.compression = f.text("compression")
	f.boolean("compression")
	if ok && (l.blockSize < 4096 || l.blockSize > 1<<24-1) {
		bad("blocksize is outside 4096 to 16777215")
	}
	if loc := f.one("location"); loc != nil {
		g := f.in(loc)
		g.only("partition")
		l.location = g.partition("partition")
	}
	if parts := f.one("partitions"); parts != nil {
		g := f.in(parts)
		g.only("index", "data")
		l.index, l.data = g.partition("index"), g.partition("data")
	}
	l.rest = withoutLocation(b)
	return ok
}

// withoutLocation returns the label's XML with the content of its location element
// left out.
func withoutLocation(b []byte) []byte {
	d := xml.NewDecoder(bytes.NewReader(b))
	from, to := int64(-1), int64(-1)
	for {
		t, err := d.Token()
		if err != nil {
			return b
		}
		switch t := t.(type) {
		case xml.StartElement:
			if t.Name.Local == "location" {
				from = d.InputOffset()
			}
		case xml.EndElement:
			if t.Name.Local == "location" && from >= 0 {
				to = d.InputOffset()
			}
		}
		if to >= 0 {
			return append(bytes.Clone(b[:from]), b[to:]...)
		}
	}
}
