package ltfsimport

import (
	"context"
	stderrors "errors"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
)

// removeAtOnce is how many entries one transaction of Remove deletes.
const removeAtOnce = 500

// Remove deletes an import that was not finished: its root and all below it, in
// transactions of bounded size, and calls end in the last. It may be called again after a
// crash.
func Remove(ctx context.Context, cat *catalog.Catalog, root sliver.FileID, end func(*catalog.Tx) error) error {
	type place struct {
		dir  sliver.FileID // that it is in
		name string
		id   sliver.FileID
	}
	todo := []place{{id: root}}
	for len(todo) > 0 {
		if err := ctx.Err(); err != nil {
			return errors.WithStack(err)
		}
		top := todo[len(todo)-1]
		var entries []catalog.Dirent
		err := cat.View(func(tx *catalog.Tx) error {
			return tx.Readdir(top.id, 0, func(e catalog.Dirent) bool {
				entries = append(entries, e)
				return len(entries) < removeAtOnce
			})
		})
		if err != nil {
			return err
		}
		var files []catalog.Dirent
		for _, e := range entries {
			if e.Type == direntType(modeDir) {
				todo = append(todo, place{top.id, e.Name, e.ID})
			} else {
				files = append(files, e)
			}
		}
		if len(files) > 0 {
			err := cat.Update(func(tx *catalog.Tx) error {
				for _, e := range files {
					if err := remove(tx, top.id, e.Name, e.ID); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		if len(entries) > 0 {
			continue // look again, after what is below
		}
		todo = todo[:len(todo)-1]
		err = cat.Update(func(tx *catalog.Tx) error {
			if top.name == "" {
				if err := remove(tx, top.id, "", top.id); err != nil {
					return err
				}
				return end(tx)
			}
			return remove(tx, top.dir, top.name, top.id)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// remove deletes the records of a file and the name that led to it.
func remove(tx *catalog.Tx, dir sliver.FileID, name string, id sliver.FileID) error {
	steps := []func() error{
		func() error { return tx.DeleteBmaps(id, 0) },
		func() error { return tx.DeleteXattrs(id) },
		func() error { return tx.DeleteInode(id) },
	}
	if name != "" {
		steps = append(steps,
			func() error { return tx.DeleteDirent(dir, name) },
			func() error { return tx.DeleteName(id, dir, name) })
	}
	for _, s := range steps {
		if err := s(); err != nil && !stderrors.Is(err, catalog.ErrNotFound) {
			return err
		}
	}
	return nil
}
