package ltfscheck

import (
	"fmt"
	"strings"

	"sliod/tape"
)

// Severity says how bad a finding is.
type Severity uint8

// Severities, from harmless to bad.
const (
	Note Severity = iota + 1
	Warning
	Error
)

func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return fmt.Sprintf("severity %d", uint8(s))
}

// Finding is one thing that is not as it should be.
type Finding struct {
	Severity Severity
	At       tape.Position // the block that it is about, if HasAt
	HasAt    bool
	Path     string // of the entry in the index that it is about, or ""
	Text     string
}

func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(f.Severity.String())
	if f.HasAt {
		fmt.Fprintf(&b, ": block %v", f.At)
	}
	if f.Path != "" {
		fmt.Fprintf(&b, ": %q", f.Path)
	}
	return b.String() + ": " + f.Text
}

// Index is an index construct that was found.
type Index struct {
	At         tape.Position // its first record
	Generation uint64
	Chained    bool // the newest, or referred to by a newer one that is
}

// maxFindings bounds a report on a volume of which everything is wrong.
const maxFindings = 1000

// Report is the result of Check.
type Report struct {
	Serial     string // volume serial of VOL1
	UUID       string
	BlockSize  int
	Partitions int
	Generation uint64  // of the newest index
	Indexes    []Index // in the order of the tape, partition by partition
	Files      int     // in the newest index, links included
	Dirs       int     // the root included
	Bytes      uint64  // that its files have on tape
	Findings   []Finding
	More       int // findings that were left out, as there are too many
	worst      Severity
}

// Worst returns the highest severity of all findings, 0 if there is none.
func (r *Report) Worst() Severity { return r.worst }

// OK says that nothing breaks the format.
func (r *Report) OK() bool { return r.worst < Error }

func (r *Report) add(f Finding) {
	r.worst = max(r.worst, f.Severity)
	if len(r.Findings) >= maxFindings {
		r.More++
		return
	}
	r.Findings = append(r.Findings, f)
}
