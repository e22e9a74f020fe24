package faults

import (
	"bytes"
	"context"
	stderrors "errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sliod/backend"
	"sliod/backend/rebuild"
	"sliod/tape"
	"sliod/tape/virtual"
)

// The lives of one run of TestInterruptedAgain that end in an accident, and the library's size: its cartridges are full
// soon.
const (
	cutLives     = 3
	againSlots   = 8
	againTapeMiB = 24
)

// TestInterruptedAgain has a server do all that writes tapes, and stops it at a change of the library's files; the next one in the
// midst of putting that right, at random; and the one after that. In some lives a command fails as well. What was
// acknowledged is there afterwards and from the tapes alone, no volume is out of use, nothing hangs, and when all is
// removed every cartridge can be used again. SLIOD_FAULTS_AGAIN=N does N runs; SLIOD_FAULTS_AGAIN_RUN=SEED one.
func TestInterruptedAgain(t *testing.T) {
	base := disk(t)
	if os.Getenv("SLIOD_FAULTS_AGAIN_RUN") != "" {
		interruptedAgain(t, base, number(t, "SLIOD_FAULTS_AGAIN_RUN", 0))
		return
	}
	seed := number(t, "SLIOD_FAULTS_SEED", rand.Uint64()>>16)
	n := number(t, "SLIOD_FAULTS_AGAIN", 6)
	if testing.Short() {
		n = min(n, 2)
	}
	t.Logf("SLIOD_FAULTS_AGAIN=%d SLIOD_FAULTS_SEED=%d", n, seed)
	r := rand.New(rand.NewPCG(seed, 3))
	in := map[string]int{}
	for range n {
		for _, phase := range interruptedAgain(t, base, r.Uint64()>>32) {
			in[phase]++
		}
		if t.Failed() {
			return
		}
	}
	for _, p := range slices.Sorted(maps.Keys(in)) {
		t.Logf("%5d  %s", in[p], p)
	}
}

// interruptedAgain is one run. It returns the phases in which it was cut off.
func interruptedAgain(t *testing.T, base string, seed uint64) (phases []string) {
	dir, err := os.MkdirTemp(base, "again-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	defer watch(stringer(fmt.Sprint(seed)))()
	var wrong error
	var log strings.Builder
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, 0))
		a := &again{r: r, said: map[string]bool{}, copies: 1 + r.IntN(5)/4, pools: &pools{shared: r.IntN(3) == 0}}
		if r.IntN(3) == 0 {
			a.pools.key = &tape.EncryptionKey{ID: "first"}
			_, _ = rand.NewChaCha8([32]byte{}).Read(a.pools.key.Key[:]) // never fails
		}
		m := a.machine(filepath.Join(dir, "0"))
		if err := m.addForeign(); err != nil {
			t.Fatal(err)
		}
		s := newScript(m)
		s.full.Store(true)
		for i := range cutLives {
			next := a.machine(filepath.Join(dir, fmt.Sprint(i+1)))
			known := newScript(next)
			known.full.Store(true)
			phases = append(phases, a.cutOff(t, i, s, known))
			fmt.Fprintf(&log, "=== life %d, cut off in: %s\n%s", i, phases[i], m.out)
			if wrong = stderrors.Join(s.wrong...); wrong != nil {
				return
			}
			m, s = next, known
		}
		wrong = a.afterwards(s)
		fmt.Fprintf(&log, "=== the last life\n%s", m.out)
	})
	if wrong != nil {
		t.Errorf("SLIOD_FAULTS_AGAIN_RUN=%d (cut off in: %q): %v", seed, phases, wrong)
		if os.Getenv("SLIOD_FAULTS_AGAIN_RUN") != "" {
			t.Log(log.String())
		}
	}
	return phases
}

type stringer string

func (s stringer) String() string { return string(s) }

// again is what the lives of a run share.
type again struct {
	r    *rand.Rand
	made int // files
	// struck: a command has failed in one of the lives.
	struck bool
	// said are volumes that the operator has called suspect.
	said map[string]bool
	// copies is on how many volumes each file is to be.
	copies int
	pools  *pools
}

func (a *again) machine(dir string) *machine {
	m := newMachine(dir)
	m.pools = a.pools
	m.library = virtual.Config{Slots: againSlots, Capacity: againTapeMiB * mib}
	m.tune = func(o *backend.Options) {
		o.ReclaimDead = 0.6
		o.Mover.Linger = time.Minute
		if a.copies > 1 {
			o.Policy = twice("/")
		}
	}
	return m
}

