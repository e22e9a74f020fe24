package faults

import (
	"cmp"
	stderrors "errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sliod/backend"
	"sliod/backend/catalog"
	"sliod/backend/policy"
	"sliod/tape"
	"sliod/tape/virtual"
)

// drill is a failure of a library of real speed while clients work, and what comes of it.
type drill struct {
	name    string
	library virtual.Config // what is other than usual
	full    bool           // the tapes get full, and clients may be told ENOSPC
	keep    int64          // bytes that a client has at most; 0: 8 MiB
	tune    func(*backend.Options)
	// faults is the script that takes effect when the clients have worked for an hour.
	faults func(*stage) string
	// during looks at the archive when they have gone on for two hours.
	during func(*stage, []string)
	// repair is what an operator does then, without a restart. Everything must work
	// afterwards; nil: it needs the restart.
	repair func(*stage)
	// after is what must come of it after the restart, when all clients rest; nil: nothing more.
	after func(*stage)
}

func (d *drill) room() int64 {
	if d.keep > 0 {
		return d.keep
	}
	return 8 * mib
}

// stage is a drill that runs.
type stage struct {
	*machine
	t       *testing.T
	clients []*client
	halt    func() // lets the clients rest; see work

	victim string // a volume that something is done with
	id     uint64 // of the job that is done with it
}

// work has the clients work until halt is called.
func (s *stage) work() { s.halt = begin(s.clients) }

const drillSeed = 20261130

