package bridge

import "testing"

func TestContinues(t *testing.T) {
	for _, tc := range []struct {
		before, now string
		want        bool
	}{
		{"A", "A", true},     // the same server: only the connection was lost
		{"A Z", "A Z", true}, //
		{"A", "B A", true},   // stopped cleanly, and started again
		{"A Z", "B A", true}, //
		{"A", "B", false},    // killed
		{"A", "C B", false},  // killed, and then stopped cleanly
		{"A", "C B A", true}, // stopped cleanly twice
		{"A Z", "C B A Z", true},
		{"A Z", "C B Z", false}, // only the run that was there counts
		{" ", " ", false},
		{"A", "  B  A ", true}, //
		{"", "", false},        // a server that does not say
		{"", "A", false},       //
		{"A", "", false},       //
		{"A", "B AA", false},   //
	} {
		if got := continues(tc.before, tc.now); got != tc.want {
			t.Errorf("before %q, now %q: %v", tc.before, tc.now, got)
		}
	}
}
