package simulate

import (
	"fmt"
	"time"

	"sliod/tape"
	"sliod/tape/schedule"
)

// Kind says who waits for a request.
type Kind uint8

// Kinds of requests.
const (
	Read    Kind = iota // a client waits
	Bulk                // of a bulk recall
	Archive             // goes to tape, on a volume that the library chooses
	Verify              // upkeep: read to see whether it can be
	kinds
)

var kindNames = [kinds]string{"read", "bulk", "archive", "verify"}

func (k Kind) String() string {
	if k < kinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// class is how urgent requests of the kind are to the server.
func (k Kind) class() schedule.Class {
	return [kinds]schedule.Class{schedule.Client, schedule.Bulk, schedule.ArchiveClass, schedule.Background}[k]
}

// ParseKind reads the name of a kind.
func ParseKind(s string) (Kind, bool) {
	for k, name := range kindNames {
		if s == name {
			return Kind(k), true
		}
	}
	return 0, false
}

// Request is one line of a trace.
type Request struct {
	At     time.Duration // since the begin of the trace
	Volume tape.Barcode  // "" for Archive
	Block  tape.BlockNo  // where it begins in the data partition; 0 for Archive
	Length int64         // bytes, at least 1
	Kind   Kind
}
