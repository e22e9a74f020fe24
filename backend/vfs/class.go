package vfs

// Class says how urgent it is that a parked request goes on. The zero value is
// that of a client. A fault has the class of the most urgent request that waits
// for it.
type Class uint8

// Classes, the most urgent first.
const (
	Client     Class = iota // a client waits for its answer
	Bulk                    // a job on many files, which somebody has asked for
	Background              // upkeep that nobody waits for
	NumClasses
)

var classNames = [NumClasses]string{"client", "bulk", "background"}

func (c Class) String() string {
	if c < NumClasses {
		return classNames[c]
	}
	return "unknown class"
}
