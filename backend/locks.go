package backend

import (
	"math"
	"sync"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/vfs"
)

// lockOwner marks the record locks that were taken through one open file: they
// go when it is closed.
type lockOwner struct{ _ byte }

// recordLock is a held lock: bytes from start to end, end excluded.
type recordLock struct {
	vfs.LockRange
	end  uint64
	file *lockOwner
}

// lockTable holds the POSIX record locks of one inode, as fcntl(2) defines them:
// a process's locks never conflict with one another, and a new one replaces what
// it overlaps.
type lockTable struct {
	mu      sync.Mutex
	held    []recordLock
	waiters vfs.WaitList
	wanted  map[*vfs.Waiter]recordLock
}

// maxLocks is how many record locks may be held on one file. Each new one is compared with all.
const maxLocks = 1 << 16

func lockEnd(l *vfs.LockRange) (uint64, error) {
	if l.Start > math.MaxInt64 || l.Length > math.MaxInt64 {
		return 0, linux.EINVAL
	}
	if l.Length == 0 {
		return math.MaxUint64, nil
	}
	return l.Start + l.Length, nil
}

func sameProcess(a, b *vfs.LockRange) bool {
	return a.Conn == b.Conn && a.ProcID == b.ProcID && a.ClientID == b.ClientID
}

// conflict returns the first held lock that keeps l from being granted.
func (t *lockTable) conflict(l *recordLock) *recordLock {
	for i := range t.held {
		h := &t.held[i]
		if h.Start < l.end && l.Start < h.end && !sameProcess(&h.LockRange, &l.LockRange) &&
			(h.Type == vfs.WriteLock || l.Type == vfs.WriteLock) {
			return h
		}
	}
	return nil
}

// set replaces what l's process holds in l's range by l; an Unlock leaves
// nothing.
func (t *lockTable) set(l recordLock) {
	var kept []recordLock
	for _, h := range t.held {
		if !sameProcess(&h.LockRange, &l.LockRange) || h.end <= l.Start || l.end <= h.Start {
			kept = append(kept, h)
			continue
		}
		if h.Start < l.Start {
			left := h
			left.end = l.Start
			kept = append(kept, left)
		}
		if l.end < h.end {
			right := h
			right.Start = l.end
			kept = append(kept, right)
		}
	}
	if l.Type != vfs.Unlock {
		kept = append(kept, l)
	}
	t.held = kept
}

// splits says whether l would leave two of one lock, with more held than before.
func (t *lockTable) splits(l *recordLock) bool {
	for i := range t.held {
		h := &t.held[i]
		if sameProcess(&h.LockRange, &l.LockRange) && h.Start < l.Start && l.end < h.end {
			return true
		}
	}
	return false
}

func (f *file) Lock(l vfs.LockRange, wait bool, w *vfs.Waiter) error {
	end, err := lockEnd(&l)
	if err != nil {
		return err
	}
	r := recordLock{l, end, f.owner}
	t := &f.ino.locks
	t.mu.Lock()
	if l.Type != vfs.Unlock && t.conflict(&r) != nil {
		defer t.mu.Unlock()
		if !wait {
			return linux.EAGAIN
		}
		w.Owner = t
		t.waiters.Push(w)
		if t.wanted == nil {
			t.wanted = make(map[*vfs.Waiter]recordLock)
		}
		t.wanted[w] = r
		return vfs.ErrParked
	}
	if len(t.held) >= maxLocks && (l.Type != vfs.Unlock || t.splits(&r)) {
		t.mu.Unlock()
		return linux.ENOLCK
	}
	t.set(r)
	granted := t.grantLocked()
	t.mu.Unlock()
	wake(granted)
	return nil
}

// grantLocked unhooks the waiters, oldest first, whose locks can now be taken.
func (t *lockTable) grantLocked() []*vfs.Waiter {
	var granted []*vfs.Waiter
	for w := t.waiters.Front(); w != nil; {
		next := w.Next()
		if r := t.wanted[w]; t.conflict(&r) == nil {
			t.set(r)
			t.waiters.Remove(w)
			delete(t.wanted, w)
			granted = append(granted, w)
		}
		w = next
	}
	return granted
}

func wake(ws []*vfs.Waiter) {
	for _, w := range ws {
		w.Waker.Wake(0, nil)
	}
}

func (t *lockTable) cancel(w *vfs.Waiter) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.wanted, w)
	return t.waiters.Remove(w)
}

// drop takes away the locks that were taken through an open file.
func (t *lockTable) drop(owner *lockOwner) {
	t.mu.Lock()
	n := len(t.held)
	kept := t.held[:0]
	for _, h := range t.held {
		if h.file != owner {
			kept = append(kept, h)
		}
	}
	clear(t.held[len(kept):])
	t.held = kept
	var granted []*vfs.Waiter
	if len(kept) < n {
		granted = t.grantLocked()
	}
	t.mu.Unlock()
	wake(granted)
}

func (f *file) GetLock(l vfs.LockRange) (vfs.LockRange, error) {
	end, err := lockEnd(&l)
	if err != nil {
		return l, err
	}
	if l.Type == vfs.Unlock {
		return l, nil
	}
	t := &f.ino.locks
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.conflict(&recordLock{l, end, f.owner})
	if h == nil {
		l.Type = vfs.Unlock
		return l, nil
	}
	r := h.LockRange
	r.Length = 0
	if h.end != math.MaxUint64 {
		r.Length = h.end - h.Start
	}
	return r, nil
}
