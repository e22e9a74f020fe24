package mover

import (
	"slices"
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
// archived slivers of the file, its extents those on the mounted volume.
func (d *drive) fileEntry(plan *Plan) (*ltfs.File, error) {
	meta := metaOf(plan)
	f := &ltfs.File{}
	if plan.Slivers != nil {
		here := d.vol.rec.No
		list, err := slivers(plan, here, nil)
		if err != nil {
			return nil, err
		}
		for _, s := range list {
			f.Extents = d.appendExtents(f.Extents, s, meta.Size)
		}
		if sliver.No(len(list)) < sliver.Count(meta.Size) {
			// The others may be on other volumes.
			d.m.mu.Lock()
			var others []catalog.VolumeNo
			for no, v := range d.m.volumes {
				if no != here && v.rec.UUID != "" {
					others = append(others, no)
				}
			}
			d.m.mu.Unlock()
			for _, no := range others {
				if list, err = slivers(plan, no, list); err != nil {
					return nil, err
				}
			}
			slices.SortFunc(list, func(a, b OnTape) int { return int(int64(a.No) - int64(b.No)) })
			list = slices.CompactFunc(list, func(a, b OnTape) bool { return a.No == b.No })
		}
		for _, s := range list {
			if s.No.Start() >= meta.Size {
				break // cut off since
			}
			meta.Slivers = append(meta.Slivers, ltfs.SliverMeta{
				No: uint64(s.No), Version: uint64(s.Version), Sum: s.Sum, Len: uint32(listedLen(s, meta.Size)),
			})
		}
	}
	stamp(&f.Node)
	return f, errors.WithMessage(meta.Apply(f), "metadata")
}

// slivers appends the file's slivers on volume v.
func slivers(plan *Plan, v catalog.VolumeNo, list []OnTape) ([]OnTape, error) {
	err := plan.Slivers(v, func(s OnTape) bool {
		list = append(list, s)
		return true
	})
	return list, err
}

// listedLen is the length under which the index lists a sliver. The checksum goes
// over the archived bytes, so if the sliver is the file's last, it is listed with
// all of them: the file's size says where it ends. In the middle of a file the bytes
// behind the valid ones must read as zeros, so only those are listed.
func listedLen(s OnTape, size uint64) int {
	if s.ArchLen > s.Len && s.No.Start()+uint64(s.Len) < size {
		return s.Len
	}
	return max(s.Len, s.ArchLen)
}

// appendExtents adds the extents of one sliver. One that goes on where the last
// one ends, on tape and in the file, becomes part of it: a file that was archived in
// one go has one extent.
func (d *drive) appendExtents(list []ltfs.Extent, s OnTape, size uint64) []ltfs.Extent {
	at, left := s.No.Start(), uint64(listedLen(s, size))
	for _, p := range s.Pieces {
		if left == 0 || at >= size {
			break
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
// may be left on other volumes.
func (d *drive) noteRemoved() error {
	if len(d.removed) == 0 {
		return nil
	}
	x := d.lv.Index()
	runs, err := x.Removed()
	if err != nil {
		return err
	}
	ids := d.removed
	for _, r := range runs {
		for i := range r.Count {
			ids = append(ids, r.First+i)
		}
	}
	x.SetRemoved(ids)
	d.removed = nil
	return nil
}
