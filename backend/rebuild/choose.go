package rebuild

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// Numbers that are left free for what a missing volume may hold: if it turns up, a
// rebuild with it must not take one thing for another.
const (
	gapFiles        = 1 << 28 // FileIDs
	gapVersions     = 1 << 40 // versions of slivers
	gapDataVersions = 1 << 32 // of each file
)

// choose decides which archive is rebuilt, when all volumes have been read: the same
// FileID is another file in another archive. Volumes of others do not count from then on.
func (r *rebuild) choose() error {
	notes, err := r.notes()
	if err != nil {
		return err
	}
	of := map[string][]string{} // barcodes of each archive
	knows := map[string]map[string]tape.Barcode{}
	for _, n := range notes {
		if n.State != VolumeRead || n.Archive == "" {
			continue
		}
		of[n.Archive] = append(of[n.Archive], string(n.Barcode))
		if knows[n.Archive] == nil {
			knows[n.Archive] = map[string]tape.Barcode{}
		}
		for _, v := range n.Knows {
			knows[n.Archive][v.UUID] = tape.Barcode(v.Barcode)
		}
	}
	id := r.o.Archive
	switch {
	case id == "" && len(of) > 1:
		return errors.Errorf("the library has volumes of %d archives, and their files must not be mixed. Nothing was made yet; say which one with --archive, and it goes on:%s", len(of), listArchives(of))
	case id == "":
		for id = range of {
		}
	case of[id] == nil:
		return errors.Errorf("no volume of archive %s was read:%s", id, cmp.Or(listArchives(of), " nor one of any other archive that has an identity"))
	}
	// A volume that tells no archive is older than identities: all indexes that have one name it.
	mine := func(n *volumeNote) bool {
		_, known := knows[id][n.UUID]
		return n.Archive == id || n.Archive == "" && known
	}
	have := map[string]bool{}
	for _, n := range notes {
		if n.State == VolumeRead && mine(&n) || n.State == VolumeUnreadable {
			have[n.UUID], have[string(n.Barcode)] = true, true
		}
	}
	var missing []tape.Barcode
	for uuid, b := range knows[id] {
		if !have[uuid] && !have[string(b)] {
			missing = append(missing, b)
		}
	}
	slices.Sort(missing)
	err = r.change(func(tx *catalog.Tx, s *state) error {
		s.Archive, s.Missing = id, slices.Compact(missing)
		for _, n := range notes {
			if n.State != VolumeRead || mine(&n) {
				continue
			}
			delete(s.Live, n.No)
			s.Damaged -= n.Damaged
			n.State, n.Why = VolumeOther, "archive "+n.Archive
			if n.Archive == "" {
				n.Why = "it is on no list of this archive's volumes"
			}
			if err := putJSON(tx, append([]byte{keyVolume}, n.Barcode...), n); err != nil {
				return err
			}
			v := catalog.Volume{No: n.No, Barcode: string(n.Barcode), State: catalog.VolReadOnly}
			if err := tx.PutVolume(&v); err != nil {
				return err
			}
		}
		if id == "" {
			return nil
		}
		return tx.SetArchive(id)
	})
	for _, n := range notes {
		if n.State == VolumeRead && !mine(&n) {
			r.done[n.No] = false
		}
	}
	return err
}

func listArchives(of map[string][]string) string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(of)) {
		list := of[id]
		slices.Sort(list)
		more := ""
		if n := len(list); n > 8 {
			list, more = list[:8], fmt.Sprintf(" and %d more", n-8)
		}
		fmt.Fprintf(&b, "\n  %s: %s%s", id, strings.Join(list, " "), more)
	}
	return b.String()
}

// identity takes over what a volume tells of its archive.
func (c *collector) identity(x *ltfs.Index) {
	var err error
	c.note.UUID, c.note.Archive = c.lv.UUID(), x.Archive()
	if c.note.Knows, err = x.ArchiveVolumes(); err != nil {
		c.r.log.WithField("volume", c.note.Barcode).WithError(err).Warn("the list of the archive's volumes cannot be read; a missing one may not be named")
		c.note.Knows = nil
	}
}
