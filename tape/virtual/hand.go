package virtual

import (
	"context"
	stderrors "errors"
	"maps"
	"os"
	"strings"

	"github.com/pkg/errors"

	"sliod/tape"
	"sliod/tape/scsi"
)

// Insert is an operator's hand that puts a cartridge into an empty slot or import/export
// element: one that the library has lost or given away, or else a new one: blank, or a cleaning
// cartridge if its barcode begins with CLN. The changer tells of it by a unit attention.
func (l *Library) Insert(v tape.Barcode, to uint16) error {
	return l.byHand(to, func(next places) error {
		if next.Elements[to].Volume != "" {
			return errors.Errorf("virtual: element %d holds %s: it must be empty for %s", to, next.Elements[to].Volume, v)
		}
		for a, p := range next.Elements {
			if p.Volume == v {
				return errors.Errorf("virtual: volume %s is in element %d already", v, a)
			}
		}
		if v == "" || strings.ContainsAny(string(v), "/\x00") || v[0] == '.' {
			return errors.Errorf("virtual: %q is no barcode", v)
		}
		dir := l.cartridgeDir(v)
		_, err := readMemory(dir)
		switch {
		case stderrors.Is(err, os.ErrNotExist) && isCleaner(v):
			err = createCleaner(dir, v)
		case stderrors.Is(err, os.ErrNotExist):
			err = createCartridge(dir, v, l.cfg.Cartridge, l.cfg.Capacity)
		}
		if err != nil {
			return err
		}
		next.Elements[to] = placedVolume{Volume: v}
		return nil
	})
}

// TakeOut is an operator's hand that takes the cartridge out of a slot or import/export
// element. Its files stay, for Insert. The changer tells of it by a unit attention.
func (l *Library) TakeOut(from uint16) error {
	return l.byHand(from, func(next places) error {
		if next.Elements[from].Volume == "" {
			return errors.Errorf("virtual: element %d is empty", from)
		}
		delete(next.Elements, from)
		return nil
	})
}

// byHand changes the places without the arm.
func (l *Library) byHand(at uint16, change func(next places) error) error {
	if err := l.take(context.Background(), l.changer.turn); err != nil {
		return err
	}
	defer func() { l.changer.turn <- struct{}{} }()
	k := l.kind(at)
	if k != tape.Slot && k != tape.ImportExport {
		return errors.Errorf("virtual: element %d is neither a slot nor an import/export element", at)
	}
	next := places{placesFormat, maps.Clone(l.places.Elements)}
	if err := change(next); err != nil {
		return err
	}
	if err := next.save(l.cfg.Dir); err != nil {
		return err
	}
	l.places = next
	code := scsi.CodeMediumChanged
	if k == tape.ImportExport {
		code = scsi.CodeImportExport
	}
	l.changer.attention = append(l.changer.attention, code)
	return nil
}