var drills = []drill{
	{
		name:   "drive dies reading",
		faults: func(*stage) string { return "die device=0 command=read nth=10\n" },
		during: func(s *stage, failed []string) { s.wantDriveFailed(1) },
	},
	{
		name:   "drive dies writing",
		faults: func(*stage) string { return "die device=1 command=write nth=7\ndie device=0 command=write nth=7000\n" },
		during: func(s *stage, failed []string) { s.wantDriveFailed(1) },
	},
	{
		name: "bad blocks without a second copy",
		faults: func(s *stage) string {
			var text strings.Builder
			for _, v := range s.written() {
				text.WriteString(badBlocks(v.Barcode, 120))
			}
			return text.String()
		},
		during: func(s *stage, failed []string) {
			s.wantFailed(failed, "medium error")
			if h := s.health(); h.failedDrives > 1 || len(h.suspect) == 0 {
				s.t.Errorf("bad blocks: %d drives out of service, suspect volumes %q", h.failedDrives, h.suspect)
			}
		},
	},
	{
		name: "bad blocks with a second copy",
		tune: func(o *backend.Options) { o.Policy, o.ReclaimDead = twice("/"), 0 },
		faults: func(s *stage) string {
			if err := s.job(backend.JobArchive, "/"); err != nil { // with all copies
				s.t.Error(err)
			}
			_ = s.job(backend.JobEvict, "/") // but what was written meanwhile
			v := s.written()[0]              // its first half, which has been copied
			s.victim = v.Barcode
			return badBlocks(v.Barcode, int(v.UsedBytes/blockSize)/2)
		},
		during: func(s *stage, failed []string) {
			if len(failed) > 0 {
				s.t.Errorf("failed though there is another copy: %q", failed)
			}
			// With the clients at rest, what has been found is replaced. What they found, if anything, may be of files that are gone.
			s.halt()
			_ = s.job(backend.JobVerify, "volume="+s.victim) // there are bad ones
			s.wantSaid("medium error")
			bad := func() bool {
				return slices.ContainsFunc(s.fs.Volumes(), func(v backend.VolumeInfo) bool { return v.BadCopies > 0 })
			}
			found := bad()
			s.eventually("no bad copy is left", func() bool { return !bad() })
			// Of a volume that is suspect by now all is moved, which may be faster.
			if found && s.volume(s.victim).State != "suspect" && !strings.Contains(s.out.String(), "has a new copy in place of the bad one") {
				s.t.Error("no bad copy was replaced")
			}
			s.work()
		},
		repair: func(*stage) {},
	},
	{
		name: "drive dies while a volume is emptied",
		faults: func(s *stage) string {
			return s.begins(backend.JobReclaim, func(v string) []string { return []string{v} })
		},
		during: func(s *stage, failed []string) {
			s.wantDriveFailed(1)
			s.wantCutOff()
		},
		after: func(s *stage) {
			s.eventually("the volume is empty", func() bool { return s.volume(s.victim).State == "scratch" })
		},
	},
	{
		name: "drive dies while a volume is verified",
		faults: func(s *stage) string {
			return s.begins(backend.JobVerify, func(v string) []string { return []string{"volume=" + v} })
		},
		during: func(s *stage, failed []string) {
			s.wantDriveFailed(1)
			s.wantCutOff()
			for _, v := range s.fs.Volumes() {
				if v.BadCopies > 0 {
					s.t.Errorf("the drive has spoiled copies on %s: %+v", v.Barcode, v)
				}
			}
		},
		after: func(s *stage) {
			if err := s.job(backend.JobVerify); err != nil {
				s.t.Error(err)
			}
		},
	},
	{
		name:   "arm jams",
		faults: func(*stage) string { return "jam\n" },
		during: func(s *stage, failed []string) {
			if h := s.health(); len(h.suspect) > 0 {
				s.t.Errorf("the arm has spoiled volumes %q", h.suspect)
			}
		},
		repair: (*stage).resetDrives,
	},
	{
		name:   "library goes away and comes back",
		faults: func(*stage) string { return "away command=any device=any nth=10 seconds=1800\n" },
		during: func(s *stage, failed []string) { s.wantSaid("lost") },
		repair: (*stage).resetDrives,
	},
	{
		name:    "end of tape in a file",
		library: virtual.Config{Capacity: 20 * mib, Slots: 24},
		faults:  func(*stage) string { return "" },
		during: func(s *stage, failed []string) {
			if len(failed) > 0 {
				s.t.Errorf("failed: %q", failed)
			}
			// By now some are emptied, and scratch again.
			if n := strings.Count(s.out.String(), "no room for more data"); n < 1 {
				s.t.Errorf("%d volumes were full: the drill is too short", n)
			}
		},
		repair: func(*stage) {},
	},
	{
		name:    "no scratch volume",
		library: virtual.Config{Capacity: 48 * mib, Slots: 8, Cartridges: 3},
		full:    true,
		faults:  func(*stage) string { return "" },
		during: func(s *stage, failed []string) {
			s.wantFailed(failed, "no space left")
			if n := s.inState("scratch"); n > 0 {
				s.t.Errorf("%d scratch volumes are left: the drill is too short", n)
			}
		},
		repair: func(s *stage) {
			for i := range 3 {
				if err := s.lib.Insert(tape.Barcode(fmt.Sprintf("B0000%dL9", i)), uint16(1024+4+i)); err != nil {
					s.t.Fatal(err)
				}
			}
			if err := s.job(backend.JobVolumesImport); err != nil {
				s.t.Error(err)
			}
		},
	},
	{
		name:   "power of the library",
		keep:   2 * mib, // all that is new stays in the cache, while no drive takes anything
		tune:   func(o *backend.Options) { o.CacheBytes = 128 * mib },
		faults: func(*stage) string { return "power command=write nth=15\n" },
		during: func(s *stage, failed []string) { s.wantSaid("lost") },
	},
}

// TestDrills has four clients work on a library with the times of LTO-9 drives, and
// something break. The clock is that of a bubble: three hours of it take seconds.
func TestDrills(t *testing.T) {
	base := disk(t)
	for i, d := range drills {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { d.run(t, filepath.Join(base, fmt.Sprint(i))) })
		})
	}
}

