package mover

import (
	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/tape/ltfs"
)

// Sign notes in the index of a volume that it is one of this archive, and which volumes that has.
func (m *Mover) Sign(x *ltfs.Index) error {
	id, volumes, err := m.identity()
	if err == nil {
		x.SetArchive(id, volumes)
	}
	return err
}

// firstRoot returns what the first index of a new volume tells of it.
func (m *Mover) firstRoot(gone []ltfs.FileIDRun) (func(*ltfs.Index), error) {
	id, volumes, err := m.identity()
	return func(x *ltfs.Index) {
		x.SetArchive(id, volumes)
		x.SetRemoved(gone)
	}, err
}

func (m *Mover) identity() (id string, volumes []ltfs.ArchiveVolume, err error) {
	err = m.cat.View(func(tx *catalog.Tx) (err error) {
		if id, err = tx.Archive(); err != nil {
			return err
		}
		return tx.Volumes(func(v catalog.Volume) bool {
			// What was imported to be read only is no volume that a rebuild takes.
			foreign := v.Flags&catalog.VolImported != 0 && v.State == catalog.VolReadOnly
			if v.UUID != "" && v.State != catalog.VolScratch && !foreign {
				volumes = append(volumes, ltfs.ArchiveVolume{Barcode: v.Barcode, UUID: v.UUID})
			}
			return true
		})
	})
	return id, volumes, errors.WithMessage(err, "mover: the archive's identity")
}

// otherArchive returns the identity of the archive that an index is of, if that is not ours.
func (m *Mover) otherArchive(x *ltfs.Index) (other string, err error) {
	id := x.Archive()
	if id == "" {
		return "", nil // from before there were identities, or not of SLIOD
	}
	var own string
	err = m.cat.View(func(tx *catalog.Tx) (err error) {
		own, err = tx.Archive()
		return err
	})
	if err != nil || id == own {
		return "", errors.WithMessage(err, "mover: the archive's identity")
	}
	return id, nil
}

// strange says why the mounted volume, whose UUID is the catalog's, must not be written
// all the same: another archive has taken it, or an archive whose catalog was a later one than
// this. Files of the same FileIDs may be others there.
func (d *drive) strange() (string, error) {
	m, v := d.m, d.vol
	if v.rec().State == catalog.VolReadOnly {
		return "", nil // it is not written
	}
	other, err := m.otherArchive(d.lv.Index())
	if err != nil {
		return "", err
	}
	if other != "" {
		return "it belongs to another archive now, " + other, nil
	}
	if v.rec().Flags&catalog.VolImported != 0 && d.lv.Index().Archive() == "" {
		return "it was imported to be read only", nil
	}
	// An index is on tape after the catalog has on disk where the data end that it names.
	end := v.rec().EndOfData
	if named := dataNamed(d.lv, end.Block); uint8(d.lv.TapePartition(d.lv.DataPartition())) == end.Partition && named > end.Block {
		return errors.Errorf("its index names data up to block %d, the catalog knows of data up to block %d: the catalog is older than the volume, or another program has changed files on it. "+
			"If the catalog was brought back from a copy, stop the server, move the folders catalog and cache away, and run `sliod rebuild`", named, end.Block).Error(), nil
	}
	return "", nil
}

// dataNamed returns the block in the data partition behind the last that an entry of SLIOD
// names, if that is above a limit, else the limit.
func dataNamed(lv *ltfs.Volume, limit uint64) uint64 {
	data, size := lv.DataPartition(), uint64(lv.BlockSize())
	_ = lv.Index().Walk(func(_ string, e ltfs.Entry) error {
		file, ok := e.(*ltfs.File)
		if !ok {
			return nil
		}
		last := limit
		for _, x := range file.Extents {
			if x.Partition == data {
				last = max(last, x.StartBlock+(uint64(x.ByteOffset)+x.ByteCount+size-1)/size)
			}
		}
		if last > limit {
			if _, ours := fileOf(e); ours {
				limit = last
			}
		}
		return nil
	})
	return limit
}
