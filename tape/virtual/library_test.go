package virtual

import (
	"flag"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sliod/tape"
	"sliod/tape/tapetest"
)

func TestMain(m *testing.M) {
	// Every check of the model makes a library and syncs it: fewer than rapid's 100
	// by default, more with -rapid.checks.
	if err := flag.Set("rapid.checks", "25"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// open opens a small library in dir, and closes it with the test.
func open(t testing.TB, dir string, change ...func(*Config)) *Library {
	t.Helper()
	cfg := Config{Dir: dir, Drives: 2, Slots: 4, Capacity: 64 << 20}
	for _, f := range change {
		f(&cfg)
	}
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// mount puts the first volume into the first drive.
func mount(t testing.TB, l *Library) tape.Drive {
	t.Helper()
	if err := l.Tape().Changer.Move(t.Context(), slotAddress, driveAddress); err != nil {
		t.Fatal(err)
	}
	d := l.Tape().Drives[0]
	if err := d.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDriveContract(t *testing.T) {
	for _, profile := range []string{ProfileModern, ProfileOld, ProfileSSC2} {
		t.Run("profile "+profile, func(t *testing.T) {
			d := mount(t, open(t, t.TempDir(), func(c *Config) { c.Profile = profile }))
			if got := d.Limits().HasLocate; got != (profile == ProfileModern) {
				t.Errorf("limits %+v", d.Limits())
			}
			tapetest.TestDrive(t, d)
		})
	}
}

// TestDriveContractAppendOnly: the driver sees to it that nobody above has to know of
// append-only mode.
func TestDriveContractAppendOnly(t *testing.T) {
	l := open(t, t.TempDir())
	l.drives[0].extension.AppendOnly = true
	tapetest.TestDrive(t, mount(t, l))
}

func TestChangerContract(t *testing.T) {
	tapetest.TestChanger(t, open(t, t.TempDir()).Tape())
}

func BenchmarkStream(b *testing.B) {
	l := open(b, b.TempDir(), func(c *Config) { c.Capacity = 1 << 40 })
	d := mount(b, l)
	p := tapetest.Record(1, 512<<10)
	const n = 2048 // 1 GiB
	b.Run("write", func(b *testing.B) {
		b.SetBytes(int64(len(p)) * n)
		for b.Loop() { // what the disk takes to flush is not counted
			b.StopTimer()
			if err := d.Rewind(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			for range n {
				if err := d.WriteBlock(b.Context(), p); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	if err := d.WriteFilemarks(b.Context(), 0); err != nil {
		b.Fatal(err)
	}
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(len(p)) * n)
		for b.Loop() {
			if err := d.Rewind(b.Context()); err != nil {
				b.Fatal(err)
			}
			for range n {
				if _, err := d.ReadBlock(b.Context(), p); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// TestOtherGeneration: drives of another generation than the cartridges are refused, with what to do, and nothing changes.
func TestOtherGeneration(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, func(c *Config) { c.Cartridge = "LTO-8" })
	noError(t, l.Close())
	_, err := Open(Config{Dir: dir, Drives: 2, Slots: 4})
	if err == nil || !strings.Contains(err.Error(), `set library.cartridge to "LTO-8"`) {
		t.Fatal(err)
	}
	open(t, dir, func(c *Config) { c.Cartridge = "LTO-8" })
}