func (d *drill) run(t *testing.T, dir string) {
	m := newMachine(dir)
	m.library = d.library
	m.library.Speed = 1
	m.tune = func(o *backend.Options) {
		o.ArchiveIdle = time.Minute
		o.Mover.Linger = time.Minute
		if d.tune != nil {
			d.tune(o)
		}
	}
	s := &stage{machine: m, t: t}
	if err := m.addForeign(); err != nil {
		t.Fatal(err)
	}
	if err := m.start(&injector{}); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		c := newClient(m, i, drillSeed)
		c.room.Store(d.room())
		c.open()
		s.clients = append(s.clients, c)
	}
	if err := m.create("/empty", nil); err != nil {
		t.Fatal(err)
	}
	s.work()
	pass(time.Hour)
	if failed := failures(s.clients); len(failed) > 0 {
		t.Errorf("before anything broke: %q", failed)
	}
	for _, c := range s.clients {
		if d.full {
			c.full.Store(true)
			c.room.Store(100 * mib)
		}
	}
	heal := s.breaks(d.faults(s))
	pass(2 * time.Hour)
	d.during(s, failures(s.clients))
	if d.repair != nil {
		heal()
		d.repair(s)
		pass(20 * time.Minute) // what waits for the library goes on
		failures(s.clients)
		for _, c := range s.clients {
			c.full.Store(false)
			c.room.Store(d.room())
		}
		pass(time.Hour)
		if failed := failures(s.clients); len(failed) > 0 {
			t.Errorf("after the repair: %q", failed)
		}
	}
	s.halt()
	if failed := failures(s.clients); d.repair != nil && len(failed) > 0 {
		t.Errorf("at the end: %q", failed)
	}
	_ = m.stop() // it may be unable to bring the volumes home
	s.end(d.after)
	if t.Failed() {
		t.Log(m.out.String())
	}
}

// pass lets time pass. All clients stand still afterwards: in a pause, or waiting for an
// answer.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// breaks has the faults of a script take effect; heal takes them away again, as far as that is
// possible.
func (s *stage) breaks(script string) (heal func()) {
	faults, err := virtual.ParseFaults("drill", strings.NewReader(script))
	if err != nil {
		s.t.Fatal(err)
	}
	var all []func()
	for _, f := range faults {
		all = append(all, s.lib.SetFault(f))
	}
	return func() {
		for _, remove := range all {
			remove()
		}
	}
}

// resetDrives puts drives that are out of service back.
func (s *stage) resetDrives() {
	var serials []string
	for _, d := range s.fs.Drives() {
		if d.State == "failed" {
			serials = append(serials, d.Serial)
		}
	}
	if len(serials) > 0 {
		if err := s.job(backend.JobDrivesReset, serials...); err != nil {
			s.t.Error(err)
		}
	}
}

// end is the last life, on sound devices: everything is there, and on tape.
func (s *stage) end(after func(*stage)) {
	if err := s.start(&injector{}); err != nil {
		s.t.Fatal(err)
	}
	var wrong []error
	all := map[string][]byte{"/empty": {}}
	for _, c := range s.clients {
		c.complete()
		wrong = append(wrong, c.wrong...)
		maps.Copy(all, c.script.files)
	}
	if err := stderrors.Join(wrong...); err != nil {
		s.t.Error(err)
	}
	if after != nil {
		after(s)
		for _, c := range s.clients {
			c.readAll()
		}
	}
	if failed := failures(s.clients); len(failed) > 0 {
		s.t.Errorf("on sound devices: %q", failed)
	}
	if err := s.stop(); err != nil {
		s.t.Error(err)
	}
	if err := s.inspect(all); err != nil {
		s.t.Error(err)
	}
}

