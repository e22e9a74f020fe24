package ltfs

import stderrors "errors"

// Errors that a caller decides by. They come wrapped; use errors.Is.
var (
	// ErrNotLTFS says that the medium has no LTFS label: it is blank, or foreign.
	// The error is a *NotLTFSError.
	ErrNotLTFS = stderrors.New("not an LTFS volume")
	// ErrVolumeFull says that there is no room for more data beside the index
	// that describes what is there.
	ErrVolumeFull = stderrors.New("volume full")
	// ErrOneIndex says, with ErrVolumeFull, that the index is on tape in the index partition alone: the data
	// partition has no room for it. Mount reads it, and calls the volume one to be repaired.
	ErrOneIndex = stderrors.New("no room for the index in the data partition")
	// ErrInconsistent says that the labels or indexes of a volume contradict
	// each other, so that writing could destroy data.
	ErrInconsistent = stderrors.New("inconsistent LTFS volume")
	// ErrCorrupt says that what is on tape breaks the rules of the format.
	ErrCorrupt = stderrors.New("corrupt LTFS structure")
	// ErrNotFound says that a path is not in an index.
	ErrNotFound = stderrors.New("no such entry in the index")
	// ErrNoMeta says that an index entry was not written by SLIOD.
	ErrNoMeta = stderrors.New("no sliod metadata")
	// ErrFailed says that a volume took a write error and must be mounted again
	// before it can be written.
	ErrFailed = stderrors.New("volume failed while writing")
	// ErrCannotEncrypt says that a volume is to be encrypted, and the drive has no encryption.
	ErrCannotEncrypt = stderrors.New("no encryption")
	// ErrKeyPolicy says that a volume is not written because data in its pool are to be encrypted
	// otherwise than it is: see Volume.Refusal.
	ErrKeyPolicy = stderrors.New("the volume is only read")
	// ErrNoKey says that the key cannot be had that a volume is to be formatted with. Nothing was written.
	ErrNoKey = stderrors.New("the key to encrypt with cannot be had")
)

// NotLTFSError says what Mount found instead of a label.
type NotLTFSError struct {
	Blank  bool   // nothing is recorded at all
	Found  string // what was found, for a person
	Serial string // of an LTFS VOL1 label whose volume is incomplete, else ""
	// Unfinished: behind that VOL1 label there is nothing of anybody: formatting was cut off.
	Unfinished bool
}

func (e *NotLTFSError) Error() string {
	return "not an LTFS volume: " + e.Found
}

// Is makes errors.Is(err, ErrNotLTFS) true.
func (e *NotLTFSError) Is(target error) bool { return target == ErrNotLTFS }
