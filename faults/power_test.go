package faults

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// phases tells what the library was doing, from the commands that it gets.
type phases struct {
	mu      sync.Mutex
	now     string
	inIndex bool // between the filemarks of an index in the data partition
}

// hook is the library's.
func (p *phases) hook(e virtual.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	mark := e.Opcode == scsi.OpWriteFilemarks6 && e.CDB[4] > 0
	labels := e.Position.Block < 4
	switch {
	case e.After:
		if mark && e.Position.Partition == 1 && e.Position.Block > 4 {
			p.inIndex = !p.inIndex
		}
		return
	case e.Device == virtual.Changer:
		p.now = "move"
	case e.Opcode == scsi.OpFormatMedium:
		p.now = "format"
	case e.Opcode == scsi.OpWriteAttribute:
		p.now = "memory of the cartridge"
	case e.Opcode == scsi.OpLocate16 && p.now == "index, data partition":
		p.now = "between the partitions"
	case e.Opcode == scsi.OpWrite6 || e.Opcode == scsi.OpWriteFilemarks6:
		switch {
		case labels:
			p.now = "labels"
		case e.Position.Partition == 0:
			p.now = "index, index partition"
		case mark || p.inIndex:
			p.now = "index, data partition"
		case e.Opcode == scsi.OpWriteFilemarks6:
			p.now = "flush"
		default:
			p.now = "data"
		}
	case e.Opcode == scsi.OpLoadUnload:
		p.now = "load and unload"
	default:
		p.now = "other commands"
	}
}

func (p *phases) get() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now == "" {
		return "before the first command"
	}
	return p.now
}

// accident is one loss of power.
type accident struct {
	at   int // before this change of the library's files, from 1
	loss loss
	seed uint64
}

func (a accident) String() string { return fmt.Sprintf("%d %d %d", a.at, a.loss, a.seed) }

// TestPowerLoss cuts the power before each change of the library's files, with all that
// the script has done so far. The server and the library lose it together; what the
// kernel has of the catalog and the cache is kept, as their packages test that.
// Afterwards everything that was confirmed is there, and the volumes are in order.
func TestPowerLoss(t *testing.T) {
	base := disk(t)
	if s := os.Getenv("SLIOD_POWER_RUN"); s != "" {
		var a accident
		if _, err := fmt.Sscan(s, &a.at, &a.loss, &a.seed); err != nil {
			t.Fatal(err)
		}
		t.Log(powerLoss(t, base, a))
		return
	}
	steps := changes(t, base)
	seed, whole, n := sample(t, 80)
	r := rand.New(rand.NewPCG(seed, 1))
	var list []accident
	if whole {
		for at := range steps {
			for l := range losses {
				list = append(list, accident{at + 1, l, r.Uint64() >> 32})
			}
		}
	} else {
		list = stratified(steps, n, r)
	}
	done, adopted := map[string]int{}, 0
	for _, a := range list {
		phase, repaired := powerLoss(t, base, a)
		done[phase]++
		if repaired {
			adopted++
		}
		if t.Failed() && !whole {
			break
		}
	}
	t.Logf("%d changes of files in the script, %d losses of power; %d had volumes put in order. In which phase:", len(steps), len(list), adopted)
	for _, p := range slices.Sorted(maps.Keys(done)) {
		t.Logf("%5d  %s", done[p], p)
	}
}

// changes runs the script once, and returns the phase of each change of the library's
// files.
func changes(t *testing.T, base string) (steps []string) {
	dir, err := os.MkdirTemp(base, "power-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(dir)
		if err := m.addForeign(); err != nil {
			t.Fatal(err)
		}
		p := &phases{}
		m.hook = p.hook
		var mu sync.Mutex
		virtual.WatchFiles(func(virtual.Change) {
			mu.Lock()
			steps = append(steps, p.get())
			mu.Unlock()
		})
		defer virtual.WatchFiles(nil)
		newScript(m).run(&injector{})
	})
	return steps
}

// stratified chooses n accidents, of each phase about as many.
func stratified(steps []string, n int, r *rand.Rand) []accident {
	by := map[string][]int{}
	for i, p := range steps {
		by[p] = append(by[p], i+1)
	}
	names := slices.Sorted(maps.Keys(by))
	var list []accident
	for i := range n {
		at := by[names[i%len(names)]]
		list = append(list, accident{at[r.IntN(len(at))], loss(i / len(names) % int(losses)), r.Uint64() >> 32})
	}
	return list
}

// powerLoss does one accident. It returns the phase that it fell in, and whether a
// volume had to be put in order afterwards.
func powerLoss(t *testing.T, base string, a accident) (phase string, repaired bool) {
	dir, err := os.MkdirTemp(base, "power-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	defer watch(a)()
	var wrong error
	var log string
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(filepath.Join(dir, "before"))
		if err := m.addForeign(); err != nil {
			t.Fatal(err)
		}
		disk := newDisk(filepath.Join(m.dir, "library"))
		if err := disk.load(); err != nil {
			t.Fatal(err)
		}
		p := &phases{}
		m.hook = p.hook
		s := newScript(m)
		after := newMachine(filepath.Join(dir, "after"))
		known := newScript(after) // what was confirmed when the power went
		// One change at a time. It is no mutex: the bubble must see that who waits for it
		// stands still.
		turn := make(chan struct{}, 1)
		n, gone := 0, false
		virtual.WatchFiles(func(c virtual.Change) {
			turn <- struct{}{}
			defer func() { <-turn }()
			if n++; n == a.at {
				synctest.Wait() // all else stands still: a picture of one instant
				gone, phase = true, p.get()
				known.like(s)
				err := disk.image(filepath.Join(after.dir, "library"), a.loss, c, rand.New(rand.NewPCG(a.seed, 0)))
				if err == nil {
					err = copyState(filepath.Join(m.dir, "state"), filepath.Join(after.dir, "state"))
				}
				if err != nil {
					t.Error(err)
				}
			}
			disk.apply(c)
		})
		s.run(&injector{})
		virtual.WatchFiles(nil)
		if !gone {
			known.like(s)
			phase = "after the end"
			return
		}
		if wrong = known.sound(); wrong == nil {
			wrong = after.inspect(known.files)
		}
		log = after.out.String()
		repaired = strings.Contains(log, "was not closed in good order")
		if wrong == nil && repaired {
			wrong = saidWhatBecame(log)
		}
	})
	if wrong != nil {
		t.Errorf("SLIOD_POWER_RUN=%q (%v; during: %s): %v", a, a.loss, phase, wrong)
		if os.Getenv("SLIOD_POWER_RUN") != "" {
			t.Log(log)
		}
	}
	return phase, repaired
}

// saidWhatBecame says whether the log tells what became of each volume that was not
// closed in good order: its data adopted, or the volume formatted again.
func saidWhatBecame(log string) error {
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "was not closed in good order") {
			continue
		}
		_, volume, _ := strings.Cut(line, " volume=")
		volume = strings.Fields(volume)[0]
		if !slices.ContainsFunc(strings.Split(log, "\n"), func(l string) bool {
			return strings.Contains(l, "volume="+volume) && (strings.Contains(l, "were put in its index from the catalog") || strings.Contains(l, "formatting"))
		}) {
			return fmt.Errorf("the log does not say what became of volume %s: %s", volume, line)
		}
	}
	return nil
}

// copyState copies the catalog and the cache.
func copyState(from, to string) error {
	if _, err := os.Stat(from); os.IsNotExist(err) {
		return nil
	}
	return os.CopyFS(to, os.DirFS(from))
}
