package sg

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// machine is a host in a temporary folder, whose devices are those of emulated libraries.
type machine struct {
	*host
	devices map[string]scsi.Transport // by path
	refuse  map[string]error          // by path: opening it fails
	opened  map[string]int            // how often, by path
	closed  map[string]int
}

func newMachine(t *testing.T) *machine {
	root := t.TempDir()
	m := &machine{devices: map[string]scsi.Transport{}, refuse: map[string]error{}, opened: map[string]int{}, closed: map[string]int{}}
	m.host = &host{sys: filepath.Join(root, "sys"), dev: filepath.Join(root, "dev"), proc: filepath.Join(root, "proc"), open: m.open}
	m.file(t, filepath.Join(m.dev, "null"), "")
	return m
}

// openDevice counts its Close.
type openDevice struct {
	scsi.Transport
	m    *machine
	path string
}

func (d *openDevice) MaxTransfer() int { return 1 << 20 }
func (d *openDevice) Close() error     { d.m.closed[d.path]++; return nil }

func (m *machine) open(path string, a access) (device, error) {
	if err := m.refuse[path]; err != nil && (a != toAsk || !errors.Is(err, unix.EBUSY)) {
		return nil, errors.WithMessagef(err, "sg: open %s", path)
	}
	tr := m.devices[path]
	if tr == nil {
		return nil, errors.Wrapf(unix.ENXIO, "sg: open %s", path)
	}
	m.opened[path]++
	return &openDevice{tr, m, path}, nil
}

// leaks checks that what was opened was closed.
func (m *machine) leaks(t *testing.T) {
	t.Helper()
	for path, n := range m.opened {
		if m.closed[path] != n {
			t.Errorf("%s was opened %d times and closed %d times", path, n, m.closed[path])
		}
	}
}

func (m *machine) file(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// add makes the device sgN, as sysfs shows it. Without a serial number sysfs has none.
func (m *machine) add(t *testing.T, n, kind int, serial string, tr scsi.Transport, aliases ...string) string {
	t.Helper()
	name := "sg" + strconv.Itoa(n)
	attributes := filepath.Join(m.sys, "class", "scsi_generic", name, "device")
	m.file(t, filepath.Join(attributes, "type"), strconv.Itoa(kind)+"\n")
	m.file(t, filepath.Join(attributes, "vendor"), "KERNEL  \n")
	m.file(t, filepath.Join(attributes, "model"), "MODEL           \n")
	m.file(t, filepath.Join(attributes, "rev"), "0009\n")
	if serial != "" {
		page := binary.BigEndian.AppendUint16([]byte{byte(kind), 0x80}, uint16(len(serial)))
		m.file(t, filepath.Join(attributes, "vpd_pg80"), string(page)+serial)
	}
	for _, a := range append(aliases, name) {
		m.file(t, filepath.Join(m.dev, a), "")
		if a != name {
			m.file(t, filepath.Join(attributes, "scsi_tape", a, "dev"), "9:0\n")
		}
	}
	path := filepath.Join(m.dev, name)
	if tr != nil {
		m.devices[path] = tr
	}
	return path
}

func (m *machine) link(t *testing.T, name, to string) string {
	t.Helper()
	link := filepath.Join(m.dev, "tape", name)
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(m.dev, to), link); err != nil {
		t.Fatal(err)
	}
	return link
}

