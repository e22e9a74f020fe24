package rebuild

import (
	"context"
	stderrors "errors"
	"strings"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape/ltfs"
)

// errForeign: nothing in the index was written by SLIOD.
var errForeign = stderrors.New("no file on it was written by sliod")

// collector puts what one volume's index says into stage records.
type collector struct {
	r     *rebuild
	ctx   context.Context
	lv    *ltfs.Volume
	no    catalog.VolumeNo
	note  *volumeNote
	seen  map[uint64]bool // FileIDs
	loose uint64          // things that have a path only

	batch []record
	bytes int
	told  int64
}

type record struct{ key, value []byte }

// maxBatchBytes bounds a transaction.
const maxBatchBytes = 4 << 20

// volume reads the index of a mounted volume.
func (c *collector) volume() error {
	x := c.lv.Index()
	if !ours(c.lv) {
		return errForeign
	}
	c.identity(x)
	runs, err := x.Removed()
	if err != nil {
		return err
	}
	for i, run := range runs {
		last := run.First + run.Count - 1
		c.note.MaxFile = max(c.note.MaxFile, last)
		err := c.put(key(keyRemoved, uint64(c.no), uint64(i)), appendRun(nil, run))
		if err != nil {
			return err
		}
	}
	if err := c.dirEntry(x.Root, "", 0); err != nil {
		return err
	}
	return c.flush()
}

// ours says whether SLIOD has formatted a volume, or has written a file on it.
func ours(lv *ltfs.Volume) bool {
	if l := lv.Label(); strings.HasPrefix(l.Creator, "SLIOD") {
		return true
	}
	found := stderrors.New("found")
	if _, err := ltfs.DecodeMeta(lv.Index().Root); !stderrors.Is(err, ltfs.ErrNoMeta) {
		return true
	}
	return lv.Index().Walk(func(_ string, e ltfs.Entry) error {
		if _, err := ltfs.DecodeMeta(e); !stderrors.Is(err, ltfs.ErrNoMeta) {
			return found
		}
		return nil
	}) != nil
}

