package schedule

import "time"

// Class says how urgent a request is. The classes and their numbers are those of
// package vfs, which this package does not know.
type Class uint8

// Classes, the most urgent first.
const (
	Client     Class = iota // a client waits for its answer
	Bulk                    // a job on many files, or archive work
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

// ParseClass is the reverse of String.
func ParseClass(s string) (Class, bool) {
	for c, name := range classNames {
		if s == name {
			return Class(c), true
		}
	}
	return 0, false
}

// Times holds a moment for each class. The zero time stands for none.
type Times [NumClasses]time.Time

// Best returns the most urgent class that has a moment; NumClasses if none has.
func (t *Times) Best() Class {
	for c := range t {
		if !t[c].IsZero() {
			return Class(c)
		}
	}
	return NumClasses
}

// Oldest returns the earliest moment of all classes.
func (t *Times) Oldest() (oldest time.Time) {
	for _, at := range t {
		if !at.IsZero() && (oldest.IsZero() || at.Before(oldest)) {
			oldest = at
		}
	}
	return oldest
}

// Join takes the earlier moment of each class.
func (t *Times) Join(o Times) {
	for c, at := range o {
		if !at.IsZero() && (t[c].IsZero() || at.Before(t[c])) {
			t[c] = at
		}
	}
}