// cutOff is one life, from which next takes over at an instant.
func (a *again) cutOff(t *testing.T, life int, s, next *script) (phase string) {
	m := s.m
	disk := newDisk(filepath.Join(m.dir, "library"))
	if err := disk.load(); err != nil {
		t.Fatal(err)
	}
	p := &phases{}
	m.hook = p.hook
	// The first life has most to do; those after it are cut off soon, when they put things right.
	at := 1 + a.r.IntN(900)
	if life > 0 {
		at = 1 + a.r.IntN(1<<a.r.IntN(10))
	}
	kind := loss(a.r.IntN(int(losses)))
	image := rand.New(rand.NewPCG(a.r.Uint64(), 0))
	turn := make(chan struct{}, 1)
	n, gone := 0, false
	over := make(chan struct{})
	take := func(c virtual.Change) {
		gone, phase = true, p.get()
		next.like(s)
		err := disk.image(filepath.Join(next.m.dir, "library"), kind, c, image)
		if err == nil {
			err = copyState(filepath.Join(m.dir, "state"), filepath.Join(next.m.dir, "state"))
		}
		if err != nil {
			t.Error(err)
		}
		close(over)
	}
	virtual.WatchFiles(func(c virtual.Change) {
		turn <- struct{}{}
		defer func() { <-turn }()
		if gone {
			return
		}
		if n++; n == at {
			synctest.Wait() // all else stands still: a picture of one instant
			take(c)
			return
		}
		disk.apply(c)
	})
	x := &injector{}
	if a.r.IntN(3) == 0 {
		x.plan = plan{nth: 1 + a.r.Int64N(150), kind: kinds[a.r.IntN(len(kinds))], after: a.r.IntN(2) == 0}
	}
	if k := x.plan.kind; k != nil && k.after {
		x.plan.after = true
	}
	a.life(s, x, over)
	x.stop()
	a.struck = a.struck || x.hit != ""
	virtual.WatchFiles(nil)
	if !gone {
		phase = "after the end"
		take(virtual.Change{})
	}
	return phase
}

// life works until over.
func (a *again) life(s *script, x *injector, over <-chan struct{}) {
	m := s.m
	ended := func() bool {
		select {
		case <-over:
			return true
		default:
			return false
		}
	}
	s.failed = nil
	if !s.may("start", m.start(x)) {
		return
	}
	defer func() {
		s.may("stop", m.stop())
	}()
	s.settle()
	s.readAll()
	if _, ok := s.files[unlinkSyncs]; !ok {
		s.create(unlinkSyncs, nil)
	}
	for range 12 {
		if ended() {
			return
		}
		switch a.r.IntN(11) {
		case 8: // a volume gets full soon
			a.made++
			s.create(fmt.Sprintf("/f%d", a.made), pattern(uint64(a.made), (1+a.r.IntN(7))*mib-1))
			s.archiveAndEvict()
		case 9: // what is on it is copied away, and then it is as new
			if v := a.volume(m); v != "" {
				a.said[v] = true
				s.may("set", m.job(backend.JobVolumesSet, v, "suspect"))
				time.Sleep(10 * time.Minute)
				if !s.may("format", m.job(backend.JobFormat, v, "force")) {
					s.may("set", m.job(backend.JobVolumesSet, v, "append"))
				}
			}
		case 10:
			s.may("verify", m.job(backend.JobVerify, "/"))
		case 0, 1, 2:
			for range 1 + a.r.IntN(4) {
				a.made++
				s.create(fmt.Sprintf("/f%d", a.made), pattern(uint64(a.made), 1+a.r.IntN(1<<a.r.IntN(22))))
			}
			s.archiveAndEvict()
		case 3:
			for _, name := range a.some(s, 4) {
				if _, begun := s.begun[name]; !begun {
					s.must("unlink", s.unlink(name))
				}
			}
			s.may("archive", m.job(backend.JobArchive, "/"))
		case 4:
			for _, name := range a.some(s, 2) {
				if _, begun := s.begun[name]; !begun {
					s.write(name, a.r.IntN(len(s.files[name])+1), pattern(uint64(a.r.Uint32()), 1+a.r.IntN(5000)))
				}
			}
			s.archiveAndEvict()
		case 5:
			if v := a.volume(m); v != "" {
				s.may("reclaim", m.job(backend.JobReclaim, v))
			}
		case 6:
			if v := a.volume(m); v != "" {
				s.may("format", m.job(backend.JobFormat, v, "force")) // it is refused if it has data
			}
		case 7:
			if !s.may("stop", m.stop()) || !s.may("start", m.start(x)) {
				return
			}
			s.readAll()
		}
	}
}

// unlink uses this file for its fsync.
const unlinkSyncs = "/empty"

