package faults

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/catalog/catalogcheck"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
	"sliod/tape/ltfs/ltfscheck"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// onVolume has the library bring a volume to its first drive, calls fn, and brings
// it home.
func onVolume(lib *virtual.Library, b tape.Barcode, fn func(*scsi.Drive) error) error {
	ctx := context.Background()
	d := lib.Tape().Drives[0].(*scsi.Drive)
	from, to, err := clearDrives(lib, b)
	if err != nil {
		return err
	}
	if err := lib.Tape().Changer.Move(ctx, from, to); err != nil {
		return err
	}
	if err := d.Load(ctx); err != nil {
		return err
	}
	if err := fn(d); err != nil {
		return errors.WithMessagef(err, "volume %s", b)
	}
	if err := d.Unload(ctx); err != nil {
		return err
	}
	return lib.Tape().Changer.Move(ctx, to, from)
}

// clearDrives brings home what a mover left in the drives: it does so itself only when
// it needs the drive. It returns where volume b and the first drive are.
func clearDrives(lib *virtual.Library, b tape.Barcode) (volume, drive uint16, err error) {
	ctx := context.Background()
	es, err := lib.Tape().Changer.Inventory(ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, e := range es {
		if e.Volume == b {
			volume = e.Address
		}
		if e.Kind != tape.DriveElement {
			continue
		}
		i := slices.IndexFunc(lib.Tape().Drives, func(d tape.Drive) bool { return d.Serial() == e.Drive })
		if i == 0 {
			drive = e.Address
		}
		if !e.Full {
			continue
		}
		if err := lib.Tape().Drives[i].Unload(ctx); err != nil {
			return 0, 0, err
		}
		free := slices.IndexFunc(es, func(e tape.Element) bool { return e.Kind == tape.Slot && !e.Full })
		if err := lib.Tape().Changer.Move(ctx, e.Address, es[free].Address); err != nil {
			return 0, 0, err
		}
		es[free].Full = true
		if e.Volume == b {
			volume = es[free].Address
		}
	}
	return volume, drive, nil
}

// onTape is a sliver as the catalog has it.
type onTape struct {
	key sliver.Key
	rec catalog.SliverRec
}

// books reads from the catalog of a stopped machine what is on which volume, and
// whether anything is not archived.
func (m *machine) books() (volumes map[catalog.VolumeNo]catalog.Volume, slivers map[catalog.VolumeNo][]onTape, dirty int, err error) {
	cat, err := catalog.Open(filepath.Join(m.dir, "state", "catalog"), catalog.Options{FS: m.catalogDisk()})
	if err != nil {
		return nil, nil, 0, err
	}
	defer cat.Close()
	volumes, slivers = map[catalog.VolumeNo]catalog.Volume{}, map[catalog.VolumeNo][]onTape{}
	err = cat.View(func(tx *catalog.Tx) error {
		if err := tx.Volumes(func(v catalog.Volume) bool { volumes[v.No] = v; return true }); err != nil {
			return err
		}
		var files []sliver.FileID
		if err := tx.Inodes(0, func(n catalog.Inode) bool { files = append(files, n.ID); return true }); err != nil {
			return err
		}
		for _, f := range files {
			err := tx.Bmaps(f, 0, func(no sliver.BmapNo, b *catalog.Bmap) bool {
				for i, r := range b.Slivers {
					if r.Dirty {
						dirty++
					}
					for _, c := range r.Copies {
						slivers[c.Volume] = append(slivers[c.Volume], onTape{sliver.Key{File: f, No: no.First() + sliver.No(i)}, r})
					}
				}
				return true
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return volumes, slivers, dirty, err
}

// inspect reads all volumes of a stopped machine, with package ltfs alone: they are
// consistent, every sliver is where the catalog says, with its checksum, and the
// files of each index can be read through it. want are the files' contents.
func (m *machine) inspect(want map[string][]byte) error {
	if err := catalogcheck.Check(filepath.Join(m.dir, "state", "catalog"), m.catalogDisk()); err != nil {
		return err
	}
	volumes, slivers, dirty, err := m.books()
	if err != nil {
		return err
	}
	if dirty > 0 {
		return errors.Errorf("%d slivers are not archived", dirty)
	}
	lib, err := virtual.Open(m.libraryConfig())
	if err != nil {
		return err
	}
	defer lib.Close()
	in := &inspection{keys: m.pools.Source(""), want: want, indexed: map[sliver.Key]bool{}, gone: map[uint64]bool{}, left: map[uint64]string{}}
	for _, v := range volumes {
		err := onVolume(lib, tape.Barcode(v.Barcode), func(d *scsi.Drive) error {
			switch {
			case v.Barcode == precious:
				return untouched(d)
			case v.State == catalog.VolScratch || v.UUID == "":
				return nil
			}
			return in.volume(d, v, slivers[v.No])
		})
		if err != nil {
			return err
		}
	}
	for _, list := range slivers {
		for _, s := range list {
			if !in.indexed[s.key] {
				return errors.Errorf("sliver %v is in no index: a catalog that is rebuilt from the tapes would lack it", s.key)
			}
		}
	}
	for id, path := range in.left {
		if !in.gone[id] {
			return errors.Errorf("file %d, %s, was removed; an index has it, and no index has it among those that were removed", id, path)
		}
	}
	return nil
}

// inspection is what the volumes say together.
type inspection struct {
	keys    ltfs.KeySource
	want    map[string][]byte
	indexed map[sliver.Key]bool // slivers that an index has, with their bytes
	gone    map[uint64]bool     // files that an index lists as removed
	left    map[uint64]string   // files that an index has, and the tree has not
}

// untouched says whether the foreign cartridge is as it was.
func untouched(d *scsi.Drive) error {
	buf := make([]byte, blockSize)
	n, err := d.ReadBlock(context.Background(), buf)
	if err != nil || string(buf[:n]) != "precious" {
		return errors.Errorf("the foreign cartridge was written: it begins with %.40q, %v", buf[:n], err)
	}
	return nil
}

// volume inspects one of the archive's volumes.
func (in *inspection) volume(d *scsi.Drive, v catalog.Volume, slivers []onTape) error {
	for _, ignoreMAM := range []bool{false, true} { // both ways to the index
		lv, err := ltfs.Mount(context.Background(), d, ltfs.MountOptions{IgnoreMAM: ignoreMAM, Key: in.keys})
		if err != nil {
			if len(slivers) == 0 {
				return nil // formatting it failed
			}
			return err
		}
		if lv.UUID() != v.UUID {
			return errors.Errorf("its UUID is %s, the catalog says %s", lv.UUID(), v.UUID)
		}
		for _, s := range slivers {
			if err := readSliver(lv, v.No, s); err != nil {
				return err
			}
		}
		runs, err := lv.Index().Removed()
		if err != nil {
			return err
		}
		for _, r := range runs {
			for i := range r.Count {
				in.gone[r.First+i] = true
			}
		}
		if err := in.index(lv); err != nil {
			return err
		}
		if lv.Repair() != nil {
			return nil // what is behind the last index belongs to nobody, and is told at the next mount
		}
	}
	rep, err := ltfscheck.Check(context.Background(), d, ltfscheck.Options{Data: true})
	if err != nil {
		return err
	}
	if !rep.OK() {
		return errors.Errorf("it breaks the format: %v", rep.Findings)
	}
	return nil
}

// readSliver reads a sliver from where the catalog says.
func readSliver(lv *ltfs.Volume, no catalog.VolumeNo, s onTape) error {
	for _, c := range s.rec.Copies {
		if c.Volume != no {
			continue
		}
		buf := make([]byte, s.rec.ArchLen)
		n := 0
		for _, p := range c.Pieces {
			letter := lv.DataPartition()
			if uint8(lv.TapePartition(letter)) != p.Partition {
				letter = lv.Label().Index
			}
			x := ltfs.Extent{Partition: letter, StartBlock: p.Block, ByteOffset: p.Offset, ByteCount: uint64(p.Len)}
			if err := lv.ReadExtent(context.Background(), x, buf[n:n+int(p.Len)]); err != nil {
				return errors.WithMessagef(err, "sliver %v", s.key)
			}
			n += int(p.Len)
		}
		if sum := xxhash.Sum64(buf[:n]); n != len(buf) || s.rec.HasSum && sum != s.rec.Sum {
			return errors.Errorf("sliver %v: %d bytes with XXH64 %016x on tape, %d with %016x in the catalog", s.key, n, sum, len(buf), s.rec.Sum)
		}
	}
	return nil
}

// index reads what an index has of each file, and compares the slivers that are its
// newest. An index that is older than the file, on another volume, is right too.
func (in *inspection) index(lv *ltfs.Volume) error {
	return lv.Index().Walk(func(path string, e ltfs.Entry) error {
		f, ok := e.(*ltfs.File)
		if !ok {
			return nil
		}
		meta, err := ltfs.DecodeMeta(e)
		if err != nil {
			return errors.WithMessage(err, path)
		}
		content, ok := in.want["/"+path]
		if !ok {
			in.left[meta.FileID] = path
			return nil
		}
		got, have := make([]byte, f.Length), make([]bool, sliver.Count(f.Length))
		for _, x := range f.Extents {
			if x.FileOffset+x.ByteCount > f.Length {
				return errors.Errorf("%s has %d bytes, an extent ends at %d", path, f.Length, x.FileOffset+x.ByteCount)
			}
			if err := lv.ReadExtent(context.Background(), x, got[x.FileOffset:][:x.ByteCount]); err != nil {
				return errors.WithMessage(err, path)
			}
			for at := x.FileOffset; at < x.FileOffset+x.ByteCount; at += mib - at%mib {
				have[at/mib] = true
			}
		}
		for _, s := range meta.Slivers {
			if !have[s.No] {
				continue // on another volume
			}
			from := int(s.No) * mib
			to := min(from+int(s.Len), len(got))
			if sum := xxhash.Sum64(got[from:to]); to-from == int(s.Len) && sum != s.Sum {
				return errors.Errorf("%s, sliver %d: XXH64 %016x on tape, %016x in the index", path, s.No, sum, s.Sum)
			}
			if to <= len(content) && bytes.Equal(got[from:to], content[from:to]) {
				in.indexed[sliver.Key{File: sliver.FileID(meta.FileID), No: sliver.No(s.No)}] = true
			}
		}
		return nil
	})
}
