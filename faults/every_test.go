package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// outcome is what came of one run.
type outcome struct {
	plan   plan
	hit    string   // the command that failed first, "" if the script ended before
	failed []string // operations
	health health
	count  int64
	wrong  error
}

// disk is where the machines are: in memory, if there is room. Syncs to a disk are
// most of the time of a run, and loss of power is another test's.
func disk(t *testing.T) string {
	base := ""
	if _, err := os.Stat("/dev/shm"); err == nil {
		base = "/dev/shm"
	}
	dir, err := os.MkdirTemp(base, "sliod-faults-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// realPatience ends a run that hangs on a lock, which the bubble's clock cannot see.
const realPatience = 5 * time.Minute

// watch ends the process, with all stacks, if the run takes longer than that. The caller
// calls the function that it returns.
func watch(run fmt.Stringer) (stop func() bool) {
	return time.AfterFunc(realPatience, func() {
		b := make([]byte, 4<<20)
		panic(fmt.Sprintf("faults: run %q hangs\n%s", run, b[:runtime.Stack(b, true)]))
	}).Stop
}

// runPlan does one run in a bubble.
func runPlan(t *testing.T, base string, p plan) (o outcome) {
	dir, err := os.MkdirTemp(base, "run-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	defer watch(p)()
	var log string
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(dir)
		if err := m.addForeign(); err != nil {
			t.Fatal(err)
		}
		x := &injector{plan: p}
		s := newScript(m)
		s.run(x)
		x.stop()
		o = outcome{plan: p, hit: x.hit, count: x.count, failed: s.failed, health: s.health}
		o.wrong = s.sound()
		if o.wrong == nil {
			o.wrong = m.inspect(s.files)
		}
		log = m.out.String()
	})
	if o.wrong != nil { // not in the bubble: a failed bubble ends the test
		t.Errorf("SLIOD_FAULTS_RUN=%q (%s): %v\nfailed: %q\nerrors: %q", p, o.hit, o.wrong, o.failed, o.health.errors)
		if os.Getenv("SLIOD_FAULTS_RUN") != "" {
			t.Log(log)
		}
	}
	return o
}

// series is all plans of one kind of failure.
type series struct {
	kind           *kind
	after, forever bool
}

func (s series) plan(nth int64) plan { return plan{nth, s.kind, s.after, s.forever} }

// allSeries returns the series of all kinds, or of those that SLIOD_FAULTS_KINDS names, with commas between.
func allSeries(t *testing.T) []series {
	var all []series
	chosen := kinds
	if s := os.Getenv("SLIOD_FAULTS_KINDS"); s != "" {
		chosen = nil
		for _, name := range strings.Split(s, ",") {
			k := kindNamed(name)
			if k == nil {
				t.Fatalf("SLIOD_FAULTS_KINDS: there is no kind %q", name)
			}
			chosen = append(chosen, k)
		}
	}
	for _, k := range chosen {
		for _, after := range []bool{false, true} {
			if k.after && !after {
				continue
			}
			for _, forever := range []bool{false, true} {
				all = append(all, series{k, after, forever})
			}
		}
	}
	return all
}

// TestNoFault runs the script on sound devices: nothing may fail.
func TestNoFault(t *testing.T) {
	o := runPlan(t, disk(t), plan{})
	if len(o.failed) > 0 || o.health.failedDrives > 0 || len(o.health.suspect) > 0 || len(o.health.errors) != 1 {
		t.Errorf("failed: %q, health: %+v; only the foreign cartridge is refused", o.failed, o.health)
	}
	t.Logf("%d commands", o.count)
}

// TestFoundBefore repeats runs that have found something. The numbers of commands have
// moved since, but the neighbourhood is the same.
func TestFoundBefore(t *testing.T) {
	base := disk(t)
	for _, s := range []string{
		"89 write-protect after forever", // every volume was called write-protected
		"24 medium-read before forever",  // the arm's errors were blamed on volumes
		"257 medium-write after once",    // a suspect volume was left without its index
		"161 busy after forever",         // two drives, and the cartridge of one: tried for ever
		"276 illegal-field after forever",
		"38 blank before once",          // a foreign cartridge was called blank by the second of two looks, and formatted
		"169 end-of-medium before once", // the answer to a question was taken for one to the index
		"148 busy after once",           // a record was written twice, and all behind it was one off
	} {
		p, err := parsePlan(s)
		if err != nil {
			t.Fatal(err)
		}
		runPlan(t, base, p)
	}
}

// sampleRuns is how many runs of the product a plain `go test` does.
const sampleRuns = 200

func TestEveryCommandFails(t *testing.T) {
	base := disk(t)
	if s := os.Getenv("SLIOD_FAULTS_RUN"); s != "" {
		p, err := parsePlan(s)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", runPlan(t, base, p))
		return
	}
	var tab table
	defer func() { t.Logf("\n%s", tab.String()) }()
	seed, whole, n := sample(t, sampleRuns)
	if whole {
		every(t, base, &tab)
		return
	}
	r := rand.New(rand.NewPCG(seed, 0))
	all := allSeries(t)
	last := map[series]int64{} // the highest number that a command has had
	sound := runPlan(t, base, plan{}).count
	for range n {
		s := all[r.IntN(len(all))]
		limit := sound
		if l, ok := last[s]; ok {
			limit = l
		}
		o := runPlan(t, base, s.plan(1+r.Int64N(limit)))
		if o.hit == "" {
			last[s] = max(o.count, 1)
		}
		tab.add(o)
	}
}

// every runs the whole product: each series until a run gets to its end without a
// failure. It takes hours, so it says what has come of each series at once.
func every(t *testing.T, base string, tab *table) {
	work := make(chan series)
	all := allSeries(t)
	go func() {
		defer close(work)
		for _, s := range all {
			work <- s
		}
	}()
	var ended atomic.Int64
	t.Run("series", func(t *testing.T) {
		for i := range max(1, runtime.GOMAXPROCS(0)) {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				for s := range work {
					for nth := int64(1); ; nth++ {
						o := runPlan(t, base, s.plan(nth))
						tab.add(o)
						if o.hit == "" {
							break
						}
					}
					t.Logf("series %d of %d: %s", ended.Add(1), len(all), tab.line(s))
				}
			})
		}
	})
}

// sample says how much of a product a test does: all of it, or n runs that follow from
// the seed.
func sample(t *testing.T, normal int) (seed uint64, whole bool, n int) {
	seed, n = number(t, "SLIOD_FAULTS_SEED", rand.Uint64()>>16), normal
	switch s := os.Getenv("SLIOD_FAULTS"); {
	case s == "all":
		return seed, true, 0
	case s != "":
		n = int(number(t, "SLIOD_FAULTS", 0))
	case testing.Short():
		n /= 5
	}
	t.Logf("SLIOD_FAULTS=%d SLIOD_FAULTS_SEED=%d", n, seed)
	return seed, false, n
}

// number is what an environment variable says; otherwise, if it is not set.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s=%s: give a number", name, s)
	}
	return n
}
