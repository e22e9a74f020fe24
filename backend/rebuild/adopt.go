package rebuild

import (
	"context"
	stderrors "errors"
	"slices"
	"strings"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
)

// adopt places what has a path only: files and empty directories that another
// program has put on the volumes, and names whose directories tell no number.
// Directories on the way are made. One transaction each: they are few.
func (r *rebuild) adopt(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return errors.WithStack(err)
		}
		found := false
		err := r.change(func(tx *catalog.Tx, s *state) error {
			t := &tree{r: r, tx: tx, s: s, dirs: map[sliver.FileID]*catalog.Inode{}}
			if err := t.makeRoot(); err != nil {
				return err
			}
			var k, v []byte
			first := func(key, value []byte) bool {
				k, v = slices.Clone(key), slices.Clone(value)
				return false
			}
			err := tx.Stages(key(keyName, 0), nil, first)
			if err == nil && k != nil {
				found = true
				err = t.placeByPath(sliver.FileID(part(k, 1)), string(v))
			} else if err == nil {
				if err = tx.Stages([]byte{keyPath}, nil, first); err == nil && k != nil {
					found = true
					err = t.adopt(catalog.VolumeNo(part(k, 0)), part(k, 1), v)
				}
			}
			if err == nil && k != nil {
				err = tx.DeleteStage(k)
			}
			if err != nil {
				return err
			}
			return t.flush()
		})
		if err != nil {
			return err
		}
		if !found {
			return nil
		}
	}
}

// placeByPath gives a file a name that is known as a path.
func (t *tree) placeByPath(id sliver.FileID, path string) error {
	dir, name, err := t.walk(path)
	if err != nil {
		return err
	}
	return t.place(dir.ID, id, name)
}

// walk returns the directory that a path's last name stands in, and that name.
// Missing directories are made; what is no directory gives way by another name.
func (t *tree) walk(path string) (*catalog.Inode, string, error) {
	d, err := t.dir(sliver.RootID)
	if err != nil {
		return nil, "", err
	}
	names := strings.Split(path, "/")
	for _, name := range names[:len(names)-1] {
		name = t.fitName(name)
		e, err := t.tx.Lookup(d.ID, name)
		if err != nil && !stderrors.Is(err, catalog.ErrNotFound) {
			return nil, "", err
		}
		var next *catalog.Inode
		if err == nil {
			if next, err = t.dir(e.ID); err != nil {
				return nil, "", err
			}
			if next == nil {
				t.s.Renamed++
				if name, err = t.freeName(d.ID, name); err != nil {
					return nil, "", err
				}
			}
		}
		if next == nil {
			next = t.newDir(0o755)
			if err := t.link(d, next, name); err != nil {
				return nil, "", err
			}
		}
		d = next
	}
	return d, names[len(names)-1], nil
}

// adopt makes a file or directory that another program has put on a volume.
func (t *tree) adopt(vol catalog.VolumeNo, no uint64, value []byte) error {
	if !t.r.done[vol] {
		return t.views(vol, no, func(uint64, *catalog.Bmap) error { return nil })
	}
	e, err := decodeEntry(value)
	if err != nil {
		return err
	}
	dir, name, err := t.walk(e.names[0].name)
	if err != nil {
		return err
	}
	n := &e.inode
	if n.Mode&modeType == modeDir {
		if old, err := t.tx.Lookup(dir.ID, t.fitName(name)); err == nil {
			if d, err := t.dir(old.ID); err != nil || d != nil {
				return err // it is there
			}
		}
		t.s.Dirs++
		n.NLink = 2
	} else {
		t.s.Files++
		t.s.Bytes += int64(n.Size)
		n.NLink = 1
	}
	t.s.Adopted++
	n.ID = sliver.FileID(t.s.NextFile)
	t.s.NextFile++
	err = t.views(vol, no, func(bmap uint64, b *catalog.Bmap) error {
		for i := range b.Slivers {
			rec := &b.Slivers[i]
			if rec.Hole() {
				continue
			}
			t.s.MaxVersion++
			rec.Version = sliver.Version(t.s.MaxVersion)
			for _, p := range rec.Copies[0].Pieces {
				if !p.IsZeros() {
					t.s.Live[vol] += int64(p.Len)
				}
			}
		}
		return t.tx.PutBmap(n.ID, sliver.BmapNo(bmap), b)
	})
	if err != nil {
		return err
	}
	if err := putInode(t.tx, t.s, n, e.xattrs); err != nil {
		return err
	}
	// It is not pending: as long as nobody changes it, the volume's own entry tells all.
	return t.place(dir.ID, n.ID, name)
}

// views calls fn for the bmaps of what has a path only, and takes their records
// away.
func (t *tree) views(vol catalog.VolumeNo, no uint64, fn func(bmap uint64, b *catalog.Bmap) error) error {
	var bad error
	err := t.tx.Stages(key(keyPathMap, uint64(vol), no), nil, func(k, v []byte) bool {
		var b *catalog.Bmap
		if b, bad = catalog.DecodeBmap(v); bad == nil {
			bad = fn(part(k, 2), b)
		}
		if bad == nil {
			bad = t.tx.DeleteStage(slices.Clone(k))
		}
		return bad == nil
	})
	if bad != nil {
		return bad
	}
	return err
}
