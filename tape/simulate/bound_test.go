package simulate

import (
	"fmt"
	"testing"
	"time"

	"sliod/tape"
	"sliod/tape/schedule"
)

// TestNobodyWaitsBeyondTheBound: clients want hours of work of one volume at once, and now and then something of
// other volumes is wanted, by all kinds. Who waits for these does not wait for the day to end.
func TestNobodyWaitsBeyondTheBound(t *testing.T) {
	const others = 4
	p := schedule.DefaultPolicy
	// An exchange of which everything takes as long as it can, and a piece that is being read.
	exchange := 6 * time.Minute
	// The flood has waited longest, so it comes back between two of the others; as what waits for these is little
	// beside it, it has half of Patience each time. The other classes have a drive now and then. A class that starves gets it
	// when the turn of a client is over, once for each of its volumes and of the other class's.
	bound := map[Kind]time.Duration{
		Read:   p.MaxWait[schedule.Client] + (others+2)*(schedule.Patience/2*p.Turn[schedule.Client]+2*exchange),
		Bulk:   p.MaxWait[schedule.Bulk] + 2*(p.MaxWait[schedule.Bulk]+p.Turn[schedule.Client]+2*exchange),
		Verify: p.MaxWait[schedule.Background] + 2*(p.Turn[schedule.Client]+2*exchange) + p.MaxWait[schedule.Bulk],
	}
	worst := map[Kind]time.Duration{}
	for drives := 1; drives <= 2; drives++ { // with two, one serves the flood
		for _, goal := range []schedule.Goal{schedule.LeastTime, schedule.LeastWait} {
			s, err := New(Config{Drives: drives, Goal: goal})
			if err != nil {
				t.Fatal(err)
			}
			s.onServed = func(k Kind, q *pending, a arrival) {
				if q.volume.barcode == "FLOOD1L9" {
					return
				}
				wait := s.now - a.at
				worst[k] = max(worst[k], wait)
				if wait > bound[k] {
					t.Errorf("%d drives, goal %v: a %v of %s waits for %v, more than %v", drives, goal, k, q.volume.barcode, wait, bound[k])
				}
			}
			for i := range 600 {
				must(t, s.Add(Request{Volume: "FLOOD1L9", Block: tape.BlockNo(uint64(i) * 2654435761 % 30_000_000), Length: 200 << 20}))
			}
			for hour := range 6 {
				at := time.Duration(hour) * time.Hour
				for v := range others {
					must(t, s.Add(Request{At: at, Volume: tape.Barcode(fmt.Sprintf("A%05dL9", v)), Block: tape.BlockNo(hour * 3_000_000), Length: 1 << 20}))
				}
				must(t, s.Add(Request{At: at, Volume: "BULK01L9", Block: tape.BlockNo(hour * 3_000_000), Length: 1 << 20, Kind: Bulk}))
				if hour%4 == 0 {
					must(t, s.Add(Request{At: at, Volume: "VERI01L9", Block: tape.BlockNo(hour * 3_000_000), Length: 1 << 20, Kind: Verify}))
				}
			}
			r, err := s.Finish()
			if err != nil {
				t.Fatal(err)
			}
			if r.Makespan < 2*time.Hour {
				t.Errorf("the flood is over after %v", r.Makespan)
			}
		}
	}
	for k, d := range worst {
		t.Logf("%v: %v of %v", k, d, bound[k])
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
