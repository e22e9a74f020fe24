package sg

import (
	"context"
	stderrors "errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"sliod/tape"
	"sliod/tape/scsi"
)

// Device is a drive or a changer of this machine.
type Device struct {
	Path     string   `json:"path"`
	Vendor   string   `json:"vendor"`
	Product  string   `json:"product"`
	Revision string   `json:"revision"` // of the firmware
	Serial   string   `json:"serial"`
	Names    []string `json:"names"`             // links of /dev/tape that lead to it, also after a reboot
	Problem  string   `json:"problem,omitempty"` // why it could not be asked: what is known then is the kernel's
	InUse    bool     `json:"in_use,omitempty"`  // the problem is that another process has it
}

// Drive is a tape drive, and the place that a changer has it in.
type Drive struct {
	Device
	Changer string `json:"changer,omitempty"` // the path of its changer, if one names it
	Element uint16 `json:"element,omitempty"` // its address
	Volume  string `json:"volume,omitempty"`  // the barcode of what is in it
}

// Changer is a medium changer, and what it says of its elements.
type Changer struct {
	Device
	Slots        int            `json:"slots"`
	ImportExport int            `json:"import_export"`
	Cartridges   int            `json:"cartridges"`
	Drives       []DriveElement `json:"drives"`
	Notes        []string       `json:"notes,omitempty"` // how drives were matched to elements, if not by equal serial numbers
}

// DriveElement is a place for a drive in a changer.
type DriveElement struct {
	Element  uint16 `json:"element"`
	Reported string `json:"reported_serial"` // as the changer tells it
	Path     string `json:"path,omitempty"`  // the drive's, if it is a device of this machine
	Volume   string `json:"volume,omitempty"`
}

// Found is what Discover found.
type Found struct {
	Changers []Changer `json:"changers"`
	Drives   []Drive   `json:"drives"`
	// NoAccess: there are devices, and this user may open none of them.
	NoAccess bool `json:"no_access,omitempty"`
	// NoModule: the kernel has no sg driver loaded.
	NoModule bool `json:"no_module,omitempty"`
}

// Discover asks all drives and changers of this machine what they are and what is where. It moves
// nothing, and it does not disturb a server that uses them: that one's devices are shown as
// the kernel knows them.
func Discover(ctx context.Context) (*Found, error) { return thisHost.discover(ctx) }

func (h *host) discover(ctx context.Context) (*Found, error) {
	list, err := h.entries()
	if err != nil {
		return nil, err
	}
	f := &Found{Changers: []Changer{}, Drives: []Drive{}}
	if _, err := os.Stat(filepath.Join(h.sys, "class", "scsi_generic")); err != nil {
		f.NoModule = true
	}
	denied := 0
	elements := map[string][]tape.Element{} // by the changer's path
	for i := range list {
		e := &list[i]
		d := Device{Path: e.path, Vendor: e.vendor, Product: e.product, Revision: e.revision, Serial: e.serial, Names: h.names(e)}
		dev, err := h.open(e.path, toAsk)
		if err == nil {
			if e.kind == scsi.DeviceChanger {
				elements[e.path], err = inventory(ctx, dev, &d)
			} else {
				err = d.ask(dev)
			}
			err = stderrors.Join(err, dev.Close())
		}
		if err != nil {
			d.Problem = err.Error()
			d.InUse = stderrors.Is(err, unix.EBUSY)
			if stderrors.Is(err, os.ErrPermission) {
				denied++
			}
		}
		if e.kind == scsi.DeviceChanger {
			f.Changers = append(f.Changers, Changer{Device: d, Drives: []DriveElement{}})
		} else {
			f.Drives = append(f.Drives, Drive{Device: d})
		}
	}
	f.NoAccess = denied > 0 && denied == len(list)
	for i := range f.Changers {
		f.place(&f.Changers[i], elements[f.Changers[i].Path])
	}
	return f, nil
}

// ask learns from the device what it is.
func (d *Device) ask(dev scsi.Transport) error {
	q, serial, err := identify(dev)
	if err != nil {
		return err
	}
	d.Vendor, d.Product, d.Revision = q.Vendor, q.Product, q.Revision
	if serial != "" {
		d.Serial = serial
	}
	return nil
}

func inventory(ctx context.Context, dev scsi.Transport, d *Device) ([]tape.Element, error) {
	if err := d.ask(dev); err != nil {
		return nil, err
	}
	c, err := scsi.NewChanger(dev, scsi.ChangerOptions{})
	if err != nil {
		return nil, err
	}
	es, err := c.Inventory(ctx)
	return es, errors.WithMessage(err, "ask the changer what is where")
}

// place tells a changer's elements, and which of them hold which drives of this
// machine.
func (f *Found) place(c *Changer, elements []tape.Element) {
	var free []int // drives that no changer has claimed
	var serials []string
	for i := range f.Drives {
		if f.Drives[i].Changer == "" {
			free, serials = append(free, i), append(serials, f.Drives[i].Serial)
		}
	}
	m := matchDrives(elements, serials, false)
	c.Notes = m.notes
	for _, e := range elements {
		if e.Full && e.Kind != tape.Arm {
			c.Cartridges++
		}
		switch e.Kind {
		case tape.Slot:
			c.Slots++
		case tape.ImportExport:
			c.ImportExport++
		case tape.DriveElement:
			de := DriveElement{Element: e.Address, Reported: printable([]byte(e.Drive)), Volume: printable([]byte(e.Volume))}
			if i := slices.Index(serials, m.serial[e.Address]); i >= 0 && serials[i] != "" {
				d := &f.Drives[free[i]]
				d.Changer, d.Element, d.Volume = c.Path, e.Address, de.Volume
				de.Path = d.Path
			}
			c.Drives = append(c.Drives, de)
		}
	}
}
