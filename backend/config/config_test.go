package config

import (
	stderrors "errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write docs/configuration.md again")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDefaults(t *testing.T) {
	c := Default()
	if c.Cache.SizeBytes != gib || c.Cache.HighWater != 0.9 || c.Cache.LowWater != 0.8 {
		t.Errorf("cache: %+v", c.Cache)
	}
	if !reflect.DeepEqual(c.Library, Library{Kind: "virtual", Drives: 2, Slots: 16, MailSlots: 1, Cartridge: "LTO-9", Cleaning: []string{"CLN*"}}) {
		t.Errorf("library: %+v", c.Library)
	}
	if len(c.Server.Listen) != 0 || c.Server.MsizeBytes != mib {
		t.Errorf("server: %+v", c.Server)
	}
	if key, msg := c.check(); msg != "" {
		t.Errorf("the defaults contradict each other: %s: %s", key, msg)
	}
}

func TestExampleIsTheDefault(t *testing.T) {
	c, err := Parse("example.toml", []byte(Example()))
	if err != nil {
		t.Fatal(err)
	}
	if d := Default(); c.Cache != d.Cache || c.Archive != d.Archive || !reflect.DeepEqual(c.Library, d.Library) || c.Log != d.Log ||
		c.Index != d.Index || c.Mount != d.Mount || c.Drives != d.Drives || !reflect.DeepEqual(c.Recall, d.Recall) || c.Import != d.Import || c.Server.MsizeBytes != d.Server.MsizeBytes {
		t.Errorf("the example gives\n%+v, the defaults are\n%+v", c, d)
	}
}

func TestEverySectionIsDescribed(t *testing.T) {
	for _, k := range Keys() {
		if !isSection(k.Section) {
			t.Errorf("key %s: its section is not in the list of sections", k.Name())
		}
		if k.Unit == "" || k.Meaning == "" || k.Allowed() == "" {
			t.Errorf("key %s lacks a unit, a meaning or a range", k.Name())
		}
	}
}

