package rebuild

import (
	"context"
	"slices"
	"sort"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape/ltfs"
)

// build makes, of all that the volumes say of a file, the file.
func (r *rebuild) build(ctx context.Context) error {
	gone, err := r.removedRuns()
	if err != nil {
		return err
	}
	r.say(func(p *Progress) { p.Step, p.Total, p.Files = "building files", p.Files, 0 })
	from := []byte{keyEntry}
	for {
		if err := ctx.Err(); err != nil {
			return errors.WithStack(err)
		}
		var made int64
		more := false
		next := from
		err := r.change(func(tx *catalog.Tx, s *state) error {
			made, more, next = 0, false, from
			b := &builder{r: r, tx: tx, s: s, gone: gone}
			var files []sliver.FileID
			var entries []staged
			// One file more than is done: its entries may go on.
			err := tx.Stages([]byte{keyEntry}, from, func(k, v []byte) bool {
				id := sliver.FileID(part(k, 0))
				if n := len(files); n == 0 || files[n-1] != id {
					if more = n == r.o.batch; more {
						return false
					}
					files = append(files, id)
				}
				next = after(k)
				entries = append(entries, staged{id, catalog.VolumeNo(part(k, 1)), slices.Clone(v)})
				return true
			})
			if err != nil {
				return err
			}
			for len(entries) > 0 {
				n := 1
				for n < len(entries) && entries[n].id == entries[0].id {
					n++
				}
				if err := b.file(entries[:n]); err != nil {
					return errors.WithMessagef(err, "file %d", entries[0].id)
				}
				entries = entries[n:]
				made++
			}
			return nil
		})
		if err != nil {
			return err
		}
		from = next
		r.say(func(p *Progress) { p.Files += made })
		if !more {
			return nil
		}
	}
}

// staged is one entry of a file.
type staged struct {
	id     sliver.FileID
	volume catalog.VolumeNo
	value  []byte
}

// removedRuns returns the runs of files that are gone, sorted and joined.
func (r *rebuild) removedRuns() ([]ltfs.FileIDRun, error) {
	var runs []ltfs.FileIDRun
	err := r.cat.View(func(tx *catalog.Tx) error {
		return tx.Stages([]byte{keyRemoved}, nil, func(k, v []byte) bool {
			if r.done[catalog.VolumeNo(part(k, 0))] {
				d := reader{b: v}
				runs = append(runs, ltfs.FileIDRun{First: d.uint(), Count: d.uint()})
			}
			return true
		})
	})
	sort.Slice(runs, func(i, j int) bool { return runs[i].First < runs[j].First })
	out := runs[:0]
	for _, n := range runs {
		if k := len(out); k > 0 && n.First <= out[k-1].First+out[k-1].Count {
			end := max(out[k-1].First+out[k-1].Count, n.First+n.Count)
			out[k-1].Count = end - out[k-1].First
			continue
		}
		out = append(out, n)
	}
	return out, err
}

func inRuns(runs []ltfs.FileIDRun, id uint64) bool {
	i := sort.Search(len(runs), func(i int) bool { return runs[i].First > id })
	return i > 0 && id-runs[i-1].First < runs[i-1].Count
}

// builder makes files in one transaction.
type builder struct {
	r    *rebuild
	tx   *catalog.Tx
	s    *state
	gone []ltfs.FileIDRun
}

// file makes a file of its entries, and takes their records away.
func (b *builder) file(list []staged) error {
	id := list[0].id
	var best *entry
	var says []catalog.VolumeNo // volumes whose entries are as new as the newest
	for _, st := range list {
		if err := b.tx.DeleteStage(key(keyEntry, uint64(id), uint64(st.volume))); err != nil {
			return err
		}
		if !b.r.done[st.volume] {
			continue
		}
		e, err := decodeEntry(st.value)
		if err != nil {
			return err
		}
		switch c := newer(e, best); {
		case c > 0:
			best, says = e, []catalog.VolumeNo{st.volume}
		case c == 0:
			if later(e.inode.Archived, best.inode.Archived) {
				best = e
			}
			says = append(says, st.volume)
		}
	}
	if best != nil && id != sliver.RootID && inRuns(b.gone, uint64(id)) {
		b.s.Removed++
		best = nil
	}
	if best == nil {
		return b.dropViews(id)
	}
	ino := &best.inode
	lost, err := b.slivers(ino, best.foreign, says)
	if err != nil {
		return err
	}
	if lost {
		b.s.LostFiles++
		if len(b.s.LostFilesList) < maxLost {
			b.s.LostFilesList = append(b.s.LostFilesList, id)
		}
	}
	if best.foreign {
		b.s.Foreign++
	}
	ino.Parent = sliver.RootID
	ino.DataVersion += gapDataVersions
	if ino.Mode&modeType == modeDir {
		ino.NLink = 2
		if id != sliver.RootID {
			b.s.Dirs++
		}
	} else {
		ino.NLink = uint32(len(best.names))
		b.s.Files++
		b.s.Bytes += int64(ino.Size)
	}
	if err := putInode(b.tx, b.s, ino, best.xattrs); err != nil {
		return err
	}
	for i, n := range best.names {
		if id == sliver.RootID {
			break
		}
		k := key(keyName, uint64(n.dir), uint64(id), uint64(i))
		if err := b.tx.PutStage(k, []byte(n.name)); err != nil {
			return err
		}
	}
	return nil
}

