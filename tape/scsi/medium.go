package scsi

import (
	"context"
	"math"

	"github.com/pkg/errors"

	"sliod/tape"
)

// maxAttribute is the largest attribute: its length field has 16 bits.
const maxAttribute = math.MaxUint16

// ReadAttribute implements tape.Drive.
func (d *Drive) ReadAttribute(ctx context.Context, p tape.Partition, id uint16) ([]byte, error) {
	as, err := d.readAttributes(ctx, ReadAttribute{Partition: uint8(p), First: id, Alloc: 9 + 512})
	if err != nil {
		// An attribute that is not there, and none behind it, is answered so.
		if s, ok := senseOf(err); ok && s.Is(IllegalKey, CodeInvalidField) && d.limits.HasMAM {
			return nil, d.missing(p, id, err)
		}
		return nil, d.place(err)
	}
	if len(as) == 0 {
		if as, err = d.readAttributes(ctx, ReadAttribute{Partition: uint8(p), First: id, Alloc: 9 + maxAttribute}); err != nil {
			return nil, d.place(err)
		}
	}
	if len(as) == 0 || as[0].ID != id {
		return nil, d.missing(p, id, nil)
	}
	return as[0].Value, nil
}

func (d *Drive) missing(p tape.Partition, id uint16, cause error) error {
	if cause == nil {
		return d.place(d.fail("read attribute", tape.NotFound, nil, errors.Errorf("no attribute %04x in partition %d", id, p)))
	}
	return d.place(d.fail("read attribute", tape.NotFound, nil, errors.WithMessagef(cause, "no attribute %04x in partition %d", id, p)))
}

// readAttributes runs c, whose answer may be cut short by its allocation length.
func (d *Drive) readAttributes(ctx context.Context, c ReadAttribute) ([]Attribute, error) {
	buf := make([]byte, c.Alloc)
	n, err := d.ask(ctx, call{"read attribute", c, In, buf, d.times.Short})
	if err != nil || c.List {
		return nil, err
	}
	as, err := ParseAttributes(buf[:n])
	if err != nil && n < 4 {
		return nil, d.fail("read attribute", tape.HardwareError, nil, err)
	}
	return as, nil
}

// WriteAttribute implements tape.Drive. An empty value deletes the attribute.
func (d *Drive) WriteAttribute(ctx context.Context, p tape.Partition, id uint16, format tape.AttributeFormat, value []byte) error {
	if len(value) > maxAttribute {
		return d.place(d.fail("write attribute", tape.IllegalRequest, nil, errors.Errorf("a value of %d bytes: at most %d", len(value), maxAttribute)))
	}
	data := AppendAttributes(nil, Attribute{ID: id, Format: format, Value: value})
	_, err := d.ask(ctx, call{"write attribute", WriteAttribute{Through: true, Partition: uint8(p), Length: uint32(len(data))}, Out, data, d.times.Short})
	return err
}

// partitioning reads mode page 11h.
func (d *Drive) partitioning(ctx context.Context) (Partitioning, error) {
	m, err := d.modeSense(ctx, PagePartitions, d.ask)
	if err != nil {
		return Partitioning{}, err
	}
	p, err := ParsePartitioning(m.Find(PagePartitions))
	if err != nil {
		return p, d.fail("mode sense", tape.HardwareError, nil, err)
	}
	return p, nil
}

// Format implements tape.Drive. With two partitions, the first gets the least that
// the medium allows from 1 GB on, and the second all the rest, as LTFS wants it.
func (d *Drive) Format(ctx context.Context, partitions int) error {
	if partitions < 1 || partitions > 2 || partitions > max(d.limits.Partitions, 1) {
		return d.place(d.fail("format", tape.IllegalRequest, nil, errors.Errorf("%d partitions wanted, the medium can have %d", partitions, d.limits.Partitions)))
	}
	if d.limits.WORM {
		return d.place(d.fail("format", tape.WriteProtected, nil, errors.New("the cartridge can be written once only (WORM)")))
	}
	// FORMAT MEDIUM is legal only at the beginning of partition 0.
	if d.limits.HasLocate {
		if err := d.Locate(ctx, tape.Position{}); err != nil {
			return err
		}
	} else if err := d.Rewind(ctx); err != nil {
		return err
	}
	if d.count != nil {
		d.count.cut(0)
	}
	format := uint8(0)
	if partitions == 2 {
		format = 1
		p, err := d.partitioning(ctx)
		if err != nil {
			return d.place(err)
		}
		p.Additional, p.Initiator, p.Unit, p.Sizes = 1, true, 9, []uint16{1, 0xFFFF}
		page := p.Page()
		data := ModeData{Buffered: 1, Pages: []ModePage{page}}.Bytes(true)
		data[0], data[1] = 0, 0 // reserved in MODE SELECT
		if _, err := d.ask(ctx, call{"mode select", ModeSelect{Ten: true, Pages: true, Length: uint16(len(data))}, Out, data, d.times.Short}); err != nil {
			return err
		}
	}
	if d.appendOnly {
		if _, err := d.run(ctx, relative, call{"allow overwrite", AllowOverwrite{Mode: OverwriteFormat}, None, nil, d.times.Short}); err != nil {
			return err
		}
	}
	_, err := d.run(ctx, relative, call{"format", FormatMedium{Format: format}, None, nil, d.times.Format})
	if refused(err) && partitions == 1 {
		err = d.blank(ctx)
	}
	if err != nil {
		return err
	}
	if d.count != nil {
		d.pos, d.known = tape.Position{}, true
		d.count.wrote(0, 0, false)
	}
	d.unflushed = false
	if err := d.capacity(ctx); err != nil {
		return d.place(err)
	}
	_, err = d.Position(ctx)
	return err
}

// blank erases the medium of a drive that has no FORMAT MEDIUM, from the beginning where the
// head is: by a short ERASE, or if it has not even that, by a filemark
// over the first block, which makes all behind it unreachable. That mark stays until
// the first record goes over it; a counting drive does not show it.
func (d *Drive) blank(ctx context.Context) error {
	_, err := d.run(ctx, relative, call{"erase", Erase6{}, None, nil, d.times.Format})
	if refused(err) {
		if _, err = d.run(ctx, relative, call{"write filemarks", WriteFilemarks6{Count: 1}, None, nil, d.times.Filemarks}); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	return d.Rewind(ctx)
}
