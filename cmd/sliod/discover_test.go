package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"sliod/tape/sg"
)

func TestDiscover(t *testing.T) {
	device := func(path, serial string) sg.Device {
		return sg.Device{Path: path, Vendor: "IBM", Product: "ULT3580-TD5", Revision: "0001", Serial: serial, Names: []string{}}
	}
	lib := sg.Found{
		Changers: []sg.Changer{{Device: device("/dev/sg2", "LIB1"), Slots: 8, Cartridges: 1, Notes: []string{"a note"},
			Drives: []sg.DriveElement{{Element: 500, Reported: "D1", Path: "/dev/sg0", Volume: "A00001L5"}, {Element: 501, Reported: "D2\x1b"}, {Element: 502}}}},
		Drives: []sg.Drive{{Device: device("/dev/sg0", "D1"), Changer: "/dev/sg2", Element: 500, Volume: "A00001L5"}, {Device: device("/dev/sg1", "")}},
	}
	busy := sg.Found{Changers: []sg.Changer{{Device: device("/dev/sg2", "LIB1")}}, Drives: []sg.Drive{{Device: device("/dev/sg0", "D1")}}}
	busy.Drives[0].Problem, busy.Drives[0].InUse = "sg: /dev/sg0 is in use by sliod (process 7)", true
	busy.Changers[0].Problem = "no answer\nat all"
	denied := sg.Found{Drives: []sg.Drive{{Device: device("/dev/sg0", "D1")}}, NoAccess: true}
	for _, tc := range []struct {
		name   string
		found  sg.Found
		status int
		want   []string
	}{
		{"a library", lib, exitDone, []string{
			"DEVICE    KIND     VENDOR  MODEL        FIRMWARE  SERIAL  WHERE\n",
			"/dev/sg2  changer  IBM     ULT3580-TD5  0001      LIB1    3 drives, 8 slots, 0 mail slots, 1 cartridge\n",
			"/dev/sg0  drive    IBM     ULT3580-TD5  0001      D1      element 500 of /dev/sg2, holds A00001L5\n",
			"/dev/sg1  drive    IBM     ULT3580-TD5  0001      -       in no changer that names it\n",
			"/dev/sg2: a note\n", `element 501 is for a drive "D2\x1b", which is no device of this machine`, "element 502 is for a drive whose serial number the changer does not tell",
			"\n[library]\nkind = \"scsi\"\nchanger = \"serial:LIB1\" # /dev/sg2\ndevices = [\n  \"serial:D1\", # /dev/sg0, element 500\n]\n"}},
		{"trouble", busy, exitDone, []string{"in use by another process\n", "does not answer, see below\n", "\nno answer; at all\n", "in use by sliod (process 7)\n", "No configuration can be made for /dev/sg2"}},
		{"no access", denied, exitFailed, []string{"/dev/sg0", `run the command as root, or give the user read and write access`}},
		{"no changer", sg.Found{Drives: lib.Drives[1:]}, exitDone, []string{"There is no medium changer"}},
		{"nothing", sg.Found{}, exitFailed, []string{"no tape drive and no medium changer"}},
		{"no module", sg.Found{NoModule: true}, exitFailed, []string{`"modprobe sg"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, out, stderr := newApp()
			a.discover = func(context.Context) (*sg.Found, error) { return &tc.found, nil }
			if status := a.run(t.Context(), []string{"discover"}); status != tc.status {
				t.Errorf("status %d", status)
			}
			for _, want := range tc.want {
				if got := out.String() + stderr.String(); !strings.Contains(got, want) {
					t.Errorf("no %q in\n%s", want, got)
				}
			}
			a, out, _ = newApp()
			a.discover = func(context.Context) (*sg.Found, error) { return &tc.found, nil }
			var object map[string]any
			if status := a.run(t.Context(), []string{"discover", "--json"}); status != tc.status || json.Unmarshal([]byte(out.String()), &object) != nil || len(object) < 2 {
				t.Errorf("--json: status %d, %s", status, out)
			}
		})
	}
	a, _, stderr := newApp()
	if status := a.run(t.Context(), []string{"discover", "--server", "tcp:127.0.0.1:1"}); status != exitUsage || !strings.Contains(stderr.String(), "sliod discover does not") {
		t.Errorf("--server: status %d, %s", status, stderr)
	}
}
