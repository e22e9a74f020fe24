package backend

import (
	stderrors "errors"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
)

// Unarchived implements mover.Files: the index that may have had the newest entry of a
// file is gone, so its attributes are archived again.
func (f files) Unarchived(id sliver.FileID) error {
	fs := f.fs
	ino, err := fs.get(id)
	if stderrors.Is(err, linux.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer ino.release()
	ino.mu.Lock()
	defer ino.mu.Unlock()
	r := ino.record()
	if r.NLink == 0 {
		return nil
	}
	change := func(r *catalog.Inode) { r.Flags |= catalog.FlagMetaDirty }
	change(&r)
	err = fs.cat.Update(func(tx *catalog.Tx) error { return firstError(tx.PutInode(&r), tx.PutPending(id)) })
	if err != nil {
		return err
	}
	ino.apply(change)
	fs.pending.add(id)
	return nil
}
