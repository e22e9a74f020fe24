package ltfscheck

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/pkg/errors"

	"sliod/tape"
)

// attribute is a rule of the cartridge's memory (SPC-5, LTFS 2.4 annex on MAM).
type attribute struct {
	id   uint16
	len  int
	what string
}

var attributes = []attribute{
	{0x0800, 8, "application vendor"},
	{0x0801, 32, "application name"},
	{0x0802, 8, "application version"},
	{0x0803, 160, "user label"},
	{0x0805, 1, "text encoding"},
	{0x0806, 32, "barcode"},
	{0x0808, 160, "media pool"},
	{0x080B, 16, "format version"},
	{0x0820, 36, "volume GUID"},
}

// memory checks the cartridge's memory against the labels and the last indexes.
func (c *checker) memory() error {
	if !c.d.Limits().HasMAM {
		c.sayAll(Note, "the drive has no access to the cartridge's memory")
		return nil
	}
	for _, a := range attributes {
		b, ok, err := c.attribute(0, a.id)
		if err != nil {
			return err
		}
		if !ok {
			c.sayAll(Warning, "the cartridge's memory has no attribute %04X (%s)", a.id, a.what)
			continue
		}
		if len(b) != a.len {
			c.sayAll(Error, "attribute %04X (%s) has %d bytes, not %d", a.id, a.what, len(b), a.len)
		}
		s := strings.TrimRight(string(b), " \x00")
		switch a.id {
		case 0x0805:
			if len(b) == 1 && b[0] != 0x81 && b[0] != 0 {
				c.sayAll(Warning, "attribute 0805 says text encoding %02Xh; UTF-8 is 81h", b[0])
			}
		case 0x0806:
			if s != "" && !strings.HasPrefix(s, c.label.serial) {
				c.sayAll(Warning, "attribute 0806 has barcode %q; the volume serial is %q", s, c.label.serial)
			}
		case 0x080B:
			if s != c.label.version {
				c.sayAll(Error, "attribute 080B says format version %q, the label %q", s, c.label.version)
			}
		case 0x0820:
			if !strings.EqualFold(s, c.label.uuid) {
				c.sayAll(Error, "attribute 0820 is of volume %q, the label of %q", s, c.label.uuid)
			}
		}
	}
	for _, p := range c.parts {
		if err := c.coherency(p); err != nil {
			return err
		}
	}
	return nil
}

// attribute reads one attribute; false: it is not there.
func (c *checker) attribute(p tape.Partition, id uint16) ([]byte, bool, error) {
	b, err := c.d.ReadAttribute(c.ctx, p, id)
	switch tape.KindOf(err) {
	case tape.NotFound, tape.IllegalRequest:
		return nil, false, nil
	case tape.MediumError:
		c.sayAll(Error, "attribute %04X of partition %d cannot be read: %v", id, p, err)
		return nil, false, nil
	}
	return b, err == nil, errors.WithMessagef(err, "read attribute %04X of partition %d", id, p)
}

// coherency checks 080C: length of the volume change reference (1), that reference
// (8), generation (8), first block of the index (8), length of what follows (2),
// "LTFS" and zero (5), UUID and zero (37), version (1).
func (c *checker) coherency(p *part) error {
	// It is one of the medium; others ask partition 0 for it, too.
	vcr, known, err := c.attribute(0, 0x0009)
	if err != nil {
		return err
	}
	b, ok, err := c.attribute(p.no, 0x080C)
	if err != nil {
		return err
	}
	at := tape.Position{Partition: p.no}
	switch {
	case !ok:
		c.say(Warning, at, "partition %s has no attribute 080C: whoever mounts it must search for the index", p.letter)
		return nil
	case len(b) != 70:
		c.say(Error, at, "attribute 080C has %d bytes, not 70", len(b))
		return nil
	case b[0] != 8 || binary.BigEndian.Uint16(b[25:]) != 0x2B || string(b[27:32]) != "LTFS\x00" || b[68] != 0:
		c.say(Error, at, "attribute 080C is not one of LTFS: % x", b)
		return nil
	case b[69] > 1:
		c.say(Error, at, "attribute 080C has version %d", b[69])
		return nil
	}
	if uuid := strings.ToLower(string(b[32:68])); uuid != c.label.uuid {
		c.say(Error, at, "attribute 080C is of volume %s, the label of %s", uuid, c.label.uuid)
	}
	said, gen, block := binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint64(b[9:]), binary.BigEndian.Uint64(b[17:])
	now := number(vcr)
	switch {
	case !known || now == 0 || len(bytes.Trim(vcr, "\xff")) == 0:
		c.say(Warning, at, "the drive does not tell the volume change reference (attribute 0009): 080C cannot be trusted")
		return nil
	case said != now:
		c.say(Warning, at, "attribute 080C was valid at volume change reference %d, now it is %d: whoever mounts it must search for the index", said, now)
		return nil
	}
	if len(p.indexes) == 0 {
		return nil
	}
	if f := p.indexes[len(p.indexes)-1]; gen != f.generation || block != f.start {
		c.say(Error, at, "attribute 080C says index %d at block %d; the last is %d at block %d", gen, block, f.generation, f.start)
	}
	return nil
}

func number(b []byte) (n uint64) {
	if len(b) > 8 {
		return 0
	}
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return n
}
