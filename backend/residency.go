package backend

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/cache"
	"sliod/backend/catalog"
	"sliod/backend/sliver"
)

// Residency says where a file's data is.
type Residency string

// Residencies of a file.
const (
	Resident    Residency = "resident"    // in the cache only, at least in part
	Premigrated Residency = "premigrated" // in the cache and on tape
	Migrated    Residency = "migrated"    // on tape only
	Partial     Residency = "partial"     // on tape, and some of it in the cache
)

// census counts a file's slivers by where they are.
type census struct {
	dirty, clean, absent int
	archived             bool // what a file without data has is on tape
	volumes              map[catalog.VolumeNo]bool
	checksums            []string
	verified             verifiedSummary
}

func (c *census) residency() Residency {
	switch {
	case c.absent > 0 && c.clean+c.dirty > 0:
		return Partial
	case c.absent > 0:
		return Migrated
	case c.dirty > 0:
		return Resident
	case c.clean > 0:
		return Premigrated
	case c.archived: // no data at all: empty, or one hole
		return Migrated
	}
	return Resident
}

// census counts the slivers of a file. Those that the catalog does not know yet are
// dirty in the cache.
func (ino *inode) census() (*census, error) {
	fs := ino.fs
	r := ino.attr()
	c := &census{volumes: map[catalog.VolumeNo]bool{}, archived: r.Flags&catalog.FlagMetaDirty == 0 && r.Archived != catalog.Time{}}
	known := map[sliver.No]bool{}
	err := fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Bmaps(ino.id, 0, func(no sliver.BmapNo, b *catalog.Bmap) bool {
			for i := range b.Slivers {
				r := &b.Slivers[i]
				if !r.Dirty && len(r.Copies) == 0 {
					continue
				}
				n := no.First() + sliver.No(i)
				known[n] = true
				switch fs.cache.State(sliver.Key{File: ino.id, No: n}, cache.Behind{State: sliver.Absent}) {
				case sliver.Absent, sliver.Faulting:
					c.absent++
				case sliver.Clean:
					c.clean++
				default:
					c.dirty++
				}
				for _, cp := range r.Copies {
					c.volumes[cp.Volume] = true
				}
				c.verified.add(fs, tx, sliver.Key{File: ino.id, No: n}, r)
				if r.HasSum && !r.Dirty {
					c.checksums = append(c.checksums, fmt.Sprintf("%d:%016x", n, r.Sum))
				}
			}
			return true
		})
	})
	if err == nil {
		err = fs.cat.View(func(tx *catalog.Tx) error {
			v, err := tx.Verified(ino.id)
			c.verified.alone(v)
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	for _, n := range fs.cache.DirtySlivers(ino.id) {
		if !known[n] {
			c.dirty++
		}
	}
	return c, nil
}

// residencyXattr returns the value of a user.sliod attribute.
func (ino *inode) residencyXattr(name string) ([]byte, error) {
	r := ino.attr()
	if name == ownXattr+"rule" {
		p, err := ino.policyInfo()
		if err != nil {
			return nil, err
		}
		return json.Marshal(p)
	}
	if !isFile(&r) {
		return nil, linux.ENODATA
	}
	switch name {
	case ownXattr + "copies":
		return ino.copiesXattr()
	case ownXattr + "state", ownXattr + "volumes", ownXattr + "checksum", ownXattr + "verified":
	case ownXattr + "eta":
		return ino.etaXattr()
	case ownXattr + "pin":
		return ino.fs.pinnedXattr(ino.id)
	default:
		return nil, linux.ENODATA
	}
	c, err := ino.census()
	if err != nil {
		return nil, err
	}
	switch name {
	case ownXattr + "state":
		return []byte(c.residency()), nil
	case ownXattr + "volumes":
		return []byte(strings.Join(ino.fs.barcodes(c.volumes), " ")), nil
	case ownXattr + "verified":
		return []byte(c.verified.String()), nil
	}
	return []byte(strings.Join(c.checksums, " ")), nil
}

func (fs *FS) barcodes(volumes map[catalog.VolumeNo]bool) []string {
	var names []string
	_ = fs.cat.View(func(tx *catalog.Tx) error {
		for no := range volumes {
			if v, err := tx.Volume(no); err == nil {
				names = append(names, v.Barcode)
			}
		}
		return nil
	})
	sort.Strings(names)
	return names
}

// setResidencyXattr begins what a user.sliod attribute asks for. ino.mu must be
// held.
func (ino *inode) setResidencyXattr(name string, value []byte) error {
	fs := ino.fs
	var kind JobKind
	switch strings.TrimPrefix(name, ownXattr) {
	case "recall":
		kind = JobRecall
	case "evict":
		kind = JobEvict
	case "archive":
		kind = JobArchive
	case "pin":
		switch string(value) {
		case "1":
			return fs.pinFile(ino, byUser)
		case "0", "":
			return fs.unpinFile(ino.id)
		}
		return linux.EINVAL
	case "state", "volumes", "checksum", "verified", "rule", "eta", "copies":
		return linux.EPERM
	default:
		return linux.EINVAL
	}
	l, err := fs.newList(kind, JobOptions{}, false)
	if err != nil {
		return err
	}
	if err := l.addFile(ino); err != nil {
		l.Drop()
		return err
	}
	_, err = l.Start()
	return err
}