// some chooses up to n files.
func (a *again) some(s *script, n int) []string {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(s.files)), func(name string) bool { return name == unlinkSyncs || len(s.files[name]) == 0 })
	a.r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names[:min(n, len(names))]
}

// volume chooses one of the archive's volumes, "" if there is none.
func (a *again) volume(m *machine) string {
	all := slices.DeleteFunc(m.fs.Volumes(), func(v backend.VolumeInfo) bool { return v.Barcode == precious || v.UsedBytes == 0 })
	if len(all) == 0 {
		return ""
	}
	return all[a.r.IntN(len(all))].Barcode
}

// afterwards is the last life, and what must be after it.
func (a *again) afterwards(s *script) error {
	m := s.m
	s.failed = nil
	if err := m.start(&injector{}); err != nil {
		return fmt.Errorf("the last start: %w", err)
	}
	s.complete()
	a.inUse(s)
	if err := m.stop(); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	if len(s.failed) > 0 {
		s.violated("on sound devices: %q", s.failed)
	}
	if err := stderrors.Join(s.wrong...); err != nil {
		return err
	}
	if err := m.inspect(maps.Clone(s.files)); err != nil {
		return err
	}
	if err := a.rebuilt(s); err != nil {
		return fmt.Errorf("from the tapes alone: %w", err)
	}
	return a.emptied(s)
}

// rebuilt compares what a rebuild makes.
func (a *again) rebuilt(s *script) error {
	m := s.m
	state := filepath.Join(m.dir, "state")
	if err := os.Rename(state, state+".kept"); err != nil {
		return err
	}
	defer func() {
		_ = os.RemoveAll(state)
		_ = os.Rename(state+".kept", state)
	}()
	lib, err := virtual.Open(m.libraryConfig())
	if err != nil {
		return err
	}
	_, err = rebuild.Run(context.Background(), rebuild.Options{Dir: state, Library: lib.Tape(), Log: m.log, Pools: m.pools})
	if err := stderrors.Join(err, lib.Close()); err != nil {
		return err
	}
	if err := m.start(&injector{}); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		got, rerr := m.read(name)
		if rerr != nil || !bytes.Equal(got, s.files[name]) {
			err = stderrors.Join(err, fmt.Errorf("%s has %d bytes, want %d: %w", name, len(got), len(s.files[name]), rerr))
		}
	}
	for _, name := range s.gone {
		if n, gerr := m.fs.Attach(root, name); gerr == nil {
			n.Release()
			err = stderrors.Join(err, fmt.Errorf("%s was removed, and is back", name))
		}
	}
	return stderrors.Join(err, m.stop())
}

// emptied removes all: then each volume can be emptied, formatted and written.
func (a *again) emptied(s *script) error {
	m := s.m
	if err := m.start(&injector{}); err != nil {
		return err
	}
	defer m.stop()
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		if name != unlinkSyncs {
			if err := s.unlink(name); err != nil {
				return err
			}
		}
	}
	if err := m.job(backend.JobArchive, "/"); err != nil {
		return err
	}
	time.Sleep(time.Hour)
	for _, v := range m.fs.Volumes() {
		kind, args := backend.JobReclaim, []string{v.Barcode}
		switch {
		case v.Barcode == precious || v.State == "scratch":
			continue
		case v.State == "suspect" && a.said[v.Barcode]:
			kind, args = backend.JobFormat, append(args, "force")
		case a.struck && (v.State == "suspect" || v.State == "read-only"):
			continue
		}
		if err := m.job(kind, args...); err != nil {
			return fmt.Errorf("%+v: %w", v, err)
		}
	}
	scratch := 0
	for _, v := range m.fs.Volumes() {
		if v.State == "scratch" {
			scratch++
		}
	}
	if scratch == 0 {
		return fmt.Errorf("no volume is scratch: %+v", m.fs.Volumes())
	}
	for i := range scratch / a.copies {
		name := fmt.Sprintf("/last%d", i)
		s.create(name, pattern(uint64(900+i), 10*mib))
		if err := m.job(backend.JobArchive, "/"); err != nil {
			return fmt.Errorf("%d of %d scratch volumes: %w: %+v", i, scratch, err, m.fs.Volumes())
		}
		s.evict()
		s.readOne(name)
	}
	if len(s.failed) > 0 {
		s.violated("at the end: %q", s.failed)
	}
	a.inUse(s)
	return stderrors.Join(s.wrong...)
}

// inUse looks whether a volume is out of use. One is with good reason if a command failed.
func (a *again) inUse(s *script) {
	for _, v := range s.m.fs.Volumes() {
		if !a.struck && v.Barcode != precious && !a.said[v.Barcode] && (v.State == "suspect" || v.State == "read-only") {
			s.violated("volume %+v is out of use", v)
		}
	}
}
