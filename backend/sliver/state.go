package sliver

import "fmt"

// State says where the content of a sliver is.
//
//	hole      -> dirty             first write: no fault
//	absent    -> faulting          read, or partial write (prep)
//	absent    -> dirty             a write that covers every valid byte: no fault
//	faulting  -> clean | absent    delivered | failed, or nobody waits any longer
//	faulting  -> dirty             delivered with staged writes, or staged writes cover every valid byte
//	clean     -> dirty             write
//	dirty     -> archiving         the mover reads it, with the version that it read
//	archiving -> clean | dirty     on tape and in the catalog | written meanwhile, or failed
//	clean     -> absent            evicted; never while pinned, never without a copy on tape
//
// Every state moves to hole when a truncate, an unlink or a punch takes the sliver away.
type State uint8

// The states, as the table above names them.
const (
	Hole State = iota
	Absent
	Faulting
	Clean
	Dirty
	Archiving
	numStates
)

var stateNames = [numStates]string{"hole", "absent", "faulting", "clean", "dirty", "archiving"}

func (s State) String() string {
	if s < numStates {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// moves is the one table of legal moves: moves[from] has bit 1<<to.
var moves = [numStates]uint8{
	Hole:      1 << Dirty,
	Absent:    1<<Faulting | 1<<Dirty | 1<<Hole,
	Faulting:  1<<Clean | 1<<Absent | 1<<Dirty | 1<<Hole,
	Clean:     1<<Dirty | 1<<Absent | 1<<Hole,
	Dirty:     1<<Archiving | 1<<Hole,
	Archiving: 1<<Clean | 1<<Dirty | 1<<Hole,
}

// MayBecome says whether the table of legal moves leads from s to t.
func (s State) MayBecome(t State) bool {
	return s < numStates && t < numStates && moves[s]&(1<<t) != 0
}

// Resident says whether a sliver in state s has its whole content in a slot.
func (s State) Resident() bool { return s == Clean || s == Dirty || s == Archiving }
