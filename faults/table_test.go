package faults

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// table counts what came of the runs.
type table struct {
	mu   sync.Mutex
	rows map[series]*row
	once map[string]int // runs in which one failure made an operation fail, by kind and command
}

// row is what came of the runs of one series. A run counts in several columns.
type row struct {
	runs     int
	unharmed int // every operation succeeded
	failed   int // one did not: the client or the operator got an error
	suspect  int // a volume is taken out of use
	drive    int // a drive is out of service
	wrong    int // a promise was broken
}

func (t *table) add(o outcome) {
	if o.hit == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rows == nil {
		t.rows, t.once = map[series]*row{}, map[string]int{}
	}
	k := series{o.plan.kind, o.plan.after, o.plan.forever}
	r := t.rows[k]
	if r == nil {
		r = &row{}
		t.rows[k] = r
	}
	count := func(n *int, yes bool) {
		if yes {
			*n++
		}
	}
	r.runs++
	count(&r.unharmed, len(o.failed) == 0)
	count(&r.failed, len(o.failed) > 0)
	count(&r.suspect, len(o.health.suspect) > 0)
	count(&r.drive, o.health.failedDrives > 0)
	count(&r.wrong, o.wrong != nil)
	if !o.plan.forever && len(o.failed) > 0 {
		op, _, _ := strings.Cut(o.failed[0], ":")
		t.once[fmt.Sprintf("%-16s %-6s at %-24s fails %q", o.plan.kind.name, choose(o.plan.after, "after", "before"), o.hit, op)]++
	}
}

// line says in one line what has come of a series until now.
func (t *table) line(s series) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.rows[s]
	if r == nil {
		r = &row{}
	}
	return fmt.Sprintf("%s %s %s: %d runs, %d recovered, %d with an error, %d with a suspect volume, %d with a drive out of service, %d broken", s.kind.name,
		choose(s.after, "after", "before"), choose(s.forever, "forever", "once"), r.runs, r.unharmed, r.failed, r.suspect, r.drive, r.wrong)
}

func (t *table) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	format := "%-18s %-7s %-8s %6s %9s %6s %8s %7s %6s\n"
	fmt.Fprintf(&b, format, "failure", "command", "how long", "runs", "recovered", "error", "suspect", "drive", "broken")
	var sum row
	keys := slices.SortedFunc(maps.Keys(t.rows), func(a, b series) int {
		return cmp.Or(slices.Index(kinds, a.kind)-slices.Index(kinds, b.kind), strings.Compare(a.plan(0).String(), b.plan(0).String()), flag(a.after)-flag(b.after), flag(a.forever)-flag(b.forever))
	})
	line := func(name, when, often string, r *row) {
		fmt.Fprintf(&b, strings.ReplaceAll(format, "s", "v"), name, when, often, r.runs, r.unharmed, r.failed, r.suspect, r.drive, r.wrong)
	}
	for _, k := range keys {
		r := t.rows[k]
		line(k.kind.name, choose(k.after, "done", "not done"), choose(k.forever, "for ever", "once"), r)
		sum.runs, sum.unharmed, sum.failed = sum.runs+r.runs, sum.unharmed+r.unharmed, sum.failed+r.failed
		sum.suspect, sum.drive, sum.wrong = sum.suspect+r.suspect, sum.drive+r.drive, sum.wrong+r.wrong
	}
	line("all", "", "", &sum)
	fmt.Fprintf(&b, "\none failure that made an operation fail:\n")
	for _, k := range slices.Sorted(maps.Keys(t.once)) {
		fmt.Fprintf(&b, "%5d  %s\n", t.once[k], k)
	}
	return b.String()
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
