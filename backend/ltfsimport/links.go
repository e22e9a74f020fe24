package ltfsimport

import (
	stderrors "errors"
	"strings"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape/ltfs"
)

// links gives files of another archive their other names. All records have been made;
// id is the FileID of directory d.
func (b *builder) links(d *ltfs.Dir, id sliver.FileID, path string) error {
	children := d.Children()
	names := fittedAgain(d, children)
	for _, e := range children {
		name := nodeOf(e).Name
		p := path + "/" + name
		if n := names[e]; n != "" {
			name = n
		}
		_, isDir := e.(*ltfs.Dir)
		if _, ok := nodeOf(e).Xattr(keyLinks); !isDir && !ok {
			continue
		}
		var entry catalog.Dirent
		err := b.cat.View(func(tx *catalog.Tx) (err error) {
			entry, err = tx.Lookup(id, name)
			return err
		})
		if stderrors.Is(err, catalog.ErrNotFound) {
			continue // left out
		}
		if err != nil {
			return err
		}
		if sub, ok := e.(*ltfs.Dir); ok {
			if err := b.links(sub, entry.ID, p); err != nil {
				return err
			}
			continue
		}
		m, err := ltfs.DecodeMeta(e)
		if err != nil || !sameKind(e, m.Mode) {
			continue // noted before
		}
		for _, other := range m.Links {
			if err := b.link(entry, other, p); err != nil {
				return err
			}
		}
		if err := b.flush(); err != nil {
			return err
		}
	}
	return nil
}

// fittedAgain finds the names that fitNames gave, without a word.
func fittedAgain(d *ltfs.Dir, children []ltfs.Entry) map[ltfs.Entry]string {
	var quiet builder
	return quiet.fitNames(d, children, "")
}

// link gives a file one more name, a path from the root of the import. Directories
// that the volume does not have are made.
func (b *builder) link(file catalog.Dirent, other, path string) error {
	parts := strings.Split(other, "/")
	for _, p := range parts {
		if !goodName(p) {
			b.note("%s: its other name %q cannot exist here and is left out", path, other)
			return nil
		}
	}
	ids := make([]sliver.FileID, 0, len(parts))
	for range parts {
		id, err := b.nextID()
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	var why string
	var made int64
	err := b.cat.Update(func(tx *catalog.Tx) error {
		why, made = "", 0
		dir := b.root
		for i, name := range parts[:len(parts)-1] {
			e, err := tx.Lookup(dir, name)
			if stderrors.Is(err, catalog.ErrNotFound) {
				r := catalog.Inode{ID: ids[i], Generation: 1, Mode: modeDir | b.o.DirMode&modePerm, UID: b.o.UID, GID: b.o.GID, NLink: 2, DataVersion: 1,
					Parent: dir, NextCookie: catalog.FirstCookie, Atime: b.o.Now, Mtime: b.o.Now, Ctime: b.o.Now, Btime: b.o.Now,
					Archived: b.o.Now, Flags: b.o.Flags}
				if err := tx.PutInode(&r); err != nil {
					return err
				}
				made++
				e = catalog.Dirent{Name: name, ID: r.ID, Type: direntType(r.Mode)}
				if err := enter(tx, dir, e, true); err != nil {
					return err
				}
			} else if err != nil {
				return err
			}
			if e.Type != direntType(modeDir) {
				why = "there is a file where a directory would have to be"
				return nil
			}
			dir = e.ID
		}
		name := parts[len(parts)-1]
		switch _, err := tx.Lookup(dir, name); {
		case err == nil:
			why = "that name is taken"
			return nil
		case !stderrors.Is(err, catalog.ErrNotFound):
			return err
		}
		r, err := tx.Inode(file.ID)
		if err != nil {
			return err
		}
		r.NLink++
		if err := tx.PutInode(&r); err != nil {
			return err
		}
		return enter(tx, dir, catalog.Dirent{Name: name, ID: file.ID, Type: file.Type}, false)
	})
	if why != "" {
		b.note("%s: it does not get its other name %q: %s", path, other, why)
	}
	b.res.Files += made
	return err
}

// enter gives a directory one more entry.
func enter(tx *catalog.Tx, dir sliver.FileID, e catalog.Dirent, subdir bool) error {
	d, err := tx.Inode(dir)
	if err != nil {
		return err
	}
	e.Cookie = d.NextCookie
	d.NextCookie++
	if subdir {
		d.NLink++
	}
	if err := tx.PutInode(&d); err != nil {
		return err
	}
	if err := tx.PutDirent(dir, e); err != nil {
		return err
	}
	return tx.PutName(e.ID, dir, e.Name)
}
