package rebuild

import (
	"testing"

	"sliod/backend"
	"sliod/tape"
)

// TestReclaimedVolume rebuilds an archive after its first volume was emptied: with that volume, which
// still has its old data and index, without it, and when it was written again. Nothing is missing, and nothing that was
// removed comes back.
func TestReclaimedVolume(t *testing.T) {
	for _, how := range []string{"with it", "without it", "written again"} {
		t.Run(how, func(t *testing.T) {
			r := newRig(t, t.TempDir())
			defer r.end()
			first, second, _ := r.twoVolumes()
			r.open()
			r.mkdir("/renamed/empty")
			r.write("/renamed/nothing", 0, nil)
			r.write("/gone", 0, content(5, 3000))
			r.settle()
			r.open()
			r.remove("/gone")
			r.settle()
			r.open()
			// The second volume has only what is newer: the lists of removed files are on both.
			r.job(backend.JobReclaim, string(second))
			r.wantState(second, "scratch")
			r.settle()
			if how == "written again" {
				r.open()
				fill := 0
				for ; r.state(second) == "scratch" && fill < 100; fill++ {
					r.write("/fill"+string(rune('0'+fill%10))+string(rune('0'+fill/10)), 0, content(uint64(10+fill), 5*mib))
					r.settle()
					r.open()
				}
				if fill == 100 {
					t.Fatal("the reclaimed volume was not used")
				}
				r.settle()
			}
			want := r.snapshot()
			if how == "without it" {
				r.hidden = second
			}
			r.forget()
			r.rebuild()
			r.same(want, r.snapshot())
			if first == second {
				t.Error(first)
			}
		})
	}
}

func (r *rig) state(b tape.Barcode) (state string) {
	r.t.Helper()
	for _, v := range r.fs.Volumes() {
		if v.Barcode == string(b) {
			state = v.State
		}
	}
	return state
}

func (r *rig) wantState(b tape.Barcode, want string) {
	r.t.Helper()
	if got := r.state(b); got != want {
		r.t.Fatalf("volume %s is %s, not %s", b, got, want)
	}
}
