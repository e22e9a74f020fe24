package faults

import (
	"strings"
	"testing"
	"testing/synctest"

	"sliod/backend"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// scene is a machine with files on tape alone, on the volume that is in a drive.
type scene struct {
	*script
	t *testing.T
	x *injector
}

// play runs fn in a bubble, and afterwards has all that was confirmed looked at on
// sound devices.
func play(t *testing.T, fn func(*scene)) {
	dir := disk(t)
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(dir)
		if err := m.addForeign(); err != nil {
			t.Fatal(err)
		}
		s := &scene{newScript(m), t, &injector{}}
		s.up()
		s.must("mkdir", s.mkdir("/dir"))
		s.create("/dir/a", pattern(1, 4000))
		s.create("/b", pattern(2, mib+777_777))
		s.archiveAndEvict()
		s.works("before")
		fn(s)
		s.x.set(nil)
		if m.fs != nil {
			_ = m.stop() // it may be unable to bring the volumes home
		}
		if err := s.sound(); err != nil {
			t.Fatalf("%v\n%s", err, m.out)
		}
		if err := m.inspect(s.files); err != nil {
			t.Error(err)
		}
	})
}

func (s *scene) up() {
	s.t.Helper()
	if err := s.m.start(s.x); err != nil {
		s.t.Fatal(err)
	}
}

// works fails the test if an operation has failed so far.
func (s *scene) works(when string) {
	s.t.Helper()
	if len(s.failed) > 0 {
		s.t.Errorf("%s: %q", when, s.failed)
		s.failed = nil
	}
}

// fails fails the test if none has, or if the errors do not name what is to blame.
func (s *scene) fails(when string, names ...string) {
	s.t.Helper()
	if len(s.failed) == 0 {
		s.t.Errorf("%s: nothing failed", when)
	}
	for _, name := range names {
		if !strings.Contains(strings.Join(s.failed, "\n"), name) {
			s.t.Errorf("%s: the errors do not say %q: %q", when, name, s.failed)
		}
	}
	s.failed = nil
}

// loaded is the drive that has a volume, and its serial number.
func (s *scene) loaded() (int, string) {
	for i, d := range s.m.fs.Drives() {
		if d.Volume != "" {
			return i, d.Serial
		}
	}
	s.t.Fatal("no volume is in a drive")
	return 0, ""
}

func (s *scene) driveState(serial string) string {
	for _, d := range s.m.fs.Drives() {
		if d.Serial == serial {
			return d.State
		}
	}
	return ""
}

// dead is a device that does not answer any more.
func dead(gone ...int) func(int, []byte) *kind {
	lost := kindNamed("lost")
	return func(device int, _ []byte) *kind {
		for _, d := range gone {
			if d == device {
				return lost
			}
		}
		return nil
	}
}

// A drive dies with a volume in it, which nobody can take out. What is on it is EIO
// until the drive is repaired; all else goes on.
func TestDriveDies(t *testing.T) {
	play(t, func(s *scene) {
		drive, serial := s.loaded()
		s.x.set(dead(drive))
		s.readAll()
		s.fails("reading a volume in a dead drive", serial)
		if got := s.driveState(serial); got != "failed" {
			t.Errorf("the dead drive is %s", got)
		}
		s.create("/new", pattern(3, 300_000))
		s.may("archive", s.m.job(backend.JobArchive, "/new"))
		s.may("evict", s.m.job(backend.JobEvict, "/new"))
		if got, err := s.m.read("/new"); err != nil || string(got) != string(s.files["/new"]) {
			t.Errorf("what the other drive has archived: %v", err)
		}
		s.works("with the other drive")
	})
}

// A drive dies while it writes: what is not archived goes to another volume by the
// other drive.
func TestDriveDiesWriting(t *testing.T) {
	for nth := 1; nth <= 4; nth++ {
		play(t, func(s *scene) {
			drive, _ := s.loaded()
			n, lost := 0, kindNamed("lost")
			s.x.set(func(device int, cdb []byte) *kind {
				if device == drive && (cdb[0] == scsi.OpWrite6 || n >= nth) {
					if n++; n >= nth {
						return lost
					}
				}
				return nil
			})
			s.create("/new", pattern(3, 2*mib+5))
			s.may("archive", s.m.job(backend.JobArchive, "/new"))
			s.may("evict", s.m.job(backend.JobEvict, "/new"))
			s.works("with the other drive")
		})
	}
}

// The arm jams. The volume in the drive can still be read; what needs a move is an
// error, and no volume is blamed. When the arm is repaired a restart brings all back.
func TestArmJams(t *testing.T) {
	play(t, func(s *scene) {
		s.x.set(func(device int, cdb []byte) *kind {
			if device == virtual.Changer && cdb[0] == scsi.OpMoveMedium {
				return &kind{name: "jam", spoil: sense(scsi.HardwareKey, 0x1501)} // mechanical positioning error
			}
			return nil
		})
		s.readAll()
		s.works("with the volume in the drive")
		if h := s.m.health(); len(h.suspect) > 0 {
			t.Errorf("the arm has spoiled volumes %q", h.suspect)
		}
		_ = s.m.stop()
		s.x.set(nil)
		s.up()
		s.readAll()
		s.works("after the repair")
	})
}

// A jammed arm, and a volume that is not in a drive.
func TestArmJamsBeforeFetch(t *testing.T) {
	play(t, func(s *scene) {
		if err := s.m.stop(); err != nil {
			t.Fatal(err)
		}
		s.up()
		s.x.set(func(device int, cdb []byte) *kind {
			if device == virtual.Changer && cdb[0] == scsi.OpMoveMedium {
				return &kind{name: "jam", spoil: sense(scsi.HardwareKey, 0x1501)}
			}
			return nil
		})
		s.evict()
		s.readAll()
		s.fails("with a jammed arm", "fetch volume")
		s.create("/new", pattern(3, 1000)) // the disk is not the arm's
		if h := s.m.health(); len(h.suspect) > 0 {
			t.Errorf("the arm has spoiled volumes %q", h.suspect)
		}
	})
}

// The whole library is switched off, and on again.
func TestLibraryGone(t *testing.T) {
	play(t, func(s *scene) {
		off := dead(virtual.Changer, 0, 1)
		s.x.set(off)
		s.evict()
		s.readAll()
		s.fails("without a library")
		s.create("/new", pattern(3, 1000))
		_ = s.m.stop()
		if err := s.m.start(s.x); err == nil {
			t.Error("the server came up without a library")
			_ = s.m.stop()
		} else if !strings.Contains(err.Error(), "inquiry") {
			t.Errorf("the error does not say what was tried: %v", err)
		}
		s.x.set(nil)
		s.up()
		s.readAll()
		s.archiveAndEvict()
		s.works("with the library back")
	})
}
