package rebuild

import (
	"context"
	stderrors "errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
)

// lostFound is the directory in the root for files whose own is on no volume.
const lostFound = "lost+found"

// place enters the names of all files in their directories.
func (r *rebuild) place(ctx context.Context) error {
	r.say(func(p *Progress) { p.Step, p.Total, p.Files = "placing names", p.Files, 0 })
	from := key(keyName, uint64(sliver.RootID)) // below are those that have a path only
	for {
		if err := ctx.Err(); err != nil {
			return errors.WithStack(err)
		}
		n := 0
		next := from
		err := r.change(func(tx *catalog.Tx, s *state) error {
			n, next = 0, from
			t := &tree{r: r, tx: tx, s: s, dirs: map[sliver.FileID]*catalog.Inode{}}
			if err := t.makeRoot(); err != nil {
				return err
			}
			var err error
			serr := tx.Stages([]byte{keyName}, from, func(k, v []byte) bool {
				next = after(k)
				n++
				err = t.place(sliver.FileID(part(k, 0)), sliver.FileID(part(k, 1)), string(v))
				if err == nil {
					err = tx.DeleteStage(slices.Clone(k))
				}
				return err == nil && n < r.o.batch
			})
			if err == nil {
				err = serr
			}
			if err != nil {
				return err
			}
			return t.flush()
		})
		if err != nil {
			return err
		}
		from = next
		r.say(func(p *Progress) { p.Files += int64(n) })
		if n < r.o.batch {
			return nil
		}
	}
}

// tree changes the tree in one transaction. Directories are read once, and written
// by flush.
type tree struct {
	r    *rebuild
	tx   *catalog.Tx
	s    *state
	dirs map[sliver.FileID]*catalog.Inode
}

func (t *tree) flush() error {
	for _, d := range t.dirs {
		if d == nil {
			continue
		}
		if err := t.tx.PutInode(d); err != nil {
			return err
		}
	}
	return nil
}

// dir returns a directory that flush will write; nil: there is none of that number.
func (t *tree) dir(id sliver.FileID) (*catalog.Inode, error) {
	if d, ok := t.dirs[id]; ok {
		return d, nil
	}
	d, err := t.tx.Inode(id)
	switch {
	case stderrors.Is(err, catalog.ErrNotFound), err == nil && d.Mode&modeType != modeDir:
		return nil, nil
	case err != nil:
		return nil, err
	}
	t.dirs[id] = &d
	return &d, nil
}

func (t *tree) newDir(mode uint32) *catalog.Inode {
	now := catalog.Time{Sec: time.Now().Unix()}
	d := &catalog.Inode{ID: sliver.FileID(t.s.NextFile), Generation: 1, DataVersion: 1, Mode: modeDir | mode, NLink: 2,
		UID: t.r.o.UID, GID: t.r.o.GID, NextCookie: catalog.FirstCookie, Atime: now, Mtime: now, Ctime: now, Btime: now}
	t.s.NextFile++
	t.s.Dirs++
	t.dirs[d.ID] = d
	return d
}

// makeRoot makes a root directory if no volume tells of it.
func (t *tree) makeRoot() error {
	if d, err := t.dir(sliver.RootID); err != nil || d != nil {
		return err
	}
	now := catalog.Time{Sec: time.Now().Unix()}
	t.dirs[sliver.RootID] = &catalog.Inode{ID: sliver.RootID, Generation: 1, DataVersion: 1, Mode: modeDir | 0o755, NLink: 2,
		UID: t.r.o.UID, GID: t.r.o.GID, NextCookie: catalog.FirstCookie, Parent: sliver.RootID, Atime: now, Mtime: now, Ctime: now, Btime: now}
	return nil
}

// place gives a file a name in a directory. If that is not there, the file comes to
// /lost+found; if the name is taken, the file whose attributes changed later has it.
func (t *tree) place(dirID, id sliver.FileID, name string) error {
	child, err := t.inode(id)
	if err != nil {
		return err
	}
	dir, err := t.dir(dirID)
	if err != nil {
		return err
	}
	if dir == nil || dirID == id {
		t.s.LostFound++
		if dir, err = t.lostFound(); err != nil {
			return err
		}
		if err := t.touched(child); err != nil {
			return err
		}
	}
	name = t.fitName(name)
	old, err := t.tx.Lookup(dir.ID, name)
	switch {
	case stderrors.Is(err, catalog.ErrNotFound):
	case err != nil:
		return err
	case old.ID == id:
		child.NLink-- // two equal names of one file
		return t.put(child)
	default:
		t.s.Renamed++
		other, err := t.inode(old.ID)
		if err != nil {
			return err
		}
		if !later(child.Ctime, other.Ctime) {
			if err := t.touched(child); err != nil {
				return err
			}
			if name, err = t.freeName(dir.ID, name); err != nil {
				return err
			}
			break
		}
		free, err := t.freeName(dir.ID, name)
		if err != nil {
			return err
		}
		if err := t.unlink(dir, other, old.Name); err != nil {
			return err
		}
		if err := t.touched(other); err != nil {
			return err
		}
		if err := t.link(dir, other, free); err != nil {
			return err
		}
	}
	return t.link(dir, child, name)
}

// touched notes that a file is called otherwise than the volumes say: that is to get
// to tape.
func (t *tree) touched(n *catalog.Inode) error {
	n.DataVersion++
	n.Flags |= catalog.FlagMetaDirty
	return t.tx.PutPending(n.ID)
}

