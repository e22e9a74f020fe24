package sg

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"golang.org/x/sys/unix"

	"sliod/tape"
	"sliod/tape/scsi"
	"sliod/tape/tapetest"
	"sliod/tape/virtual"
)

var update = flag.Bool("update", false, "write the golden files of testdata again")

func tapeBarcode(s string) tape.Barcode { return tape.Barcode(s) }

// deaf is a changer that does not tell the serial numbers of its drives: change edits
// the element descriptors of its reports.
type deaf struct {
	scsi.Transport
	change func(e *scsi.ElementStatus)
}

func (d *deaf) Do(ctx context.Context, c *scsi.Command) error {
	if err := d.Transport.Do(ctx, c); err != nil || c.CDB[0] != scsi.OpReadElementStatus || c.Status != scsi.Good {
		return err
	}
	block, err := scsi.ParseChanger(c.CDB)
	if err != nil {
		return err
	}
	q := block.(scsi.ReadElementStatus)
	es, _, err := scsi.ParseElements(c.Data[:c.Transferred()], q.DeviceIDs)
	if err != nil {
		return err
	}
	for i := range es {
		d.change(&es[i])
	}
	clear(c.Data)
	c.Residual = len(c.Data) - copy(c.Data, scsi.ElementBytes(q, es))
	return nil
}

func silence(e *scsi.ElementStatus) { e.DeviceID = scsi.DeviceID{} }