// dirEntry takes in a directory and what is below it. up is the number of its
// parent, 0 if that is not known.
func (c *collector) dirEntry(d *ltfs.Dir, path string, up uint64) error {
	id := uint64(0)
	m, err := c.meta(d)
	switch {
	case err != nil:
		return err
	case m != nil:
		id = m.FileID
		if err := c.known(m, d, &d.Node, path, up); err != nil {
			return err
		}
	case path == "":
		id = uint64(sliver.RootID)
	case d.Len() == 0:
		// Directories with something in them are made for that.
		if err := c.loosePath(d, &d.Node, path); err != nil {
			return err
		}
	}
	prefix := path
	if prefix != "" {
		prefix += "/"
	}
	for _, e := range d.Children() {
		var err error
		switch e := e.(type) {
		case *ltfs.Dir:
			err = c.dirEntry(e, prefix+e.Name, id)
		case *ltfs.File:
			err = c.fileEntry(e, prefix+e.Name, id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) fileEntry(f *ltfs.File, path string, up uint64) error {
	m, err := c.meta(f)
	if err != nil {
		return err
	}
	sound := true
	for _, x := range f.Extents {
		c.note.Bytes += int64(x.ByteCount)
		sound = sound && c.lv.CanHold(x)
	}
	if !sound && (m == nil || f.Length != m.Size) {
		c.r.log.WithField("volume", c.note.Barcode).WithField("path", path).Warn("the extents of an entry are more than the volume can hold; the entry is left out")
		c.note.Damaged++
		return nil
	}
	if m == nil {
		return c.loosePath(f, &f.Node, path)
	}
	return c.known(m, f, &f.Node, path, up)
}

// meta returns SLIOD's metadata of an entry. It is nil for what another program has
// put on the volume: without metadata, or with those of another file, as a
// copy has them.
func (c *collector) meta(e ltfs.Entry) (*ltfs.Meta, error) {
	c.note.Files++
	if c.note.Files-c.told >= 1000 {
		n := c.note.Files - c.told
		c.told = c.note.Files
		c.r.say(func(p *Progress) { p.Files += n })
	}
	m, err := ltfs.DecodeMeta(e)
	if stderrors.Is(err, ltfs.ErrNoMeta) {
		return nil, nil
	}
	if err == nil {
		err = sane(m)
	}
	if err != nil {
		c.r.log.WithField("volume", c.note.Barcode).WithError(err).Warn("metadata of an entry cannot be read; it is taken over as another program's file")
		c.note.Damaged++
		return nil, nil
	}
	if c.seen[m.FileID] {
		return nil, nil
	}
	c.seen[m.FileID] = true
	return m, nil
}

// maxNumber bounds FileIDs and versions: what is beyond was not given by SLIOD, and
// would leave no room for new ones.
const maxNumber = 1 << 62

func sane(m *ltfs.Meta) error {
	bad := m.FileID == 0 || m.FileID >= maxNumber || m.Generation > 1<<32-1 || m.DataVersion >= maxNumber || m.Size > sliver.MaxFileSize
	for _, t := range []ltfs.Time{m.Atime, m.Mtime, m.Ctime, m.Btime} {
		bad = bad || t.Nsec >= 1e9
	}
	for i := range m.Slivers {
		bad = bad || m.Slivers[i].Version >= maxNumber
	}
	if n := len(m.Slivers); n > 0 && sliver.No(m.Slivers[n-1].No) >= sliver.Count(sliver.MaxFileSize) {
		bad = true
	}
	if bad {
		return errors.Wrapf(ltfs.ErrCorrupt, "metadata of file %d: numbers out of range", m.FileID)
	}
	return nil
}

// known takes in an entry with metadata.
func (c *collector) known(m *ltfs.Meta, e ltfs.Entry, n *ltfs.Node, path string, up uint64) error {
	c.note.MaxFile = max(c.note.MaxFile, m.FileID)
	x := entry{inode: catalog.Inode{
		ID: sliver.FileID(m.FileID), Generation: uint32(m.Generation), DataVersion: m.DataVersion, Mode: m.Mode,
		UID: m.UID, GID: m.GID, Major: m.Major, Minor: m.Minor, Size: m.Size, Target: m.Target,
		Atime: catalog.Time(m.Atime), Mtime: catalog.Time(m.Mtime), Ctime: catalog.Time(m.Ctime), Btime: catalog.Time(m.Btime),
		Archived: catalog.Time(n.BackupTime), NextCookie: catalog.FirstCookie, Flags: catalog.FlagOnTape,
	}}
	x.inode.Archived.Nsec %= 1e9
	if path != "" {
		x.names = c.names(m, path, up)
	}
	for k, v := range m.Xattrs {
		x.xattrs = append(x.xattrs, xattr{k, v})
	}
	f, isFile := e.(*ltfs.File)
	if isFile && m.Mode&modeType == modeFile {
		views := viewOf(c.lv, c.no, f, m)
		if f.Length != m.Size {
			x.foreign, x.inode.Size = true, f.Length
			views = foreignView(c.lv, c.no, f)
		}
		for no, b := range views {
			rec, err := catalog.EncodeBmap(b)
			if err != nil {
				return errors.WithMessagef(err, "file %d", m.FileID)
			}
			if err := c.put(key(keyView, m.FileID, uint64(no), uint64(c.no)), rec); err != nil {
				return err
			}
		}
		for i := range m.Slivers {
			c.note.MaxVersion = max(c.note.MaxVersion, m.Slivers[i].Version)
		}
	}
	rec, err := x.encode()
	if err != nil {
		return err
	}
	return c.put(key(keyEntry, m.FileID, uint64(c.no)), rec)
}

// names returns the names of a file: with the numbers of their directories as the
// metadata have them, else as the volume's own directories have them, else as
// paths.
func (c *collector) names(m *ltfs.Meta, path string, up uint64) []name {
	paths := append([]string{path}, m.Links...)
	list := make([]name, 0, len(paths))
	for i, p := range paths {
		dir, base := "", p
		if at := strings.LastIndexByte(p, '/'); at >= 0 {
			dir, base = p[:at], p[at+1:]
		}
		var id uint64
		switch {
		case len(m.Dirs) == len(paths):
			id = m.Dirs[i]
		case i == 0:
			id = up
		case dir == "":
			id = uint64(sliver.RootID)
		default:
			if e, err := c.lv.Index().Lookup(dir); err == nil {
				if d, err := ltfs.DecodeMeta(e); err == nil {
					id = d.FileID
				}
			}
		}
		if id == 0 {
			base = p
		}
		list = append(list, name{sliver.FileID(id), base})
	}
	return list
}

// loosePath takes in what another program has put on the volume.
func (c *collector) loosePath(e ltfs.Entry, n *ltfs.Node, path string) error {
	x := entry{foreign: true, names: []name{{0, path}}, inode: catalog.Inode{
		Generation: 1, DataVersion: 1, UID: c.r.o.UID, GID: c.r.o.GID, NextCookie: catalog.FirstCookie,
		Atime: catalog.Time(n.AccessTime), Mtime: catalog.Time(n.ModifyTime), Ctime: catalog.Time(n.ChangeTime), Btime: catalog.Time(n.CreationTime),
	}}
	for _, a := range n.Xattrs {
		if !strings.HasPrefix(strings.ToLower(a.Key), "ltfs") && !strings.HasPrefix(strings.ToLower(a.Key), "sliod.") {
			x.xattrs = append(x.xattrs, xattr{"user." + a.Key, a.Value})
		}
	}
	no := c.loose
	c.loose++
	f, isFile := e.(*ltfs.File)
	switch {
	case !isFile:
		x.inode.Mode = modeDir | 0o755
	case f.IsSymlink:
		x.inode.Mode, x.inode.Target = modeLink|0o777, f.Symlink
	default:
		x.inode.Mode, x.inode.Size = modeFile|0o644, f.Length
		if f.ReadOnly {
			x.inode.Mode = modeFile | 0o444
		}
		for bmap, b := range foreignView(c.lv, c.no, f) {
			rec, err := catalog.EncodeBmap(b)
			if err != nil {
				return errors.WithMessagef(err, "file %q", path)
			}
			if err := c.put(key(keyPathMap, uint64(c.no), no, uint64(bmap)), rec); err != nil {
				return err
			}
		}
	}
	rec, err := x.encode()
	if err != nil {
		return err
	}
	return c.put(key(keyPath, uint64(c.no), no), rec)
}

// put adds a record to the batch.
func (c *collector) put(key, value []byte) error {
	c.batch = append(c.batch, record{key, value})
	c.bytes += len(key) + len(value)
	if len(c.batch) < c.r.o.batch && c.bytes < maxBatchBytes {
		return nil
	}
	return c.flush()
}

func (c *collector) flush() error {
	if err := c.ctx.Err(); err != nil {
		return errors.WithStack(err)
	}
	if len(c.batch) == 0 {
		return nil
	}
	err := c.r.update(func(tx *catalog.Tx) error {
		for _, rec := range c.batch {
			if err := tx.PutStage(rec.key, rec.value); err != nil {
				return err
			}
		}
		return nil
	})
	c.batch, c.bytes = c.batch[:0], 0
	return err
}
