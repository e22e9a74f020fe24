package cache

import (
	"math/rand/v2"
	"time"
)

// late has a write of n bytes begin late now and then, under the invariants tag, as when
// its thread is not let run for a while: what must not happen meanwhile gets time to happen.
// Records are held up longer, since they are written last and nobody waits for them.
func late(n int) {
	if !invariants {
		return
	}
	oneIn, atMost := 16, 10*time.Millisecond
	if n == recordSize {
		oneIn, atMost = 4, 150*time.Millisecond
	}
	if rand.IntN(oneIn) == 0 {
		time.Sleep(rand.N(atMost))
	}
}