// begins begins a job with the volume that has the most data. When a drive works on that volume, it is to die.
func (s *stage) begins(kind backend.JobKind, args func(volume string) []string) (faults string) {
	if err := s.job(backend.JobArchive, "/"); err != nil {
		s.t.Error(err)
	}
	_ = s.job(backend.JobEvict, "/") // but what was written meanwhile
	s.victim = slices.MaxFunc(s.written(), func(a, b backend.VolumeInfo) int {
		return cmp.Compare(a.UsedBytes-a.DeadBytes, b.UsedBytes-b.DeadBytes)
	}).Barcode
	var err error
	if s.id, err = s.fs.StartJob(kind, args(s.victim)); err != nil {
		s.t.Fatal(err)
	}
	for {
		j, _ := s.fs.Job(s.id)
		i := slices.IndexFunc(s.fs.Drives(), func(d backend.DriveInfo) bool {
			return d.Volume == s.victim && (d.State == "busy" || d.State == "reading")
		})
		switch {
		case j.State != "running":
			s.t.Fatalf("the job has ended before anything broke: %+v", j)
		case i >= 0:
			return fmt.Sprintf("die device=%d command=read nth=1\n", i)
		}
		pass(100 * time.Millisecond)
	}
}

// wantCutOff fails the test if the job that was begun does not end, and say what the drive that died holds.
func (s *stage) wantCutOff() {
	s.t.Helper()
	s.halt() // with clients at the one drive that is left, a job in the background has it now and then only
	s.eventually("the job has ended", func() bool { j, _ := s.fs.Job(s.id); return j.State != "running" })
	s.work()
	if j, _ := s.fs.Job(s.id); j.State != "failed" || !strings.Contains(strings.Join(j.Errors, " "), "does not let it go") {
		s.t.Errorf("%s: %s, %d of %d bytes were done, %q", j.Kind, j.State, j.BytesDone, j.Bytes, j.Errors)
	}
}

// eventually waits for something that comes by itself, for a day.
func (s *stage) eventually(what string, is func() bool) {
	s.t.Helper()
	for range 24 * 6 {
		if is() {
			return
		}
		pass(10 * time.Minute)
	}
	s.t.Errorf("%s: not in a day: %+v", what, s.fs.Volumes())
}

// written are the volumes that have data of the archive.
func (s *stage) written() []backend.VolumeInfo {
	return slices.DeleteFunc(s.fs.Volumes(), func(v backend.VolumeInfo) bool { return v.UUID == "" || v.UsedBytes == 0 })
}

// badBlocks is a script that makes the first blocks of data of a volume bad.
func badBlocks(barcode string, n int) string {
	var text strings.Builder
	for block := range n {
		fmt.Fprintf(&text, "bad volume=%s block=1:%d\n", barcode, 6+block)
	}
	return text.String()
}

// twice has files below a path have two copies.
func twice(path string) *policy.Rules {
	return &policy.Rules{
		Pools: []string{catalog.DefaultPool},
		Rules: []*policy.Rule{{Name: "twice", Paths: []string{path}, Settings: policy.Settings{Number: 2}}},
	}
}

func (s *stage) inState(state string) (n int) {
	for _, v := range s.fs.Volumes() {
		if v.State == state {
			n++
		}
	}
	return n
}

func (s *stage) wantDriveFailed(n int) {
	s.t.Helper()
	if h := s.health(); h.failedDrives != n {
		s.t.Errorf("%d drives are out of service, want %d: %q", h.failedDrives, n, h.errors)
	}
}

// wantFailed fails the test if no client was told so.
func (s *stage) wantFailed(failed []string, what string) {
	s.t.Helper()
	if !slices.ContainsFunc(failed, func(f string) bool { return strings.Contains(f, what) }) {
		s.t.Errorf("no client was told %q: %q", what, failed)
	}
}

// wantSaid fails the test if the operator is not told so.
func (s *stage) wantSaid(what string) {
	s.t.Helper()
	if h := s.health(); !strings.Contains(strings.Join(h.errors, "\n"), what) {
		s.t.Errorf("the errors in the status do not say %q: %q", what, h.errors)
	}
}
