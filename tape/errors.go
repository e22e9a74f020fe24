package tape

import (
	stderrors "errors"
	"fmt"
)

// Kind says what an error means for the one who must decide what to do.
type Kind uint8

// Kinds of errors.
const (
	KindOther        Kind = iota
	Filemark              // a filemark was met
	EndOfData             // nothing is recorded from here on
	BadBlockLength        // the record does not fit the buffer
	EarlyWarning          // written, and the end of the medium is near
	EndOfMedium           // not written: the medium is full
	MediumError           // the medium cannot be read or written here: blame the volume
	HardwareError         // the drive or the arm is at fault
	Deferred              // an earlier write failed: all since the last flush is in doubt
	UnitAttention         // medium or settings may have changed: position unknown
	NotReady              // no medium, or becoming ready
	WriteProtected        // the medium must not be written
	IllegalRequest        // the device does not know the command, or its state forbids it
	NotFound              // no such attribute
	ElementFull           // the destination of a move is occupied
	ElementEmpty          // the source of a move is empty
	RemovalPrevented      // the drive does not let the cartridge go
	CleaningNeeded        // the drive asks for a cleaning cartridge
	Disconnected          // the transport is gone
	WrongKey              // encrypted, and the key is missing or another
	ProtectionError       // a record was changed on the way to or from the drive: blame that way, not the volume
)

var kindNames = [...]string{"error", "filemark", "end of data", "bad block length", "early warning", "end of medium",
	"medium error", "hardware error", "deferred error", "unit attention", "not ready", "write protected", "illegal request",
	"not found", "element full", "element empty", "removal prevented", "cleaning needed", "disconnected", "wrong key", "protection error"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Error is what every operation on a library returns. Volume, Drive and
// Position are filled in as far as they are known.
type Error struct {
	Op       string // "read block", "move medium"
	Volume   Barcode
	Drive    string
	Position Position
	Kind     Kind
	Sense    []byte // raw sense data, if the device sent any
	Err      error  // cause, or nil
}

func (e *Error) Error() string {
	s := "tape: " + e.Op + ": " + e.Kind.String()
	if e.Volume != "" {
		s += " on volume " + string(e.Volume)
	}
	if e.Drive != "" {
		s += " in drive " + e.Drive
	}
	s += " at " + e.Position.String()
	if len(e.Sense) > 0 {
		s += fmt.Sprintf(" (sense % x)", e.Sense)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the Kind of the first *Error in err's chain, else KindOther.
func KindOf(err error) Kind {
	var e *Error
	if stderrors.As(err, &e) {
		return e.Kind
	}
	return KindOther
}