// putInode stores a file, with the extended attributes that the archive can hold.
func putInode(tx *catalog.Tx, s *state, n *catalog.Inode, list []xattr) error {
	for _, x := range list {
		isACL, ok := n.TakeXattr(x.name, x.value)
		if !ok || len(x.name) > catalog.MaxName || slices.Contains([]byte(x.name), 0) || x.name == "" {
			s.Dropped++
			continue
		}
		if isACL {
			continue
		}
		if err := tx.PutXattr(n.ID, x.name, x.value); err != nil {
			return err
		}
	}
	return tx.PutInode(n)
}

// newer compares two entries of one file.
func newer(a, b *entry) int {
	switch {
	case b == nil:
		return 1
	case a.inode.Generation != b.inode.Generation:
		return sign(a.inode.Generation > b.inode.Generation)
	case a.inode.DataVersion != b.inode.DataVersion:
		return sign(a.inode.DataVersion > b.inode.DataVersion)
	case a.foreign != b.foreign:
		return sign(a.foreign)
	}
	return 0
}

func sign(positive bool) int {
	if positive {
		return 1
	}
	return -1
}

func later(a, b catalog.Time) bool { return a.Sec > b.Sec || a.Sec == b.Sec && a.Nsec > b.Nsec }

// dropViews takes the slivers of a file that is not made away.
func (b *builder) dropViews(id sliver.FileID) error {
	return b.views(id, func(uint64, []view) error { return nil })
}

// view is one bmap as a volume has it.
type view struct {
	volume catalog.VolumeNo
	bmap   *catalog.Bmap
}

// views calls fn for each bmap of a file with the views of all volumes, and takes
// their records away.
func (b *builder) views(id sliver.FileID, fn func(no uint64, list []view) error) error {
	var list []view
	var no uint64
	var bad error
	from := key(keyView, uint64(id))
	prefix := from
	err := b.tx.Stages(prefix, from, func(k, v []byte) bool {
		if n := part(k, 1); n != no && len(list) > 0 {
			if bad = fn(no, list); bad != nil {
				return false
			}
			list = nil
		}
		no = part(k, 1)
		vol := catalog.VolumeNo(part(k, 2))
		if b.r.done[vol] {
			var m *catalog.Bmap
			if m, bad = catalog.DecodeBmap(v); bad != nil {
				return false
			}
			list = append(list, view{vol, m})
		}
		bad = b.tx.DeleteStage(slices.Clone(k))
		return bad == nil
	})
	if err == nil {
		err = bad
	}
	if err == nil && len(list) > 0 {
		err = fn(no, list)
	}
	return err
}

// slivers makes the bmaps of a file. says are the volumes whose entries tell what
// the slivers are; lost: one or more of these is on no volume.
func (b *builder) slivers(ino *catalog.Inode, foreign bool, says []catalog.VolumeNo) (lost bool, err error) {
	count := sliver.Count(ino.Size)
	err = b.views(ino.ID, func(no uint64, list []view) error {
		var out catalog.Bmap
		for i := range out.Slivers {
			n := sliver.BmapNo(no).First() + sliver.No(i)
			if n >= count {
				break
			}
			rec := want(list, says, i)
			if rec == nil {
				continue
			}
			rec.Len = min(rec.Len, uint32(sliver.LenIn(ino.Size, n)))
			if foreign {
				b.s.MaxVersion++
				rec.Version = sliver.Version(b.s.MaxVersion)
			} else {
				rec.Copies = copies(list, i, rec)
			}
			if len(rec.Copies) == 0 {
				rec.Copies = []catalog.Copy{{Volume: noVolume}}
				lost = true
				b.s.LostSlivers++
				b.s.LostBytes += int64(rec.Len)
			}
			for _, c := range rec.Copies {
				for _, p := range c.Pieces {
					if !p.IsZeros() {
						b.s.Live[c.Volume] += int64(p.Len)
					}
				}
			}
			out.Slivers[i] = *rec
		}
		return b.tx.PutBmap(ino.ID, sliver.BmapNo(no), &out)
	})
	return lost, err
}

// want returns a copy of the record of sliver i that tells what it must be; nil: it
// is a hole. Of entries that are equally new, the one with the newest content says
// it: the others were made while the file was still being archived. Of the same content, the
// shortest checksum holds for all volumes: where it is longer, the sliver was cut before it was
// copied to another one.
func want(list []view, says []catalog.VolumeNo, i int) *catalog.SliverRec {
	var best *catalog.SliverRec
	for _, v := range list {
		rec := &v.bmap.Slivers[i]
		if rec.Hole() || !slices.Contains(says, v.volume) {
			continue
		}
		if best == nil || rec.Version > best.Version || rec.Version == best.Version && rec.HasSum && rec.ArchLen < best.ArchLen {
			best = rec
		}
	}
	if best == nil {
		return nil
	}
	rec := *best
	return &rec
}

// copies returns where sliver i is, in the version of rec.
func copies(list []view, i int, rec *catalog.SliverRec) []catalog.Copy {
	var out []catalog.Copy
	if rec.Version == 0 {
		return nil
	}
	for _, v := range list {
		have := &v.bmap.Slivers[i]
		if have.Version != rec.Version || have.Hole() || len(have.Copies[0].Pieces) == 0 {
			continue
		}
		if p := fit(have.Copies[0].Pieces, rec.ArchLen); p != nil {
			out = append(out, catalog.Copy{Volume: v.volume, Pieces: p})
		}
	}
	return out
}