func TestParse(t *testing.T) {
	c, err := Parse("/etc/sliod/sliod.toml", []byte(`
archive.idle = "2m"      # a dotted key at the top
cache = { size = "64GiB", high_water = "95%" }

[server]
listen = [
  "tcp:0.0.0.0:5640", # everybody
  "unix:/run/sliod.sock",
]
msize = 1_048_576

[library]
dir = "tapes"
speed = 60
capacity = "2.5GB"
"drives" = 4
[recall]
ahead = 0
goal = "wait"
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Archive.Idle != 2*time.Minute || c.Cache.SizeBytes != 64*gib || c.Cache.HighWater != 0.95 || c.Recall.Ahead != 0 || c.Recall.Goal != "wait" {
		t.Errorf("%+v", c)
	}
	if len(c.Server.Listen) != 2 || c.Server.Listen[1] != "unix:/run/sliod.sock" || c.Server.MsizeBytes != mib {
		t.Errorf("%+v", c.Server)
	}
	if c.Library.Dir != "/etc/sliod/tapes" || c.Library.Speed != 60 || c.Library.CapacityBytes != 2_500_000_000 || c.Library.Drives != 4 {
		t.Errorf("%+v", c.Library)
	}
}

func TestParseSCSI(t *testing.T) {
	c, err := Parse("f.toml", []byte("[library]\nkind = \"scsi\"\nchanger = \"serial:LIB001\"\ndevices = [\n \"serial:D1\", # one\n \"/dev/sg1\",\n]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if l := c.Library; l.Kind != "scsi" || l.Changer != "serial:LIB001" || !reflect.DeepEqual(l.Devices, []string{"serial:D1", "/dev/sg1"}) {
		t.Errorf("%+v", l)
	}
}

func TestErrors(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       []string // one line of the message each
	}{
		{"syntax", "[cache]\nsize = \n", []string{"f.toml:2: not TOML: "}},
		{"twice", "[cache]\nsize = 1073741824\nsize = 1073741824\n", []string{"f.toml:3: not TOML: "}},
		{"unknown section", "[cash]\nsize = \"1GiB\"\n", []string{"f.toml:1: there is no section [cash]; the sections are [server], [cache],"}},
		{"unknown dotted section", "\ncash.size = \"1GiB\"\n", []string{"f.toml:2: there is no section [cash]"}},
		{"unknown key", "[cache]\n\nsice = \"1GiB\"\n", []string{"f.toml:3: there is no key sice in [cache]; its keys are size, high_water, low_water"}},
		{"key below a key", "[cache]\nsize.bytes = 3\n", []string{"f.toml:2: there is no key size.bytes in [cache]"}},
		{"outside", "size = 3\n[cache]\n", []string{"f.toml:1: key size stands outside of its section: write it below [cache]"}},
		{"alone", "sice = 3\n", []string{"f.toml:1: there is no key sice; keys belong to the sections"}},
		{"list of sections", "[[cache]]\n", []string{"f.toml:1: [[cache]] makes a list"}},
		{"inline section", "cash = {size = 3}\n", []string{"f.toml:1: there is no section [cash]"}},
		{"size unit", "[cache]\nsize = \"64 gigs\"\n", []string{`f.toml:2: cache.size: "64 gigs" cannot be used: a size is a number and a unit`}},
		{"size range", "[cache]\nsize = \"1MiB\"\n", []string{`f.toml:2: cache.size: "1MiB" cannot be used: it is out of range (allowed: 16MiB to 1PiB; default: "1GiB")`}},
		{"negative", "[cache]\nsize = -1\n", []string{"f.toml:2: cache.size: -1 cannot be used"}},
		{"kind", "[cache]\nsize = true\n", []string{"f.toml:2: cache.size: a string in quotes is needed (allowed:"}},
		{"size of a list", "[cache]\nstub = \"64KiB\"\n", []string{`f.toml:2: cache.stub: "64KiB" cannot be used: it is none of the sizes that there are (allowed: 0B, 4KiB, 16KiB, 60KiB, 252KiB, 1MiB; default: 0)`}},
		{"share", "[cache]\nhigh_water = 90\n", []string{`f.toml:2: cache.high_water: 90 cannot be used: it is out of range (allowed: 0.05 to 1; default: 0.9)`}},
		{"percent", "[cache]\nhigh_water = \"much\"\n", []string{`f.toml:2: cache.high_water: "much" cannot be used: a share is`}},
		{"nan", "[cache]\nhigh_water = nan\n", []string{`f.toml:2: cache.high_water: nan cannot be used`}},
		{"water", "[cache]\nhigh_water = 0.5\n", []string{"f.toml:2: cache.low_water is 0.8; it must be lower than cache.high_water, which is 0.5"}},
		{"water low", "[cache]\nlow_water = 0.95\n", []string{"f.toml:2: cache.low_water is 0.95"}},
		{"dirty", "[cache]\nlow_water = 0.1\nhigh_water = 0.2\n", []string{"f.toml:3: archive.dirty is 0.3; it must not be higher"}},
		{"duration number", "[archive]\nidle = 30\n", []string{`f.toml:2: archive.idle: a string in quotes is needed (allowed: 0s to 30d; default: "30s")`}},
		{"duration unit", "[archive]\nidle = \"30\"\n", []string{`f.toml:2: archive.idle: "30" cannot be used: a time is`}},
		{"duration range", "[index]\ninterval = \"1ms\"\n", []string{`f.toml:2: index.interval: "1ms" cannot be used: it is out of range (allowed: 1s to 168h; default: "10m")`}},
		{"count string", "[library]\ndrives = \"2\"\n", []string{"f.toml:2: library.drives: a number without quotes is needed"}},
		{"count float", "[library]\ndrives = 2.5\n", []string{"f.toml:2: library.drives: 2.5 cannot be used: a whole number is needed"}},
		{"count range", "[library]\ndrives = 0\n", []string{"f.toml:2: library.drives: 0 cannot be used: it is out of range (allowed: 1 to 64; default: 2)"}},
		{"choice", "[library]\ncartridge = \"LTO-4\"\n", []string{`f.toml:2: library.cartridge: "LTO-4" cannot be used: no such choice (allowed: "LTO-5", "LTO-6"`}},
		{"speed", "[library]\nspeed = 0\n", []string{`f.toml:2: library.speed: 0 cannot be used: a speed is "instant" or a factor`}},
		{"list", "[server]\nlisten = \"tcp::5640\"\n", []string{"f.toml:2: server.listen: a list in brackets is needed"}},
		{"list entry", "[server]\nlisten = [5640]\n", []string{"f.toml:2: server.listen: each entry of the list must be a string"}},
		{"address", "[server]\nlisten = [\"localhost:5640\"]\n", []string{"f.toml:2: server.listen: address \"localhost:5640\": \"localhost\" is not a kind of address"}},
		{"kind of library", "[library]\nkind = \"real\"\nchanger = \"/dev/sg2\"\n", []string{`f.toml:2: library.kind: "real" cannot be used: no such choice (allowed: "virtual", "scsi"; default: "virtual")`}},
		{"key of the other kind", "[library]\nchanger = \"/dev/sg2\"\ndrives = 3\n", []string{`f.toml:2: library.changer is for a library of kind "scsi", and library.kind is "virtual": take the key out`}},
		{"keys of the other kind", "[library]\nslots = 8\nspeed = \"instant\"\nkind = \"scsi\"\n", []string{
			`f.toml:2: library.slots is for a library of kind "virtual", and library.kind is "scsi"`, "f.toml:3: library.speed is for a library"}},
		{"device", "[library]\nkind = \"scsi\"\nchanger = \"sg2\"\ndevices = [\"serial:\"]\n", []string{
			`f.toml:3: library.changer: "sg2" cannot be used: device "sg2": write serial:NUMBER, or the whole path`, `f.toml:4: library.devices: device "serial:" has no serial number`}},
		{"devices", "[library]\nkind = \"scsi\"\ndevices = \"/dev/sg0\"\n", []string{"f.toml:3: library.devices: a list in brackets is needed (allowed: a list such as [\"serial:"}},
		{"two mistakes", "[log]\nlevel = \"loud\"\n[cache]\nsice = 1\nsize = 1\n", []string{
			"f.toml:2: log.level: \"loud\" cannot be used", "f.toml:4: there is no key sice", "f.toml:5: cache.size: 1 cannot be used"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := Parse("f.toml", []byte(tc.text))
			if err == nil {
				t.Fatalf("no error, but %+v", c)
			}
			got := strings.Split(err.Error(), "\n")
			if len(got) != len(tc.want) {
				t.Fatalf("%d messages, want %d:\n%v", len(got), len(tc.want), err)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tc.want[i]) {
					t.Errorf("got  %s\nwant %s", got[i], tc.want[i])
				}
			}
			var e *Error
			if !stderrors.As(err, &e) || e.File != "f.toml" {
				t.Errorf("%T is no *Error of the file", err)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.toml")); !stderrors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	name := filepath.Join(t.TempDir(), "sliod.toml")
	if err := os.WriteFile(name, []byte("[log]\nlevel = \"debug\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(name)
	if err != nil || c.Log.Level != "debug" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestSizeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Min(0).Draw(t, "n")
		got, err := ParseSize(FormatSize(n))
		if err != nil || got != n {
			t.Fatalf("%d is written %s and read %d, %v", n, FormatSize(n), got, err)
		}
	})
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "1": 1, "1B": 1, "1 KiB": 1024, "1.5MiB": 3 << 19, "18TB": 18e12, "7 PiB": 7 << 50,
		"": -1, "KiB": -1, "-1": -1, "1.5": -1, "1.5B": -1, "1e3KiB": -1, "9999999PiB": -1, "InfKiB": -1, "0x10": -1,
	} {
		got, err := ParseSize(in)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(Example()))
	f.Add([]byte("[cache]\nsize = \"64GiB\"\ncache.size.x = {a = [1, {b = 2}]}\n"))
	f.Add([]byte("export.a = {networks = [\"tls\", \"10.0.0.0/8\"]}\n[export.b]\nuids = [\"1-2:3\"]\nmap = \"ranges\"\n"))
	f.Add([]byte("[[a]]\n[a.b]\nc = 1979-05-27T07:32:00Z\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("f.toml", text)
		if (c == nil) == (err == nil) {
			t.Fatalf("%v, %v", c, err)
		}
	})
}

func TestDocumentation(t *testing.T) {
	const name = "../../docs/configuration.md"
	if *update {
		if err := os.WriteFile(name, []byte(Markdown()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != Markdown() {
		t.Error("docs/configuration.md does not say what the table of keys says; run go test ./backend/config -update")
	}
}
