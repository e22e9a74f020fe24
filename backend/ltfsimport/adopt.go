package ltfsimport

import (
	"context"
	stderrors "errors"
	"slices"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape/ltfs"
)

// Adoption is how a volume whose tree was imported becomes one that the archive may
// write: its index comes to say what an index of ours says.
type Adoption struct {
	Volume catalog.VolumeNo
	Root   sliver.FileID // of the import
	Parent sliver.FileID // of the root
	Path   string        // of the root in the archive, without leading slash
	// Names calls fn for each path of a file in the archive, without leading slash, with
	// the directory that it is in.
	Names func(id sliver.FileID, fn func(path string, dir sliver.FileID)) error
	// Progress is told for each entry.
	Progress func()
}

// Adopt puts the catalog's metadata in the entries of an index that was imported, and
// moves its tree to where it is in the archive. Extents, fileuids, LTFS's own
// attributes and unknown elements stay as they are. Entries that the catalog does not have stay
// as they are too. It changes the index in memory alone.
func Adopt(ctx context.Context, cat *catalog.Catalog, x *ltfs.Index, a Adoption) error {
	ad := &adopter{Adoption: a, ctx: ctx, cat: cat}
	if err := ad.dir(x.Root, a.Root, a.Path); err != nil {
		return err
	}
	top := &ltfs.Dir{Node: ltfs.Node{
		ReadOnly: x.Root.ReadOnly, CreationTime: x.Root.CreationTime, ChangeTime: x.Root.ChangeTime, ModifyTime: x.Root.ModifyTime,
		AccessTime: x.Root.AccessTime, BackupTime: x.Root.BackupTime, Xattrs: slices.Clone(x.Root.Xattrs),
	}}
	if err := ad.entry(top, a.Root, a.Parent, a.Path); err != nil {
		return err
	}
	// What another archive noted in the root is not of this one.
	x.Root.Xattrs = slices.DeleteFunc(x.Root.Xattrs, func(k ltfs.Xattr) bool { return !reserved(k.Key) })
	children := x.Root.Children()
	for _, c := range children {
		if err := x.Remove(nodeOf(c).Name); err != nil {
			return err
		}
	}
	if err := x.Put(a.Path, top); err != nil {
		return err
	}
	for _, c := range children {
		if err := x.Put(a.Path+"/"+nodeOf(c).Name, c); err != nil {
			return err
		}
	}
	return nil
}

type adopter struct {
	Adoption
	ctx context.Context
	cat *catalog.Catalog
}

// dir adopts all that is below a directory.
func (a *adopter) dir(d *ltfs.Dir, id sliver.FileID, path string) error {
	children := d.Children()
	fitted := fittedAgain(d, children)
	for _, c := range children {
		if err := a.ctx.Err(); err != nil {
			return errors.WithStack(err)
		}
		name := nodeOf(c).Name
		if n := fitted[c]; n != "" {
			name = n
		}
		var e catalog.Dirent
		err := a.cat.View(func(tx *catalog.Tx) (err error) {
			e, err = tx.Lookup(id, name)
			return err
		})
		if stderrors.Is(err, catalog.ErrNotFound) {
			continue
		}
		if err == nil {
			err = a.entry(c, e.ID, id, path+"/"+name)
		}
		if sub, ok := c.(*ltfs.Dir); ok && err == nil {
			err = a.dir(sub, e.ID, path+"/"+name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// entry puts what the catalog has of a file in its entry. path is that of the entry when all
// is done.
func (a *adopter) entry(e ltfs.Entry, id, dir sliver.FileID, path string) error {
	if a.Progress != nil {
		a.Progress()
	}
	var r catalog.Inode
	m := ltfs.Meta{FileID: uint64(id), Xattrs: map[string][]byte{}}
	err := a.cat.View(func(tx *catalog.Tx) (err error) {
		if r, err = tx.Inode(id); err != nil {
			return err
		}
		r.ListXattrs(func(name string, value []byte) { m.Xattrs[name] = value })
		err = tx.Xattrs(id, func(name string, value []byte) bool {
			m.Xattrs[name] = slices.Clone(value)
			return true
		})
		if err != nil {
			return err
		}
		return tx.Bmaps(id, 0, func(no sliver.BmapNo, b *catalog.Bmap) bool {
			for i := range b.Slivers {
				if s := &b.Slivers[i]; !s.Hole() && s.Len > 0 {
					m.Slivers = append(m.Slivers, a.listed(uint64(no.First())+uint64(i), s))
				}
			}
			return true
		})
	})
	if stderrors.Is(err, catalog.ErrNotFound) || err == nil && !sameKind(e, r.Mode) {
		return nil // changed since
	}
	if err != nil {
		return err
	}
	m.Generation, m.DataVersion, m.Mode, m.UID, m.GID, m.Major, m.Minor, m.Size, m.Target =
		uint64(r.Generation), r.DataVersion, r.Mode, r.UID, r.GID, r.Major, r.Minor, r.Size, r.Target
	m.Atime, m.Mtime, m.Ctime, m.Btime = ltfs.Time(r.Atime), ltfs.Time(r.Mtime), ltfs.Time(r.Ctime), ltfs.Time(r.Btime)
	m.Dirs = []uint64{uint64(dir)}
	if r.NLink > 1 && r.Mode&modeType != modeDir {
		err := a.Names(id, func(p string, dir sliver.FileID) {
			if p != path {
				m.Links, m.Dirs = append(m.Links, p), append(m.Dirs, uint64(dir))
			}
		})
		if err != nil {
			return err
		}
	}
	n := nodeOf(e)
	var own []ltfs.Xattr // LTFS's
	for _, k := range n.Xattrs {
		if reserved(k.Key) {
			own = append(own, k)
		}
	}
	if err := m.Apply(e); err != nil {
		return err
	}
	n.Xattrs = append(n.Xattrs, own...)
	return nil
}

// listed is how the metadata list a sliver: with version 0 if the volume does not have it.
func (a *adopter) listed(no uint64, s *catalog.SliverRec) ltfs.SliverMeta {
	l := ltfs.SliverMeta{No: no, Len: s.Len, NoSum: true}
	here := slices.ContainsFunc(s.Copies, func(c catalog.Copy) bool { return c.Volume == a.Volume && len(c.Pieces) > 0 })
	if s.Dirty || !here {
		return l
	}
	l.Version = uint64(s.Version)
	if s.HasSum && s.ArchLen == s.Len {
		l.Sum, l.NoSum = s.Sum, false
	}
	return l
}