func TestMatch(t *testing.T) {
	drive := func(a uint16, serial string) tape.Element {
		return tape.Element{Address: a, Kind: tape.DriveElement, Drive: serial}
	}
	for _, tc := range []struct {
		name     string
		elements []tape.Element
		serials  []string
		ordered  bool
		want     map[uint16]string
		notes    int
		missing  string
	}{
		{"equal", []tape.Element{drive(5, "B"), drive(6, "A"), {Address: 1, Kind: tape.Slot}}, []string{"A", "B"}, true, map[uint16]string{5: "B", 6: "A"}, 0, ""},
		{"another's drive", []tape.Element{drive(5, "B"), drive(6, "C")}, []string{"B"}, true, map[uint16]string{5: "B"}, 0, ""},
		{"silent, ordered", []tape.Element{drive(5, ""), drive(6, "")}, []string{"A", "B"}, true, map[uint16]string{5: "A", 6: "B"}, 2, ""},
		{"silent, not ordered", []tape.Element{drive(5, ""), drive(6, "")}, []string{"A", "B"}, false, map[uint16]string{}, 0, "element 5 holds a drive without serial number, element 6"},
		{"silent, fewer drives", []tape.Element{drive(5, ""), drive(6, "")}, []string{"A"}, true, map[uint16]string{}, 0, "names no element for the drives A"},
		{"silent, one is dead", []tape.Element{drive(5, ""), drive(6, "")}, []string{"", "B"}, true, map[uint16]string{5: "", 6: "B"}, 2, ""},
		{"one silent", []tape.Element{drive(5, ""), drive(6, "A")}, []string{"A", "B"}, true, map[uint16]string{5: "B", 6: "A"}, 1, ""},
		{"cut off", []tape.Element{drive(5, "DRIVE001"), drive(6, "DR")}, []string{"DRIVE002", "DRIVE001"}, false, map[uint16]string{5: "DRIVE001", 6: "DRIVE002"}, 1, ""},
		{"cut off, of two", []tape.Element{drive(5, "DR"), drive(6, "DR")}, []string{"DRIVE001", "DRIVE002"}, false, map[uint16]string{}, 0, "element 5 holds DR, element 6 holds DR"},
		{"contradiction", []tape.Element{drive(5, "X"), drive(6, "Y")}, []string{"A", "B"}, true, map[uint16]string{}, 0, "element 5 holds X"},
		{"no elements", nil, []string{"A"}, true, map[uint16]string{}, 0, "names no element for the drives A"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := matchDrives(tc.elements, tc.serials, tc.ordered)
			if len(m.serial) != len(tc.want) || len(m.notes) != tc.notes {
				t.Errorf("%+v", m)
			}
			for a, s := range tc.want {
				if got, ok := m.serial[a]; !ok || got != s {
					t.Errorf("element %d: %q, want %q", a, got, s)
				}
			}
			err := m.missing(tc.elements, tc.serials)
			if (err == nil) != (tc.missing == "") || err != nil && !strings.Contains(err.Error(), tc.missing) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestOpenLibrary(t *testing.T) {
	for _, tc := range []struct {
		name    string
		setup   func(t *testing.T, m *machine, l *virtual.Library)
		changer string // "sg10" etc. stand for paths
		devices []string
		drives  string // serial numbers in the library's order, or:
		err     string
		log     string
	}{
		{name: "all found", drives: "VD00000001 VD00000002"},
		{name: "named", changer: "serial:VL00000001", devices: []string{"serial:VD00000002", "nst0"}, drives: "VD00000002 VD00000001"},
		{name: "one of two", changer: "sg10", devices: []string{"sg2"}, drives: "VD00000002", log: "element 256 of the changer has a drive that is not used: VD00000001"},
		{name: "silent changer", setup: func(t *testing.T, m *machine, l *virtual.Library) {
			m.add(t, 10, 8, "VL00000001", &deaf{l.Transport(virtual.Changer), silence})
		}, err: "list its drives as library.devices, in the order of its elements"},
		{name: "silent changer, ordered", setup: func(t *testing.T, m *machine, l *virtual.Library) {
			m.add(t, 10, 8, "VL00000001", &deaf{l.Transport(virtual.Changer), silence})
		}, devices: []string{"sg1", "sg2"}, drives: "VD00000001 VD00000002", log: "by the order of library.devices it is VD00000001"},
		{name: "silent changer, one drive of two", setup: func(t *testing.T, m *machine, l *virtual.Library) {
			m.add(t, 10, 8, "VL00000001", &deaf{l.Transport(virtual.Changer), silence})
		}, devices: []string{"sg1"}, err: "names no element for the drives VD00000001"},
		{name: "a dead drive", setup: func(t *testing.T, m *machine, _ *virtual.Library) {
			m.refuse[filepath.Join(m.dev, "sg1")] = unix.ENXIO
		}, drives: "VD00000002", log: "is left out"},
		{name: "a drive that is gone", devices: []string{"serial:GONE", "sg2"}, drives: "VD00000002", log: "the drive serial:GONE is left out"},
		{name: "all drives dead", setup: func(t *testing.T, m *machine, _ *virtual.Library) {
			m.refuse[filepath.Join(m.dev, "sg1")], m.refuse[filepath.Join(m.dev, "sg2")] = unix.ENXIO, unix.ENXIO
		}, err: "no drive of the changer at"},
		{name: "a drive in use", setup: func(t *testing.T, m *machine, _ *virtual.Library) {
			m.refuse[filepath.Join(m.dev, "sg2")] = unix.EBUSY
		}, err: "device or resource busy"},
		{name: "the changer in use", setup: func(t *testing.T, m *machine, _ *virtual.Library) {
			m.refuse[filepath.Join(m.dev, "sg10")] = unix.EBUSY
		}, err: "open the changer"},
		{name: "the same twice", devices: []string{"sg2", "nst1"}, err: "are the same drive, with serial number VD00000002"},
		{name: "a drive as changer", changer: "sg1", err: "not a medium changer"},
		{name: "a changer as drive", devices: []string{"sg10"}, err: "not a tape drive"},
		{name: "no changer", setup: func(t *testing.T, m *machine, _ *virtual.Library) {
			if err := os.RemoveAll(filepath.Join(m.sys, "class", "scsi_generic", "sg10")); err != nil {
				t.Fatal(err)
			}
		}, err: "this machine has no medium changer"},
		{name: "two changers", setup: func(t *testing.T, m *machine, l *virtual.Library) {
			m.add(t, 11, 8, "OTHER", l.Transport(virtual.Changer))
		}, err: "has several medium changers"},
		{name: "no such changer", changer: "serial:NONE", err: "library.changer: sg: no device of this machine has the name serial:NONE"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, l := emulatedMachine(t)
			if tc.setup != nil {
				tc.setup(t, m, l)
			}
			path := func(name string) string {
				if name == "" || strings.HasPrefix(name, SerialPrefix) {
					return name
				}
				return filepath.Join(m.dev, name)
			}
			logger, hook := test.NewNullLogger()
			o := Options{Changer: path(tc.changer), Log: logrus.NewEntry(logger)}
			for _, d := range tc.devices {
				o.Devices = append(o.Devices, path(d))
			}
			lib, err := m.library(t.Context(), o)
			defer m.leaks(t)
			if err != nil || tc.err != "" {
				if err == nil || tc.err == "" || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("%v, want %q", err, tc.err)
				}
				return
			}
			var serials []string
			for _, d := range lib.Drives {
				serials = append(serials, d.Serial())
			}
			if got := strings.Join(serials, " "); got != tc.drives {
				t.Errorf("drives %s, want %s", got, tc.drives)
			}
			var said strings.Builder
			for _, e := range hook.AllEntries() {
				said.WriteString(e.Message + "\n")
			}
			if tc.log != "" && !strings.Contains(said.String(), tc.log) || tc.log == "" && said.Len() > 0 {
				t.Errorf("the log said\n%s", said.String())
			}
			if !strings.HasPrefix(lib.Name, "SLIOD VIRTUAL LIBRARY VL00000001 at "+m.dev) {
				t.Error(lib.Name)
			}
			if err := lib.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOrderedChanger runs the contract of a changer whose drives are known by their order:
// its inventory names them all the same.
func TestOrderedChanger(t *testing.T) {
	m, l := emulatedMachine(t)
	m.add(t, 10, 8, "VL00000001", &deaf{l.Transport(virtual.Changer), silence})
	lib, err := m.library(t.Context(), Options{Devices: []string{filepath.Join(m.dev, "sg1"), filepath.Join(m.dev, "sg2")}})
	if err != nil {
		t.Fatal(err)
	}
	tapetest.TestChanger(t, lib)
	if err := lib.Close(); err != nil {
		t.Error(err)
	}
	m.leaks(t)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s\nwant:\n%s", name, got, want)
	}
}

func TestDiscover(t *testing.T) {
	m, l := emulatedMachine(t)
	f, err := m.discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m.leaks(t)
	if len(f.Changers) != 1 || len(f.Drives) != 2 || f.NoAccess || f.NoModule {
		t.Fatalf("%+v", f)
	}
	c, d := &f.Changers[0], &f.Drives[1]
	if c.Vendor != "SLIOD" || c.Product != "VIRTUAL LIBRARY" || c.Slots != 8 || c.Cartridges != 4 || len(c.Drives) != 2 || c.Problem != "" {
		t.Errorf("%+v", c)
	}
	if d.Serial != "VD00000002" || d.Changer != c.Path || d.Element != c.Drives[1].Element || c.Drives[1].Path != d.Path || d.Vendor == "KERNEL" {
		t.Errorf("%+v, %+v", d, c.Drives)
	}
	// A cartridge in a drive is told.
	es, err := l.Tape().Changer.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		if e.Kind == tape.Slot && e.Full {
			if err := l.Tape().Changer.Move(t.Context(), e.Address, d.Element); err != nil {
				t.Fatal(err)
			}
			if f, err = m.discover(t.Context()); err != nil || f.Drives[1].Volume != string(e.Volume) || f.Changers[0].Cartridges != 4 {
				t.Errorf("%v, %+v", err, f)
			}
			break
		}
	}
}

// TestSuggest compares the printed configurations with golden files.
func TestSuggest(t *testing.T) {
	for name, setup := range map[string]func(t *testing.T, m *machine, l *virtual.Library){
		"serials": func(*testing.T, *machine, *virtual.Library) {},
		"silent": func(t *testing.T, m *machine, l *virtual.Library) {
			m.add(t, 10, 8, "VL00000001", &deaf{l.Transport(virtual.Changer), silence})
		},
		"silent-and-more-drives": func(t *testing.T, m *machine, l *virtual.Library) {
			m.add(t, 10, 8, "VL00000001", &deaf{l.Transport(virtual.Changer), silence})
			m.add(t, 3, 1, "OTHER", nil)
		},
		"two-ways": func(t *testing.T, m *machine, l *virtual.Library) { // multipath: the serial number is not enough
			m.add(t, 3, 1, "VD00000001", l.Transport(0), "st2")
			m.link(t, "by-id/scsi-1", "st0")
			m.link(t, "by-path/pci-0000:04.0-st", "st0")
			m.add(t, 11, 8, "VL00000001", nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, l := emulatedMachine(t)
			setup(t, m, l)
			f, err := m.discover(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".toml", strings.ReplaceAll(f.Suggest(&f.Changers[0]), m.dev, "/dev"))
		})
	}
}

// TestDiscoverTrouble: what cannot be asked is shown as the kernel knows it.
func TestDiscoverTrouble(t *testing.T) {
	m, _ := emulatedMachine(t)
	m.refuse[filepath.Join(m.dev, "sg1")] = errors.WithStack(unix.EACCES)
	delete(m.devices, filepath.Join(m.dev, "sg2"))
	f, err := m.discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := f.Drives[0]; d.Problem == "" || d.Serial != "VD00000001" || d.Vendor != "KERNEL" || d.Element == 0 || f.NoAccess {
		t.Errorf("%+v", f)
	}
	if d := f.Drives[1]; !strings.Contains(d.Problem, "no such device or address") {
		t.Errorf("%+v", d)
	}
	for _, n := range []string{"sg2", "sg10"} {
		m.refuse[filepath.Join(m.dev, n)] = errors.WithStack(unix.EACCES)
	}
	if f, err = m.discover(t.Context()); err != nil || !f.NoAccess || len(f.Changers[0].Drives) != 0 {
		t.Errorf("%v, %+v", err, f)
	}
	if f, err = newMachine(t).discover(t.Context()); err != nil || !f.NoModule || f.Changers == nil || f.Drives == nil {
		t.Errorf("%v, %+v", err, f)
	}
	m.leaks(t)
}
