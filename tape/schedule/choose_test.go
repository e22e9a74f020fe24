package schedule

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"sliod/tape"
	"sliod/tape/geometry"
)

// TestScripts runs the golden scripts in testdata: one drive, several volumes,
// a clock that stands still until told.
//
//	policy max-wait=10m turn=3m
//	volume A goal=time [generation=LTO-9]    how requests of A are put in order; else nothing is known of a volume
//	add                                      lines of volume, key, block, offset in the block, MiB
//	advance 30s
//	serve n=3        takes n requests of the mounted volume; the clock goes on by what the model says that they take
//	decide           stay, exchange or idle, and does it; an exchange is followed by replan
//	replan           puts the mounted volume in order as a whole, if that pays
//	recommend key... the drive's order
//	plan             what the mounted volume's queue will do: wrap, metres, estimate
//	drop vol=A key=f1
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		p := DefaultPolicy
		now := time.Unix(1000, 0)
		queues := map[string]*Queue[string]{}
		mounted, since := "", now
		demand := func(v string) Demand {
			q := queues[v]
			if q == nil {
				return Demand{Volume: tape.Barcode(v)}
			}
			return Demand{Volume: tape.Barcode(v), Slivers: q.Len(), Bytes: q.Bytes(), Oldest: q.Oldest()}
		}
		datadriven.RunTest(t, path, func(t *testing.T, td *datadriven.TestData) string {
			var out strings.Builder
			switch td.Cmd {
			case "policy":
				var mw, turn string
				td.ScanArgs(t, "max-wait", &mw)
				td.ScanArgs(t, "turn", &turn)
				p.MaxWait, _ = time.ParseDuration(mw)
				p.Turn, _ = time.ParseDuration(turn)
			case "add":
				for line := range strings.Lines(td.Input) {
					var vol, key string
					var block uint64
					var off uint32
					var mib int
					if _, err := fmt.Sscan(line, &vol, &key, &block, &off, &mib); err != nil {
						td.Fatalf(t, "%q: %v", line, err)
					}
					if queues[vol] == nil {
						queues[vol] = NewQueue[string](Planner{MaxWait: p.MaxWait})
					}
					if !queues[vol].Add(key, place(block, off), mib<<20, now) {
						fmt.Fprintf(&out, "%s is queued already\n", key)
					}
				}
			case "volume":
				vol, name, goal := td.CmdArgs[0].Key, "LTO-9", ""
				td.ScanArgs(t, "goal", &goal)
				td.MaybeScanArgs(t, "generation", &name)
				lto, _ := geometry.ByName(name)
				pl := Planner{Map: geometry.NewMap(geometry.Volume{Generation: lto, Partitions: 2}), MaxWait: p.MaxWait}
				for _, pl.Goal = range []Goal{ByBlock, LeastTime, LeastWait} {
					if pl.Goal.String() == goal {
						break
					}
				}
				queues[vol] = NewQueue[string](pl)
			case "replan":
				fmt.Fprintf(&out, "%v\n", queues[mounted].Stale(now))
				queues[mounted].Replan(now)
			case "recommend":
				var keys []string
				for _, a := range td.CmdArgs {
					keys = append(keys, a.Key)
				}
				queues[mounted].Recommend(now, keys)
			case "plan":
				q := queues[mounted]
				for k, left := range q.Estimates(now) {
					e := q.items[k]
					late := ""
					if e.pass == q.next {
						late = ", next pass"
					}
					fmt.Fprintf(&out, "%s: wrap %d, %.0f m, in %.0f s%s\n", k, e.from.Wrap, e.from.Metres, left.Seconds(), late)
				}
			case "drop":
				var vol, key string
				td.ScanArgs(t, "vol", &vol)
				td.ScanArgs(t, "key", &key)
				fmt.Fprintln(&out, queues[vol].Remove(key))
			case "advance":
				d, err := time.ParseDuration(td.CmdArgs[0].Key)
				if err != nil {
					td.Fatalf(t, "%v", err)
				}
				now = now.Add(d)
			case "serve":
				n := 1
				td.MaybeScanArgs(t, "n", &n)
				for range n {
					k, at, ok := "", Place{}, false
					if q := queues[mounted]; q != nil {
						k, at, ok = q.Next(now)
						if ok && q.planner.Map != unknown {
							now = q.doneAt
						}
					}
					if !ok {
						fmt.Fprintln(&out, "nothing")
						break
					}
					fmt.Fprintf(&out, "%s at %v+%d\n", k, at.Position, at.Offset)
				}
			case "decide":
				var others []Demand
				for v := range queues {
					if v != mounted {
						others = append(others, demand(v))
					}
				}
				i := p.Choose(now, others)
				switch {
				case p.Stay(now, since, demand(mounted), others):
					fmt.Fprintf(&out, "stay on %q\n", mounted)
				default:
					mounted, since = string(others[i].Volume), now
					queues[mounted].Rewind()
					queues[mounted].Replan(now)
					fmt.Fprintf(&out, "exchange to %q\n", mounted)
				}
			default:
				td.Fatalf(t, "unknown command %s", td.Cmd)
			}
			return out.String()
		})
	})
}

func TestChooseDoesNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(10_000, 0)
		ds := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Demand {
			return Demand{
				Slivers: rapid.IntRange(0, 3).Draw(t, "slivers"),
				Bytes:   rapid.Int64Range(0, 1<<32).Draw(t, "bytes"),
				Oldest:  now.Add(-time.Duration(rapid.IntRange(0, 2000).Draw(t, "age")) * time.Second),
				Urgent:  rapid.IntRange(0, 5).Draw(t, "urgent") == 0,
			}
		}), 0, 8).Draw(t, "demands")
		for i := range ds {
			ds[i].Volume = tape.Barcode(fmt.Sprintf("A%05dL9", i))
		}
		p := DefaultPolicy
		i := p.Choose(now, ds)
		if i < 0 {
			if slices.ContainsFunc(ds, func(d Demand) bool { return d.Slivers > 0 }) {
				t.Fatal("work was not seen")
			}
			return
		}
		want := ds[i]
		if want.Slivers == 0 {
			t.Fatal("a demand without work was chosen")
		}
		for _, d := range ds {
			if d.Slivers > 0 && !want.Urgent && !d.Urgent && p.Overdue(now, &d) && d.Oldest.Before(want.Oldest) {
				t.Fatalf("%v is overdue and older than %v", d, want)
			}
		}
		shuffled := slices.Clone(ds)
		rand.New(rand.NewSource(1)).Shuffle(len(shuffled), func(a, b int) { shuffled[a], shuffled[b] = shuffled[b], shuffled[a] })
		if got := shuffled[p.Choose(now, shuffled)]; got != want {
			t.Fatalf("chose %v, in another order %v", want, got)
		}
	})
}

// TestStarvation simulates one drive, a volume with endless work and another
// with one request: that one is served within MaxWait, a Turn and an exchange.
func TestStarvation(t *testing.T) {
	p := DefaultPolicy
	start := time.Unix(0, 0)
	lone := Demand{Volume: "B", Slivers: 1, Bytes: 1 << 20, Oldest: start}
	for now := start; ; now = now.Add(time.Second) {
		busy := Demand{Volume: "A", Slivers: 5000, Bytes: 5000 << 20, Oldest: now.Add(-time.Second)}
		if !p.Stay(now, start, busy, []Demand{lone}) {
			break
		}
		if now.Sub(start) > p.MaxWait+p.Turn {
			t.Fatal("the lone request waits for ever")
		}
	}
	if !p.Stay(start, start, Demand{Volume: "A"}, nil) {
		t.Error("a volume without work leaves though nothing else is wanted")
	}
	if p.Stay(start, start, Demand{Volume: "A", Slivers: 1}, []Demand{{Slivers: 1, Archive: true, Urgent: true, Oldest: start}}) {
		t.Error("urgent archive work waits for a recall")
	}
}
