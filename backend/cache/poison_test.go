//go:build invariants

package cache

import (
	"strings"
	"testing"

	"sliod/backend/sliver"
)

// A write that comes after the place was given back is found when the place is given out.
func TestLateWriteIsFound(t *testing.T) {
	defer func(f func(string)) { crash = f }(crash)
	crash = func(why string) { panic(why) }
	for _, x := range []struct {
		name string
		n    int // of the sliver that is gone
	}{{"whole", sliver.Size}, {"small", 3000}, {"record", 3000}} {
		c, _ := open(t)
		var gone *slot
		// Another small slot keeps the chunk cut.
		for i, n := range []int{x.n, 100} {
			k := sliver.Key{File: sliver.FileID(5 + i)}
			if _, err := c.Write(k, hole, 0, pattern(1, n), nil); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				gone = c.lookup(k).slot
			}
		}
		off, n := gone.off(), gone.class.size()
		c.Drop(5, 0)
		if x.name == "record" { // of a chunk that is free as a whole
			c.Drop(6, 0)
			off, n = gone.recordOff(), sliver.Size
		}
		if err := c.st.arena.put([]byte{4}, off); err != nil {
			t.Fatal(err)
		}
		func() {
			defer c.mu.Unlock() // as the panic leaves it
			defer func() {
				if s, _ := recover().(string); !strings.Contains(s, "wrote to the free place") {
					t.Errorf("%s: not found: %q", x.name, s)
				}
			}()
			c.mu.Lock()
			c.tryAlloc(classFor(n))
		}()
	}
}
