package sg

import (
	"bytes"
	"encoding/binary"
	stderrors "errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pkg/errors"

	"sliod/tape/scsi"
)

// SerialPrefix begins the name of a device by its serial number, which survives a
// reboot: "serial:1013000123". The other names are paths.
const SerialPrefix = "serial:"

// host is where devices are looked up: this machine, or what a test has made.
type host struct {
	sys, dev, proc string
	open           func(path string, a access) (device, error)
}

// device is an open device.
type device interface {
	scsi.Transport
	MaxTransfer() int
}

var thisHost = &host{sys: "/sys", dev: "/dev", proc: procDir, open: func(path string, a access) (device, error) {
	t, err := open(path, a)
	if err != nil {
		return nil, err
	}
	return t, nil
}}

// entry is what the kernel knows of a drive or changer without asking it again.
type entry struct {
	path     string // of the sg node
	kind     uint8  // scsi.DeviceTape or scsi.DeviceChanger
	vendor   string
	product  string
	revision string
	serial   string   // "" if the kernel has not read it
	aliases  []string // names of the device's other nodes: st0, nst0, sch0
}

// entries lists the tape drives and changers, in the order of their numbers. A machine
// without the sg module has none.
func (h *host) entries() ([]entry, error) {
	dir := filepath.Join(h.sys, "class", "scsi_generic")
	list, err := os.ReadDir(dir)
	if stderrors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, errors.Wrap(err, "sg: list the SCSI generic devices")
	}
	slices.SortFunc(list, func(a, b os.DirEntry) int { return byNumber(a.Name(), b.Name()) })
	var out []entry
	for _, d := range list {
		attributes := filepath.Join(dir, d.Name(), "device")
		e := entry{path: filepath.Join(h.dev, d.Name()), vendor: attribute(attributes, "vendor"), product: attribute(attributes, "model"),
			revision: attribute(attributes, "rev"), aliases: []string{d.Name()}}
		switch attribute(attributes, "type") {
		case "1":
			e.kind = scsi.DeviceTape
		case "8":
			e.kind = scsi.DeviceChanger
		default:
			continue // a disk, or one that has just gone
		}
		if page, err := os.ReadFile(filepath.Join(attributes, "vpd_pg80")); err == nil && len(page) > 4 {
			e.serial = printable(page[4:min(len(page), 4+int(binary.BigEndian.Uint16(page[2:])))])
		}
		for _, class := range []string{"scsi_tape", "scsi_changer"} {
			others, _ := os.ReadDir(filepath.Join(attributes, class)) // none: the driver st or ch is not loaded
			for _, o := range others {
				e.aliases = append(e.aliases, o.Name())
			}
		}
		out = append(out, e)
	}
	return out, nil
}

// byNumber orders sg2 before sg10.
func byNumber(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func attribute(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return printable(b)
}

// printable takes a field's text without padding; what would harm a terminal is cut off.
func printable(b []byte) string {
	if i := bytes.IndexFunc(b, func(r rune) bool { return r < ' ' && r != 0 || r > '~' }); i >= 0 {
		b = b[:i]
	}
	return strings.Trim(string(b), " \x00")
}

// names are the links of /dev/tape that lead to e: unlike its number they stay the same
// after a reboot. Those by identity come first.
func (h *host) names(e *entry) []string {
	var out []string
	for _, kind := range []string{"by-id", "by-path"} {
		links, _ := filepath.Glob(filepath.Join(h.dev, "tape", kind, "*")) // the pattern is sound
		for _, link := range links {
			if to, err := filepath.EvalSymlinks(link); err == nil && slices.Contains(e.aliases, filepath.Base(to)) {
				out = append(out, link)
			}
		}
	}
	return out
}

// resolve turns a name of the configuration into the path of an sg node: a
// "serial:" name, a node of any of the device's drivers (/dev/nst0), or a link to one.
func (h *host) resolve(name string) (string, error) {
	list, err := h.entries()
	if err != nil {
		return "", err
	}
	if serial, ok := strings.CutPrefix(name, SerialPrefix); ok {
		var found, have []string
		for i := range list {
			e := &list[i]
			if s := h.serial(e); s == serial {
				found = append(found, e.path)
			} else if s != "" {
				have = append(have, SerialPrefix+s)
			}
		}
		switch {
		case len(found) == 1:
			return found[0], nil
		case len(found) > 1:
			return "", errors.Errorf("sg: %s are all the device %s, by several ways: name one by a link of /dev/tape/by-path", strings.Join(found, ", "), name)
		case len(have) == 0:
			return "", errors.Errorf("sg: no device of this machine has the name %s: no serial number of a drive or changer can be read", name)
		}
		return "", errors.Errorf("sg: no device of this machine has the name %s; there are %s", name, strings.Join(have, ", "))
	}
	to, err := filepath.EvalSymlinks(name)
	if err != nil {
		return "", errors.Wrapf(err, "sg: there is no %s: \"sliod discover\" lists the devices of this machine", name)
	}
	for i := range list {
		if slices.Contains(list[i].aliases, filepath.Base(to)) && filepath.Dir(to) == filepath.Clean(h.dev) {
			return list[i].path, nil
		}
	}
	return to, nil // opening it says what is wrong with it
}

// serial is e's serial number: the kernel's, or else the device is asked. "": it has
// none, or cannot be asked.
func (h *host) serial(e *entry) string {
	if e.serial == "" {
		if d, err := h.open(e.path, toAsk); err == nil {
			_, e.serial, _ = identify(d)
			_ = d.Close() // nothing was changed
		}
	}
	return e.serial
}
