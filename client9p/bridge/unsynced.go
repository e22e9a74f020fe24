package bridge

import (
	"sync"

	"github.com/pkg/errors"
)

// unsynced is what a file remembers of the changes of its content that the server has
// answered: a sync is of all of them, whichever open file they and it go through. It lives as
// long as the kernel knows the file, which has fsync(2) of a local disk forget errors then too.
type unsynced struct {
	mu      sync.Mutex
	changes int    // that were answered
	durable int    // of these, the first that a sync has made durable
	since   uint64 // the epoch of the oldest that is not, or a later one: all loss up to its begin was told
}

// changed notes a change that was answered on the connection epoch.
func (u *unsynced) changed(epoch uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.durable == u.changes || epoch < u.since {
		u.since = epoch
	}
	u.changes++
}

// begin returns how many changes a sync that begins now is of.
func (u *unsynced) begin() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.changes
}

// end notes how a sync of the first n changes ended. It fails, once, if some that were not
// durable may have been lost: loss is the last epoch at whose begin that was so.
func (u *unsynced) end(n int, done bool, loss uint64) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.durable < u.changes && u.since < loss {
		u.since = loss
		return errors.Wrap(errGone, "the server did not end cleanly: what was written to the file before and not synced may be lost")
	}
	if done {
		u.durable = max(u.durable, n)
	}
	return nil
}
