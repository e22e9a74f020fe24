package backend

import (
	"context"
	stderrors "errors"

	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// held are slivers that are kept in the cache until they are released.
type held []vfs.Data

func (h held) release() {
	for i := range h {
		h[i].Release()
	}
}

// holder waits for one sliver.
type holder struct {
	vfs.Waiter
	k     sliver.Key
	woken chan<- *holder
	err   error
}

func newHolder(k sliver.Key, woken chan<- *holder) *holder {
	w := &holder{k: k, woken: woken}
	w.Waker, w.Class = w, vfs.Background
	return w
}

// Wake implements vfs.Waker.
func (h *holder) Wake(_ int, err error) {
	h.err = err
	h.woken <- h
}

// hold has slivers in the cache and keeps them there, however the cache is short of slots: those that are absent are recalled, all
// at the same time, so that the mover orders them, in the background: clients go first. Those that cannot be had are told to failed. The caller bounds
// how many there are.
func (fs *FS) hold(ctx context.Context, keys []sliver.Key, failed func(sliver.Key, error)) (h held, err error) {
	woken := make(chan *holder, len(keys))
	parked := map[*holder]bool{}
	try := func(w *holder) {
		d, err := fs.holdOne(w)
		switch {
		case err == vfs.ErrParked:
			parked[w] = true
		case err != nil:
			failed(w.k, err)
		default:
			h = append(h, d)
		}
	}
	for _, k := range keys {
		try(newHolder(k, woken))
	}
	for len(parked) > 0 {
		select {
		case w := <-woken:
			delete(parked, w)
			if w.err != nil {
				failed(w.k, w.err)
				continue
			}
			try(newHolder(w.k, woken))
		case <-ctx.Done():
			for w := range parked {
				if fs.cache.Cancel(&w.Waiter) {
					delete(parked, w)
				}
			}
			for len(parked) > 0 { // those are being woken just now
				delete(parked, <-woken)
			}
			h.release()
			return nil, errors.WithStack(ctx.Err())
		}
	}
	return h, nil
}

// holdOne reads the first byte of a sliver, which pins its slot.
func (fs *FS) holdOne(w *holder) (vfs.Data, error) {
	ino, err := fs.get(w.k.File)
	if stderrors.Is(err, linux.ENOENT) {
		return vfs.Data{}, nil // gone meanwhile
	}
	if err != nil {
		return vfs.Data{}, err
	}
	defer ino.release()
	ino.mu.Lock()
	defer ino.mu.Unlock()
	b, err := ino.behindLocked(w.k)
	if err != nil {
		return vfs.Data{}, err
	}
	return fs.cache.Read(w.k, b, 0, 1, &w.Waiter)
}
