package cache

import (
	"slices"
	"testing"

	"sliod/backend/vfs"
)

// TestClassOfAFault: a fault has the class of the most urgent request that waits for
// it, and the mover is told when that changes.
func TestClassOfAFault(t *testing.T) {
	c, r := open(t)
	class := func(want vfs.Class) {
		t.Helper()
		if alive, _, got := c.FaultWanted(k0, r.lastFault()); !alive || got != want {
			t.Fatalf("class %v, want %v (alive %v)", got, want, alive)
		}
	}
	told := func(want int) {
		t.Helper()
		if len(r.reclassed) != want || slices.ContainsFunc(r.reclassed, func(s uint64) bool { return s != r.lastFault() }) {
			t.Fatalf("told of %v, want %d times %d", r.reclassed, want, r.lastFault())
		}
	}
	park := func(class vfs.Class) *answer {
		t.Helper()
		a := newAnswer()
		a.Class = class
		if _, err := c.Read(k0, absent(100), 0, 1, &a.Waiter); err != vfs.ErrParked {
			t.Fatal(err)
		}
		return a
	}
	up := park(vfs.Background)
	class(vfs.Background)
	told(0)
	bulk := park(vfs.Bulk)
	class(vfs.Bulk)
	told(1)
	if !c.SetClass(&up.Waiter, vfs.Client) || !c.SetClass(&bulk.Waiter, vfs.Background) {
		t.Error("a parked request keeps its class")
	}
	class(vfs.Client)
	told(2)
	c.SetClass(&bulk.Waiter, vfs.Bulk)
	c.SetClass(&up.Waiter, vfs.Background)
	class(vfs.Bulk)
	told(3)
	r.reclassed = r.reclassed[:1]
	client := park(vfs.Client)
	second := park(vfs.Client)
	class(vfs.Client)
	told(2)
	w := newAnswer()
	if _, err := c.Write(k0, absent(100), 3, []byte("abc"), &w.Waiter); err != vfs.ErrParked {
		t.Fatal(err)
	}
	c.Cancel(&client.Waiter)
	c.Cancel(&second.Waiter)
	class(vfs.Client) // the write
	told(2)
	c.Cancel(&w.Waiter)
	class(vfs.Bulk)
	told(3)
	c.Cancel(&bulk.Waiter)
	class(vfs.Background)
	told(4)
	c.Cancel(&up.Waiter) // nobody is left: the fault is unwanted
	told(4)
	if len(r.unwanted) != 1 {
		t.Fatal("not unwanted")
	}

	// Read-ahead for a client, which a job comes to want too, stays a client's.
	c.DropFault(k0, r.lastFault())
	r.reclassed = nil
	if _, ok := c.Want(k0, absent(100), vfs.Client); !ok {
		t.Fatal("no fault")
	}
	park(vfs.Bulk)
	class(vfs.Client)
	told(0)
	deliver(t, c, k0, r.lastFault(), pattern(1, 100))
	if err := c.Evict(k0); err != nil {
		t.Fatal(err)
	}
	// And the other way round.
	park(vfs.Bulk)
	class(vfs.Bulk)
	if _, ok := c.Want(k0, absent(100), vfs.Client); ok {
		t.Fatal("a second fault")
	}
	class(vfs.Client)
	told(1)
	deliver(t, c, k0, r.lastFault(), pattern(1, 100))
	if s := c.Stats(); s.Faulting != 0 || s.Parked != 0 {
		t.Fatalf("left over: %+v", s)
	}
}
