package scsi

import (
	"context"

	"sliod/tape"
)

// maxAborted bounds how often a command that the device has aborted is sent again.
const maxAborted = 2

// aborted reports whether the device gave a command up for what happened on the wire
// (key B): a lost frame, a checksum of the link. The kernel's drivers send such a
// command again, but not one that comes through /dev/sg. A failed check of block
// protection is another matter: it is told.
func aborted(err error) bool {
	s, ok := senseOf(err)
	return ok && !s.Deferred && s.Key == AbortedCommand && s.Kind() != tape.ProtectionError
}

// unmoved says whether a command that the drive has aborted can be sent again: the head
// is where it was, or the command does not depend on that.
func (d *Drive) unmoved(ctx context.Context, m motion) bool {
	if m == absolute {
		return true
	}
	return d.known && d.count == nil && d.still(ctx, "read position", "it was aborted, and done") == nil
}
