package sg

import (
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"sliod/tape"
	"sliod/tape/scsi"
)

// Options say which devices make a library. Names are paths or begin with SerialPrefix.
type Options struct {
	Changer string   // "": the only changer of this machine
	Devices []string // of the drives; empty: those whose serial numbers the changer reports
	Log     *logrus.Entry
}

// OpenLibrary opens a changer and its drives, as their only SLIOD; the drives for this
// process alone. A drive that does not
// answer is left out and logged, as long as another does; one that is in use is an
// error, and so is one that is in no element. ctx bounds the opening.
func OpenLibrary(ctx context.Context, o Options) (*tape.Library, error) {
	return thisHost.library(ctx, o)
}

// opened is one drive on its way into a library.
type opened struct {
	name   string // as configured, or its path
	dev    device
	drive  *scsi.Drive // nil: it could not be opened
	serial string
}

func (h *host) library(ctx context.Context, o Options) (lib *tape.Library, err error) {
	if o.Log == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		o.Log = logrus.NewEntry(silent)
	}
	var devices []device
	closeAll := func() error {
		var all error
		for _, d := range devices {
			all = stderrors.Join(all, d.Close())
		}
		return all
	}
	defer func() {
		if err != nil {
			_ = closeAll() // err is the one to tell
		}
	}()
	path, err := h.changerPath(o.Changer)
	if err != nil {
		return nil, err
	}
	cdev, err := h.open(path, toShare)
	if err != nil {
		return nil, errors.WithMessage(err, "open the changer")
	}
	devices = append(devices, cdev)
	q, serial, err := identify(cdev)
	if err != nil {
		return nil, errors.WithMessagef(err, "ask the changer at %s", path)
	}
	changer, err := scsi.NewChanger(cdev, scsi.ChangerOptions{Log: o.Log})
	if err != nil {
		return nil, errors.WithMessagef(err, "open the changer at %s", path)
	}
	elements, err := changer.Inventory(ctx)
	if err != nil {
		return nil, errors.WithMessagef(err, "ask the changer at %s what is where", path)
	}
	drives, err := h.drives(o, elements)
	for _, d := range drives {
		if d.dev != nil {
			devices = append(devices, d.dev)
		}
	}
	if err != nil {
		return nil, err
	}
	serials := make([]string, len(drives))
	for i, d := range drives {
		serials[i] = d.serial
	}
	m := matchDrives(elements, serials, len(o.Devices) > 0)
	if err := m.missing(elements, serials); err != nil {
		return nil, err
	}
	for _, note := range m.notes {
		o.Log.Warn(note)
	}
	lib = &tape.Library{Name: strings.TrimSpace(fmt.Sprintf("%s %s %s at %s", q.Vendor, q.Product, serial, path)),
		Changer: &namedChanger{changer, m.serial}, VolumeBytes: capacityOf}
	lib.Close = func() error {
		for _, d := range drives {
			if d.drive == nil {
				continue
			}
			if err := d.drive.Release(context.Background()); err != nil {
				o.Log.WithError(err).Warnf("drive %s may keep its cartridge until it is reset", d.serial)
			}
		}
		return closeAll()
	}
	for _, d := range drives {
		if d.drive != nil {
			lib.Drives = append(lib.Drives, d.drive)
		}
	}
	for _, e := range elements {
		if e.Kind == tape.DriveElement && m.serial[e.Address] == "" {
			o.Log.Warnf("element %d of the changer has a drive that is not used: %s", e.Address, orNone(e.Drive))
		}
	}
	if len(lib.Drives) == 0 {
		return nil, errors.Errorf("sg: no drive of the changer at %s can be used: \"sliod discover\" shows what this machine has", path)
	}
	return lib, nil
}

// changerPath finds the node of the configured changer, or of the only one.
func (h *host) changerPath(name string) (string, error) {
	if name != "" {
		path, err := h.resolve(name)
		return path, errors.WithMessage(err, "library.changer")
	}
	list, err := h.entries()
	if err != nil {
		return "", err
	}
	list = slices.DeleteFunc(list, func(e entry) bool { return e.kind != scsi.DeviceChanger })
	switch len(list) {
	case 0:
		return "", errors.New("sg: this machine has no medium changer: is it on, its cable plugged in, and the kernel module sg loaded (\"modprobe sg\")?")
	case 1:
		return list[0].path, nil
	}
	var names []string
	for i := range list {
		names = append(names, list[i].path)
	}
	return "", errors.Errorf("sg: this machine has several medium changers (%s): name one as library.changer", strings.Join(names, ", "))
}

// drives opens the drives of a library. What is open is returned with an error too.
func (h *host) drives(o Options, elements []tape.Element) ([]opened, error) {
	names := o.Devices
	if len(names) == 0 {
		var err error
		if names, err = h.reported(elements); err != nil {
			return nil, err
		}
	}
	var out []opened
	seen := map[string]string{} // serial number -> name
	for _, name := range names {
		d := opened{name: name}
		err := h.openDrive(&d, o.Log)
		out = append(out, d)
		switch {
		case stderrors.Is(err, unix.EBUSY), err != nil && len(names) == 1:
			return out, err
		case err != nil:
			o.Log.WithError(err).Errorf("the drive %s is left out", name)
			continue
		case seen[d.serial] != "":
			return out, errors.Errorf("sg: %s and %s are the same drive, with serial number %s", seen[d.serial], name, d.serial)
		}
		seen[d.serial] = name
	}
	return out, nil
}

// openDrive opens the drive d.name. d.dev is set if there is something to close.
func (h *host) openDrive(d *opened, log *logrus.Entry) error {
	path, err := h.resolve(d.name)
	if err != nil {
		return err
	}
	dev, err := h.open(path, toOwn)
	if err != nil {
		return err
	}
	d.dev = dev
	drive, err := scsi.NewDrive(dev, scsi.DriveOptions{Log: log, MaxTransfer: dev.MaxTransfer()})
	if err != nil {
		return errors.WithMessagef(err, "open the drive at %s", path)
	}
	if drive.Serial() == "" {
		return errors.Errorf("sg: the drive at %s tells no serial number, by which it would be known", path)
	}
	d.drive, d.serial = drive, drive.Serial()
	return nil
}

// reported finds the drives that the changer names.
func (h *host) reported(elements []tape.Element) ([]string, error) {
	list, err := h.entries()
	if err != nil {
		return nil, err
	}
	var serials, paths []string
	for i := range list {
		if e := &list[i]; e.kind == scsi.DeviceTape && !slices.Contains(serials, h.serial(e)) {
			serials, paths = append(serials, h.serial(e)), append(paths, e.path)
		}
	}
	m := matchDrives(elements, serials, false)
	var out []string
	for i, s := range serials {
		for _, have := range m.serial {
			if have == s && s != "" {
				out = append(out, paths[i])
			}
		}
	}
	if len(out) == 0 {
		return nil, errors.New("sg: the changer names no drive of this machine by its serial number: list its drives as library.devices, in the order of its elements")
	}
	return out, nil
}
