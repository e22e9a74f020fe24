// Command order compares ways to put recalls of one volume in order, by the model of LTO-9: first come, by
// block, SCAN, nearest first, and what SLIOD does (tape/schedule/order). It prints a Markdown table.
// docs/benchmarks.md says what the columns mean. Times are of the processor, so that other work on the
// machine does not count.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sliod/tape/schedule/order"
)

var (
	seeds = flag.Int("seeds", 5, "batches of each kind and size")
	long  = flag.Duration("long", 10*time.Second, "time for the long search, for each batch of 64 and 512 stops; 0 leaves it out")
	only  = flag.String("goal", "", "\"least time\" or \"least wait\": this one only")
	sizes = flag.String("sizes", "8,12,16,32,64,128,256,512,1024,2048,4096", "requests of a batch")
	check = flag.Bool("check", false, "exit with status 1 if a target is missed")
)

var policies = []struct {
	name string
	do   func(*order.Batch) []int
}{{"first come", order.FirstCome}, {"by block", order.ByBlock}, {"SCAN", order.Scan}, {"nearest", order.Nearest}}

const (
	scan, nearest = 2, 3 // in policies

	within = 1.02 // of the exact order, and of the long search
	better = 1.05 // than SCAN and nearest first, on average from 16 requests on
	budget = 100 * time.Millisecond
)

// row is the mean of the batches of one kind and size.
type row struct {
	goal    order.Goal
	kind    string
	n       int
	stops   float64
	seconds float64 // a request: of the whole for the least time, of the wait for the least wait
	ratio   [4]float64
	exact   float64 // local search to the exact order; 0: not known
	long    float64 // to the long search; 0: not known
	took    time.Duration
}

func main() {
	flag.Parse()
	runtime.LockOSThread() // processor time is counted by thread
	missed := false
	for _, goal := range []order.Goal{order.LeastTime, order.LeastWait} {
		if *only != "" && *only != goal.String() {
			continue
		}
		fmt.Printf("\n%v\n\n| batch | n | stops | s a request | first come | by block | SCAN | nearest | to the exact | to %v | ms |\n|---|---|---|---|---|---|---|---|---|---|---|\n", goal, *long)
		var rows []row
		for _, kind := range kinds {
			for text := range strings.SplitSeq(*sizes, ",") {
				n, err := strconv.Atoi(text)
				if err != nil || n < 1 {
					fmt.Fprintf(os.Stderr, "order: --sizes: %q is not a number of requests\n", text)
					os.Exit(2)
				}
				r := measure(goal, kind, n)
				rows = append(rows, r)
				fmt.Printf("| %s | %d | %.0f | %.1f | %.2f | %.2f | %.3f | %.3f | %s | %s | %.1f |\n", r.kind, r.n, r.stops, r.seconds,
					r.ratio[0], r.ratio[1], r.ratio[2], r.ratio[3], known(r.exact), known(r.long), float64(r.took.Microseconds())/1000)
			}
		}
		missed = summary(rows) || missed
	}
	if missed && *check {
		os.Exit(1)
	}
}

func known(ratio float64) string {
	if ratio == 0 {
		return ""
	}
	return fmt.Sprintf("%.4f", ratio)
}

// measure compares on some batches.
func measure(goal order.Goal, kind string, n int) row {
	r := row{goal: goal, kind: kind, n: n}
	share := 1 / float64(*seeds)
	for seed := range *seeds {
		b := batch(kind, n, uint64(seed), goal)
		begin := clock()
		mine := b.Cost(order.Best(b))
		r.took += (clock() - begin) / time.Duration(*seeds)
		r.stops += share * float64(len(b.Stops))
		r.seconds += share * mine / float64(n)
		for i, p := range policies {
			r.ratio[i] += share * b.Cost(p.do(b)) / mine
		}
		if len(b.Stops) <= order.MaxExact {
			r.exact += share * b.Cost(order.Search(b, order.Usual(len(b.Stops)))) / b.Cost(order.Exact(b))
		}
		if *long > 0 && seed == 0 && (n == 64 || n == 512) {
			r.long = mine / longest(b)
		}
	}
	return r
}

// longest is the cost of the best order that is found in a long time: one search that goes on, and many
// that begin anew with other dice, more neighbours, longer pieces.
func longest(b *order.Batch) float64 {
	least := b.Cost(order.Best(b))
	begin := clock()
	work := int(2e6)
	for seed := uint64(1); clock()-begin < *long; seed++ {
		e := order.Effort{Work: work, Near: 8 + int(seed%2)*4, Reach: 3 + int(seed%3)*4, Span: []int{5, 10, 30, 50}[seed%4], Seed: seed}
		least = min(least, b.Cost(order.Search(b, e)))
		work = min(work*3/2, 2e8)
	}
	return least
}

// summary says whether the targets are met.
func summary(rows []row) (missed bool) {
	var scans, nears, far []float64
	worst := struct{ exact, long float64 }{}
	var took time.Duration
	for _, r := range rows {
		if r.n >= 16 {
			scans, nears = append(scans, r.ratio[scan]), append(nears, r.ratio[nearest])
			far = append(far, min(r.ratio[scan], r.ratio[nearest]))
		}
		worst.exact, worst.long = max(worst.exact, r.exact), max(worst.long, r.long)
		took = max(took, r.took)
	}
	say := func(what string, got, target float64, ok bool) {
		state := "met"
		if !ok {
			state, missed = "MISSED", true
		}
		fmt.Printf("- %s: %.4f, target %.2f: %s\n", what, got, target, state)
	}
	fmt.Println()
	if len(far) == 0 {
		return false
	}
	say("SCAN, on average from 16 on", mean(scans), better, mean(scans) >= better)
	say("nearest first, on average from 16 on", mean(nears), better, mean(nears) >= better)
	fmt.Printf("- the better of the two: %.4f on average, %.4f at least\n", mean(far), slices.Min(far))
	say("local search to the exact order, the worst row", worst.exact, within, worst.exact <= within)
	if *long > 0 {
		say(fmt.Sprintf("to what is found in %v, the worst row", *long), worst.long, within, worst.long <= within)
	}
	say("milliseconds, the worst row", float64(took.Microseconds())/1000, float64(budget.Milliseconds()), took < budget)
	return missed
}

func mean(xs []float64) float64 {
	sum := 0.0
	for _, x := range xs {
		sum += x
	}
	return sum / float64(len(xs))
}

// clock is the processor time of this thread.
func clock() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano())
}
