package mover

import (
	"time"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape/ltfs"
)

// Types of a mode, as in stat(2).
const (
	modeType = 0o170000
	modeDir  = 0o040000
)

// fileOf returns the file that an entry of an index belongs to; false if SLIOD
// did not write it.
func fileOf(e ltfs.Entry) (sliver.FileID, bool) {
	m, err := ltfs.DecodeMeta(e)
	if err != nil {
		return 0, false
	}
	return sliver.FileID(m.FileID), true
}

// metaOf returns what the index says of a file. The slivers are the caller's.
func metaOf(plan *Plan) *ltfs.Meta {
	ino := &plan.Inode
	m := &ltfs.Meta{
		FileID: uint64(plan.File), Generation: uint64(ino.Generation), DataVersion: ino.DataVersion,
		Mode: ino.Mode, UID: ino.UID, GID: ino.GID, Major: ino.Major, Minor: ino.Minor, Size: ino.Size,
		Atime: ltfs.Time(ino.Atime), Mtime: ltfs.Time(ino.Mtime), Ctime: ltfs.Time(ino.Ctime), Btime: ltfs.Time(ino.Btime),
		Target: plan.Target, Xattrs: plan.Xattrs,
	}
	if len(plan.Names) > 1 {
		m.Links = plan.Names[1:]
	}
	for _, dir := range plan.Dirs {
		m.Dirs = append(m.Dirs, uint64(dir))
	}
	return m
}

// stamp says in the entry when it was archived.
func stamp(n *ltfs.Node) { n.BackupTime = ltfs.TimeOf(time.Now()) }

// dirEntry makes an entry for a directory.
func dirEntry(plan *Plan, dir *ltfs.Dir) error {
	stamp(&dir.Node)
	return metaOf(plan).Apply(dir)
}

// fileEntry makes an entry for anything but a directory: its metadata list all
// slivers of the file that have content, its extents those on the mounted volume.
func (d *drive) fileEntry(plan *Plan) (*ltfs.File, error) {
	meta := metaOf(plan)
	f := &ltfs.File{}
	delete(d.incomplete, plan.File)
	if plan.Slivers != nil {
		err := plan.Slivers(d.vol.rec().No, func(s OnTape) bool {
			if s.No.Start() >= meta.Size {
				return false // cut off since
			}
			if s.Version == 0 {
				s.Len = sliver.LenIn(meta.Size, s.No)
				d.incomplete[plan.File] = true
			}
			s.Len = min(s.Len, sliver.LenIn(meta.Size, s.No))
			if s.Len == 0 {
				return true // a truncate has left nothing of it
			}
			f.Extents = d.appendExtents(f.Extents, s)
			meta.Slivers = append(meta.Slivers, listed(s))
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	stamp(&f.Node)
	if err := meta.Apply(f); err != nil {
		return nil, errors.WithMessage(err, "metadata")
	}
	d.putHash(plan, f)
	return f, nil
}

// listed is how the metadata list a sliver. The checksum goes over the archived
// bytes, of which a truncate may have cut some off since. They still lie behind the
// valid ones on tape, unless the sliver is in pieces: then nobody could check it.
func listed(s OnTape) ltfs.SliverMeta {
	l := ltfs.SliverMeta{No: uint64(s.No), Version: uint64(s.Version), Len: uint32(s.Len)}
	switch {
	case s.Version == 0:
	case !s.HasSum, s.ArchLen < s.Len, s.ArchLen > s.Len && len(s.Pieces) > 1:
		l.NoSum = true
	default:
		l.Sum = s.Sum
		if s.ArchLen > s.Len {
			l.SumLen = uint32(s.ArchLen)
		}
	}
	return l
}

// appendExtents adds the extents of one sliver. One that goes on where the last
// one ends, on tape and in the file, becomes part of it: a file that was archived in
// one go has one extent. Zeros stay a gap.
func (d *drive) appendExtents(list []ltfs.Extent, s OnTape) []ltfs.Extent {
	at, left := s.No.Start(), uint64(s.Len)
	for _, p := range s.Pieces {
		if left == 0 {
			break
		}
		if p.IsZeros() {
			n := min(uint64(p.Len), left)
			at, left = at+n, left-n
			continue
		}
		e := extentOf(d.lv, p)
		e.FileOffset = at
		e.ByteCount = min(e.ByteCount, left)
		at, left = at+e.ByteCount, left-e.ByteCount
		if n := len(list); n > 0 && goesOn(&list[n-1], &e, uint64(d.lv.BlockSize())) {
			list[n-1].ByteCount += e.ByteCount
			continue
		}
		list = append(list, e)
	}
	return list
}

// goesOn says whether b begins where a ends. If a ends in a record that is not
// full, b cannot begin there.
func goesOn(a, b *ltfs.Extent, blockSize uint64) bool {
	end := uint64(a.ByteOffset) + a.ByteCount
	return a.Partition == b.Partition && a.FileOffset+a.ByteCount == b.FileOffset &&
		a.StartBlock+end/blockSize == b.StartBlock && end%blockSize == uint64(b.ByteOffset)
}

// noteRemoved puts the files that are gone on the index's list: entries of them
// may be left on other volumes. It returns what the catalog has noted of such files, for listed.
func (d *drive) noteRemoved() ([]catalog.Unlisted, error) {
	gone, noted, err := d.m.unlisted()
	if err != nil || len(gone)+len(d.removed) == 0 {
		return nil, err
	}
	x := d.lv.Index()
	runs, err := x.Removed()
	if err != nil {
		return nil, err
	}
	runs = append(runs, gone...)
	for _, id := range d.removed {
		runs = append(runs, ltfs.FileIDRun{First: id, Count: 1})
	}
	x.SetRemoved(runs)
	d.removed = nil
	return noted, nil
}