// inode returns a file; directories are those of dirs.
func (t *tree) inode(id sliver.FileID) (*catalog.Inode, error) {
	if d, err := t.dir(id); err != nil || d != nil {
		return d, err
	}
	n, err := t.tx.Inode(id)
	return &n, errors.WithMessagef(err, "file %d", id)
}

// put stores a file; directories wait for flush.
func (t *tree) put(n *catalog.Inode) error {
	if n.Mode&modeType == modeDir {
		return nil
	}
	return t.tx.PutInode(n)
}

func (t *tree) link(dir, child *catalog.Inode, name string) error {
	e := catalog.Dirent{Name: name, ID: child.ID, Type: uint8(child.Mode & modeType >> 12), Cookie: dir.NextCookie}
	dir.NextCookie++
	child.Parent = dir.ID
	if child.Mode&modeType == modeDir {
		dir.NLink++
	}
	if err := t.put(child); err != nil {
		return err
	}
	if err := t.tx.PutDirent(dir.ID, e); err != nil {
		return err
	}
	return t.tx.PutName(child.ID, dir.ID, name)
}

func (t *tree) unlink(dir, child *catalog.Inode, name string) error {
	if child.Mode&modeType == modeDir {
		dir.NLink--
	}
	if err := t.tx.DeleteDirent(dir.ID, name); err != nil {
		return err
	}
	return t.tx.DeleteName(child.ID, dir.ID, name)
}

// freeName returns a name like the given one that nobody has in dir.
func (t *tree) freeName(dir sliver.FileID, name string) (string, error) {
	for i := 2; ; i++ {
		tail := fmt.Sprintf("~%d", i)
		try := cut(name, catalog.MaxName-len(tail)) + tail
		if _, err := t.tx.Lookup(dir, try); stderrors.Is(err, catalog.ErrNotFound) {
			return try, nil
		} else if err != nil {
			return "", err
		}
	}
}

// fitName makes a name one that the archive can hold: LTFS counts characters, not
// bytes.
func (t *tree) fitName(name string) string {
	if len(name) <= catalog.MaxName {
		return name
	}
	t.s.Dropped++
	tail := fmt.Sprintf("~%016x", xxhash.Sum64String(name))
	return cut(name, catalog.MaxName-len(tail)) + tail
}

// cut returns at most n bytes of s, not ending inside a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// lostFound returns the directory for what has none, and makes it.
func (t *tree) lostFound() (*catalog.Inode, error) {
	if t.s.LostFoundID != 0 {
		d, err := t.dir(sliver.FileID(t.s.LostFoundID))
		if err == nil && d == nil {
			err = errors.New("lost+found is gone")
		}
		return d, err
	}
	root, err := t.dir(sliver.RootID)
	if err != nil {
		return nil, err
	}
	name := lostFound
	if _, err := t.tx.Lookup(root.ID, name); err == nil {
		if name, err = t.freeName(root.ID, name); err != nil {
			return nil, err
		}
	} else if !stderrors.Is(err, catalog.ErrNotFound) {
		return nil, err
	}
	d := t.newDir(0o700)
	t.s.LostFoundID = uint64(d.ID)
	if err := t.touched(d); err != nil {
		return nil, err
	}
	return d, t.link(root, d, name)
}

// join cuts circles of directories: what hangs on none comes to /lost+found.
func (r *rebuild) join(ctx context.Context) error {
	up := map[sliver.FileID]sliver.FileID{}
	err := r.cat.View(func(tx *catalog.Tx) error {
		return tx.Inodes(0, func(n catalog.Inode) bool {
			if n.Mode&modeType == modeDir {
				up[n.ID] = n.Parent
			}
			return ctx.Err() == nil
		})
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	safe := map[sliver.FileID]bool{sliver.RootID: true}
	for id := range up {
		var way []sliver.FileID
		on := map[sliver.FileID]bool{}
		at := id
		for !safe[at] && !on[at] {
			on[at] = true
			way = append(way, at)
			at = up[at]
		}
		if !safe[at] { // a circle
			if err := r.cutLoose(at); err != nil {
				return err
			}
		}
		for _, d := range way {
			safe[d] = true
		}
	}
	return nil
}

// cutLoose moves a directory to /lost+found.
func (r *rebuild) cutLoose(id sliver.FileID) error {
	return r.change(func(tx *catalog.Tx, s *state) error {
		t := &tree{r: r, tx: tx, s: s, dirs: map[sliver.FileID]*catalog.Inode{}}
		d, err := t.dir(id)
		if err != nil || d == nil {
			return err
		}
		var name string
		var from sliver.FileID
		err = tx.Names(id, func(dir sliver.FileID, n string) bool { from, name = dir, n; return false })
		if err != nil {
			return err
		}
		if p, err := t.dir(from); err != nil {
			return err
		} else if p != nil {
			if err := t.unlink(p, d, name); err != nil {
				return err
			}
		}
		s.LostFound++
		lf, err := t.lostFound()
		if err != nil {
			return err
		}
		if _, err := tx.Lookup(lf.ID, name); err == nil {
			if name, err = t.freeName(lf.ID, name); err != nil {
				return err
			}
		}
		if err := t.touched(d); err != nil {
			return err
		}
		if err := t.link(lf, d, name); err != nil {
			return err
		}
		return t.flush()
	})
}
