package virtual

import (
	"context"
	"math"

	"github.com/pkg/errors"

	"sliod/tape"
	"sliod/tape/scsi"
)

// pageMedium is mode page 1Dh, medium configuration: its one bit says WORM.
const pageMedium = 0x1D

func (d *drive) mediumPage() scsi.ModePage {
	data := make([]byte, 30)
	if d.state == ready && d.cart.mem.WORM {
		data[0], data[2], data[3] = 1, 1, 1 // WORM; labels and filemarks are restricted too
	}
	return scsi.ModePage{Page: pageMedium, Data: data}
}

// formatAllowed is the place that ALLOW OVERWRITE for a FORMAT notes: no write is there.
var formatAllowed = tape.Position{Block: math.MaxUint64}

// allowOverwrite is ALLOW OVERWRITE: in append-only mode the next write at the place may
// overwrite (1), or the next command format (2). It never helps on a WORM medium.
func (d *drive) allowOverwrite(b scsi.AllowOverwrite) *scsi.Sense {
	switch b.Mode {
	case 0:
		d.allowed = nil
	case 1:
		at := tape.Position{Partition: tape.Partition(b.Partition), Block: tape.BlockNo(b.Block)}
		if int(b.Partition) != d.partition || b.Block != uint64(d.block) {
			return badField // it must name the place where the head is
		}
		d.allowed = &at
	case 2:
		at := formatAllowed
		d.allowed = &at
	default:
		return badField
	}
	return nil
}

// SetWORM makes a cartridge one that is written once, or an ordinary one again. It must not be in
// a drive that has it threaded.
func (l *Library) SetWORM(v tape.Barcode, worm bool) error {
	return l.changeMemory(v, func(m *memory) { m.WORM = worm })
}

// SetWriteProtect moves the tab of a cartridge, which must not be in a drive that has it
// threaded.
func (l *Library) SetWriteProtect(v tape.Barcode, protect bool) error {
	return l.changeMemory(v, func(m *memory) { m.WriteProtected = protect })
}

func (l *Library) changeMemory(v tape.Barcode, change func(*memory)) error {
	if err := l.take(context.Background(), l.changer.turn); err != nil {
		return err
	}
	defer func() { l.changer.turn <- struct{}{} }()
	for a, p := range l.places.Elements {
		if p.Volume != v {
			continue
		}
		if l.kind(a) == tape.DriveElement {
			d := l.drives[a-driveAddress]
			if err := l.take(context.Background(), d.turn); err != nil {
				return err
			}
			defer func() { d.turn <- struct{}{} }()
			if d.state == ready {
				return errors.Errorf("virtual: volume %s is loaded: unload it before it is changed by hand", v)
			}
		}
		m, err := readMemory(l.cartridgeDir(v))
		if err != nil {
			return err
		}
		change(&m)
		return m.save(l.cartridgeDir(v))
	}
	return errors.Errorf("virtual: there is no volume %s in this library", v)
}
