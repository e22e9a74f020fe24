package virtual

import (
	"encoding/json"
	stderrors "errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/pkg/errors"

	"sliod/tape"
)

const placesFormat = 1

// First element addresses of each kind.
const (
	armAddress   = 1
	mailAddress  = 16
	driveAddress = 256
	slotAddress  = 1024
)

// places is what is where: the file "library", replaced as a whole by every
// move.
type places struct {
	Format   int                     `json:"format"`
	Elements map[uint16]placedVolume `json:"elements"` // the full ones, by address
}

type placedVolume struct {
	Volume tape.Barcode `json:"volume"`
	Source uint16       `json:"source,omitempty"` // the element that it came from; 0: none
}

func (p places) save(dir string) error {
	b, err := json.MarshalIndent(p, "", "\t")
	if err != nil {
		return errors.WithStack(err)
	}
	return replaceFile(filepath.Join(dir, "library"), append(b, '\n'))
}

// Exists says whether there is a library in dir, which Open would not have to make. One that cannot be looked at is.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "library"))
	return !stderrors.Is(err, os.ErrNotExist)
}

func (l *Library) cartridgeDir(b tape.Barcode) string {
	return filepath.Join(l.cfg.Dir, "volumes", string(b))
}

// openPlaces reads what is where, or makes a new library. The places file is
// written last: without it the library is new, and a crash while it was made does no
// harm.
func (l *Library) openPlaces() error {
	b, err := os.ReadFile(filepath.Join(l.cfg.Dir, "library"))
	if stderrors.Is(err, os.ErrNotExist) {
		return l.create()
	}
	if err != nil {
		return errors.WithStack(err)
	}
	if err := json.Unmarshal(b, &l.places); err != nil {
		return errors.Wrapf(err, "virtual: %s is damaged", filepath.Join(l.cfg.Dir, "library"))
	}
	if l.places.Format != placesFormat {
		return errors.Errorf("virtual: %s has format %d, this program knows %d", l.cfg.Dir, l.places.Format, placesFormat)
	}
	return l.reconcile()
}

func (l *Library) create() error {
	l.places = places{placesFormat, map[uint16]placedVolume{}}
	for i := range l.cfg.Cartridges {
		barcode := tape.Barcode(fmt.Sprintf("A%05d%s", i+1, l.gen.Suffix))
		if err := createCartridge(l.cartridgeDir(barcode), barcode, l.cfg.Cartridge, l.cfg.Capacity); err != nil {
			return err
		}
		l.places.Elements[slotAddress+uint16(i)] = placedVolume{Volume: barcode}
	}
	for i := range l.cfg.Cleaners {
		barcode := tape.Barcode(fmt.Sprintf("CLNU%02dL1", i+1))
		if err := createCleaner(l.cartridgeDir(barcode), barcode); err != nil {
			return err
		}
		l.places.Elements[slotAddress+uint16(l.cfg.Slots-l.cfg.Cleaners+i)] = placedVolume{Volume: barcode}
	}
	if err := os.MkdirAll(filepath.Join(l.cfg.Dir, "volumes"), 0o700); err != nil {
		return errors.WithStack(err)
	}
	if err := syncDir(filepath.Join(l.cfg.Dir, "volumes")); err != nil {
		return err
	}
	if err := syncDir(l.cfg.Dir); err != nil {
		return err
	}
	return l.places.save(l.cfg.Dir)
}

// reconcile fits the places to the elements that there are now: a cartridge whose
// element is gone goes to a free slot. Drives of another generation have not these cartridges.
func (l *Library) reconcile() error {
	var homeless []uint16
	for a, v := range l.places.Elements {
		m, err := readMemory(l.cartridgeDir(v.Volume))
		if err != nil {
			return errors.WithMessagef(err, "volume %s of element %d", v.Volume, a)
		}
		if m.Type != l.cfg.Cartridge && m.Type != cleanerType {
			return errors.Errorf("virtual: cartridge %s in %s is %s, and the library is to be of %s: set library.cartridge to %q, or choose another folder with library.dir",
				v.Volume, l.cfg.Dir, m.Type, l.cfg.Cartridge, m.Type)
		}
		if l.kind(a) == 0 {
			homeless = append(homeless, a)
		}
	}
	if len(homeless) == 0 {
		return nil
	}
	slices.Sort(homeless)
	for _, a := range homeless {
		free := uint16(0)
		for i := range l.cfg.Slots {
			if to := slotAddress + uint16(i); l.places.Elements[to].Volume == "" {
				free = to
				break
			}
		}
		if free == 0 {
			return errors.Errorf("virtual: the library in %s holds %d cartridges, which %d slots and %d drives cannot take: give it more slots",
				l.cfg.Dir, len(l.places.Elements), l.cfg.Slots, l.cfg.Drives)
		}
		l.places.Elements[free] = placedVolume{Volume: l.places.Elements[a].Volume}
		delete(l.places.Elements, a)
	}
	return l.places.save(l.cfg.Dir)
}

// kind says what kind of element has an address; 0: none.
func (l *Library) kind(a uint16) tape.ElementKind {
	switch n := int(a); {
	case n == armAddress:
		return tape.Arm
	case n >= slotAddress && n < slotAddress+l.cfg.Slots:
		return tape.Slot
	case n >= mailAddress && n < mailAddress+l.cfg.ImportExport:
		return tape.ImportExport
	case n >= driveAddress && n < driveAddress+l.cfg.Drives:
		return tape.DriveElement
	}
	return 0
}
