package export

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// RecallMode says whether reading and writing may bring files from tape.
type RecallMode string

// Modes of recalls.
const (
	RecallAllow RecallMode = "allow"
	RecallDeny  RecallMode = "deny"
	RecallLimit RecallMode = "limit" // so many files and bytes in a time, each user for himself
)

// Recall is the rule of an export, or of those who use none, for recalls that nobody has
// asked for on purpose.
type Recall struct {
	Mode RecallMode
	// Files and Bytes are the limits in Per, with RecallLimit; 0: that one does not count.
	Files int
	Bytes int64
	Per   time.Duration
	// Users are exceptions: "NAME=MODE", by name or number.
	Users []string
	// Error is the name of the errno of a refusal.
	Error string
}

// RecallErrors are the errnos that a refusal may have.
var RecallErrors = []string{"EAGAIN", "EIO", "EACCES", "EPERM", "EBUSY", "ENODATA"}

// ParseRecallUser reads an exception.
func ParseRecallUser(s string) (user string, m RecallMode, err error) {
	user, mode, ok := strings.Cut(s, "=")
	m = RecallMode(mode)
	if !ok || user == "" || !slices.Contains([]RecallMode{RecallAllow, RecallDeny, RecallLimit}, m) {
		return "", "", fmt.Errorf("%q is not USER=allow, USER=deny or USER=limit", s)
	}
	return user, m, nil
}

// For returns the mode for a user, who is called by the names.
func (r *Recall) For(names ...string) RecallMode {
	for _, x := range r.Users {
		if user, mode, err := ParseRecallUser(x); err == nil && slices.Contains(names, user) {
			return mode
		}
	}
	if r.Mode == "" {
		return RecallAllow
	}
	return r.Mode
}

// Check says what contradicts itself, and the key to blame: the name of a field.
func (r *Recall) Check() (field, msg string) {
	limits := r.Mode == RecallLimit
	for _, x := range r.Users {
		if _, mode, err := ParseRecallUser(x); err == nil && mode == RecallLimit {
			limits = true
		}
	}
	switch {
	case limits && r.Files == 0 && r.Bytes == 0:
		return "mode", "recalls are to be limited, and there is no limit: say how many files or bytes, or write \"deny\""
	case !limits && (r.Files != 0 || r.Bytes != 0):
		return "mode", "there is a limit of recalls, and nobody is limited: write \"limit\", or take it out"
	}
	return "", ""
}