func emulated(t *testing.T) *virtual.Library {
	t.Helper()
	l, err := virtual.Open(virtual.Config{Dir: t.TempDir(), Drives: 2, Slots: 8, Cartridges: 4, Capacity: 32 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// emulatedMachine has an emulated library as sg1, sg2 (drives) and sg10 (changer), and a disk.
func emulatedMachine(t *testing.T) (*machine, *virtual.Library) {
	m, l := newMachine(t), emulated(t)
	m.add(t, 0, 0, "DISK", nil)
	m.add(t, 10, 8, "VL00000001", l.Transport(virtual.Changer))
	m.add(t, 2, 1, "VD00000002", l.Transport(1), "st1", "nst1")
	m.add(t, 1, 1, "VD00000001", l.Transport(0), "st0", "nst0")
	return m, l
}

func TestEntries(t *testing.T) {
	m := newMachine(t)
	if list, err := m.entries(); err != nil || len(list) != 0 {
		t.Fatalf("a machine without the module: %v, %v", list, err)
	}
	m.add(t, 11, 8, "\x00\x00 LIB001 ", nil)
	m.add(t, 2, 1, "  DRIVE\x1b[2J", nil, "st0", "nst0")
	m.add(t, 1, 0, "DISK", nil)
	list, err := m.entries()
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	d, c := list[0], list[1]
	if filepath.Base(d.path) != "sg2" || d.kind != scsi.DeviceTape || d.vendor != "KERNEL" || d.product != "MODEL" || d.revision != "0009" || d.serial != "DRIVE" ||
		!slices.Equal(d.aliases, []string{"sg2", "nst0", "st0"}) {
		t.Errorf("%+v", d)
	}
	if filepath.Base(c.path) != "sg11" || c.kind != scsi.DeviceChanger || c.serial != "LIB001" {
		t.Errorf("%+v", c)
	}
}

func TestResolve(t *testing.T) {
	m, l := emulatedMachine(t)
	id := m.link(t, "by-id/scsi-VD00000002-nst", "nst1")
	m.add(t, 3, 1, "", l.Transport(1)) // sysfs does not know it: the same drive by another way
	for name, want := range map[string]string{
		"serial:VD00000001": "sg1", "serial:VL00000001": "sg10", filepath.Join(m.dev, "sg2"): "sg2", filepath.Join(m.dev, "nst0"): "sg1", id: "sg2", filepath.Join(m.dev, "null"): "null",
	} {
		if got, err := m.resolve(name); err != nil || filepath.Base(got) != want {
			t.Errorf("%s is %s, %v; want %s", name, got, err, want)
		}
	}
	for name, want := range map[string]string{
		"serial:NONE":       "no device of this machine has the name serial:NONE; there are serial:VD00000001, serial:VD00000002, serial:VD00000002, serial:VL00000001",
		"serial:VD00000002": "are all the device serial:VD00000002, by several ways: name one by a link of /dev/tape/by-path", "/nonexistent/sg7": "there is no /nonexistent/sg7",
	} {
		if got, err := m.resolve(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is %s, %v", name, got, err)
		}
	}
	if _, err := newMachine(t).resolve("serial:X"); err == nil || !strings.Contains(err.Error(), "no serial number of a drive or changer can be read") {
		t.Error(err)
	}
	m.leaks(t)
}

func TestHolders(t *testing.T) {
	m := newMachine(t)
	for i, who := range []string{"sliod", "mtx"} {
		dir := filepath.Join(m.proc, fmt.Sprint(100+i))
		m.file(t, filepath.Join(dir, "comm"), who+"\n")
		for fd, to := range []string{"/dev/sg3", "/dev/sg3", "/dev/null"} {
			if err := os.MkdirAll(filepath.Join(dir, "fd"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(to, filepath.Join(dir, "fd", strconv.Itoa(fd))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := holders(m.proc, "/dev/sg3"); got != "sliod (process 100) and mtx (process 101)" {
		t.Error(got)
	}
	if got := holders(m.proc, "/dev/sg4"); got != "" {
		t.Error(got)
	}
}

func TestCapacity(t *testing.T) {
	for barcode, want := range map[string]int64{"A00001L9": 18e12, "A00001M8": 9e12, "A00001LX": 6e12, "L9": 0, "CLN001CU": 0, "": 0, "EMPTY000": 0} {
		if got := capacityOf(tapeBarcode(barcode)); got != want {
			t.Errorf("%q: %d, want %d", barcode, got, want)
		}
	}
}
