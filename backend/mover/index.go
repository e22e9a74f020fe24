package mover

import (
	"crypto/rand"
	stderrors "errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// indexEffort: an index that only says attributes is written only after this many
// times as long as the last index took, so that large indexes are not written
// for every chmod.
const indexEffort = 10

// indexDue says whether the index must be written now, even if there is other work.
func (d *drive) indexDue(now time.Time) bool {
	if d.lv == nil || d.dirtyAt.IsZero() {
		return false
	}
	return d.unindexed >= d.m.cfg.IndexBytes || now.Sub(d.dirtyAt) >= d.m.cfg.IndexInterval
}

// indexAt says when the index of an idle drive is to be written, if at all.
// idleQueue says that no file waits for archiving.
func (d *drive) indexAt(idleQueue bool) (time.Time, bool) {
	if d.dirtyAt.IsZero() {
		return time.Time{}, false
	}
	at := d.dirtyAt.Add(d.m.cfg.IndexInterval)
	if idleQueue && len(d.metaDone) > 0 {
		if soon := d.batchAt.Add(d.m.cfg.IndexIdle + indexEffort*d.indexTook); soon.Before(at) {
			at = soon
		}
	}
	return at, true
}

// changed notes that the index on tape lacks something.
func (d *drive) changed() {
	if d.dirtyAt.IsZero() {
		d.dirtyAt = time.Now()
		d.m.mu.Lock()
		d.lacking = true
		d.m.mu.Unlock()
	}
}

// indexed notes that the index on tape lacks nothing, or that there is no volume.
func (d *drive) indexed() {
	d.dirtyAt = time.Time{}
	d.m.mu.Lock()
	d.lacking = false
	d.m.mu.Unlock()
}

// indexNow writes the index between two other steps.
func (d *drive) indexNow() {
	d.setState(driveWriting, "index of volume "+d.vol.rec().Barcode)
	if err := d.writeIndex(); err != nil {
		_ = d.dismount(true) // noted
		return
	}
	// Data has been written since the last survey.
	planner := d.survey(d.vol)
	d.m.mu.Lock()
	d.m.surveyedLocked(d.vol, planner, time.Now())
	d.m.mu.Unlock()
}

// writeIndex puts the index on tape and ends the files that waited for it. After
// an error, which has been noted, the volume must be dismounted as broken.
func (d *drive) writeIndex() error {
	m, v := d.m, d.vol
	if d.dirtyAt.IsZero() {
		return nil
	}
	start := time.Now()
	// What the catalog notes of files that come to tape (Files.Plan) is on disk first.
	err := m.cat.Sync()
	var noted []catalog.Unlisted
	if err == nil {
		noted, err = d.noteRemoved()
	}
	if err == nil {
		err = m.Sign(d.lv.Index())
	}
	if err == nil && v.rec().Flags&catalog.VolTaken != 0 {
		d.lv.Index().SetPool(v.rec().Pool)
	}
	if err == nil {
		err = d.lv.WriteIndex(m.ctx)
	}
	if stderrors.Is(err, ltfs.ErrOneIndex) {
		// All that the catalog has on the volume is in an index, and that is read. More is never written.
		m.log.WithField(fieldVolume, v.rec().Barcode).WithError(err).Warn("the volume has its newest index once only")
		if v.rec().State == catalog.VolAppend {
			m.setState(v, catalog.VolFull, "no room for another index")
		}
		err = nil
	}
	if err != nil {
		if m.ctx.Err() != nil {
			return err
		}
		err = m.note("write index", v, d, "", err)
		m.log.WithField(fieldVolume, v.rec().Barcode).WithField(fieldDrive, d.tape.Serial()).WithError(err).
			Error("the index could not be written; the catalog knows all data on the volume")
		d.writeBlame(v, err)
		return err
	}
	d.indexTook = time.Since(start)
	d.unindexed = 0
	d.indexed()
	m.mu.Lock()
	m.est.learned.index.add(d.indexTook, 1, keepOther)
	m.mu.Unlock()
	err = m.updateVolume(v, func(rec *catalog.Volume) {
		rec.Generation, rec.EndOfData = d.lv.Generation(), posOf(d.lv.EndOfData())
		rec.Flags &^= catalog.VolUnindexed
	})
	if err != nil {
		m.log.WithField(fieldVolume, v.rec().Barcode).WithError(err).Error("the new index could not be recorded; it is found at the next mount")
	}
	if err := m.listed(noted); err != nil {
		m.log.WithError(err).Warn("they are listed once more in the next index")
	}
	done := d.metaDone
	d.metaDone = nil
	for _, md := range done {
		var err error
		if md.gone {
			err = m.files.Removed(md.item.file)
		} else {
			_, _, err = m.files.Archived(md.item.file, md.dataVersion, nil)
		}
		if err != nil {
			md.item.finish(errors.WithMessagef(err, "mover: record file %d in the catalog", md.item.file))
			continue
		}
		md.item.finish(nil)
	}
	return nil
}

// requeueMeta tries the files again that waited for an index that did not come.
func (d *drive) requeueMeta() {
	if len(d.metaDone) == 0 {
		return
	}
	items := make([]*archiveItem, len(d.metaDone))
	for i, md := range d.metaDone {
		items[i] = md.item
	}
	d.metaDone = nil
	if d.m.ending() {
		for _, it := range items {
			it.finish(errClosed)
		}
		return
	}
	d.m.retry(items, errors.New("mover: the index with the file's attributes could not be written"))
}

// adopt learns which files the index of the newly mounted volume has. If the
// catalog has committed data that the index lacks, because the server or the
// drive stopped before an index was written, their entries are made anew from the
// catalog, and the index is written.
func (d *drive) adopt() error {
	m, v, lv := d.m, d.vol, d.lv
	d.unindexed, d.metaDone, d.removed = 0, nil, nil
	d.indexed()
	d.incomplete = make(map[sliver.FileID]bool)
	d.learnPaths()
	why, err := d.strange()
	if err != nil {
		return err
	}
	if why != "" {
		_ = m.note("mount", v, d, "", errors.New(why))
		to := catalog.VolSuspect
		if v.rec().Flags&catalog.VolImported != 0 {
			to = catalog.VolReadOnly
		}
		m.setState(v, to, why)
		return nil
	}
	rep := lv.Repair()
	if rep == nil {
		var err error
		switch gen, rec := lv.Generation(), v.rec(); {
		case gen == rec.Generation && rec.Flags&catalog.VolUnindexed != 0:
			// The data were on tape before the catalog had them, and nothing is behind the index.
			err = errors.New("the catalog has data on it that were written after its newest index, and nothing is there: it is an older copy of the volume, or was rolled back")
		case gen < rec.Generation:
			// An index is on tape before the catalog names its generation, and nothing is behind
			// this one: it is an older copy of the volume.
			err = errors.Errorf("its newest index has generation %d, the catalog knows %d: it is an older copy of the volume, or was rolled back", gen, rec.Generation)
		default:
			d.noteGeneration()
			return nil
		}
		_ = m.note("mount", v, d, "", err)
		m.setState(v, catalog.VolSuspect, err.Error())
		return nil
	}
	log := m.log.WithField(fieldVolume, v.rec().Barcode)
	end := v.rec().EndOfData
	if end.Partition == uint8(lv.EndOfData().Partition) && end.Block > uint64(rep.To) {
		_ = m.note("mount", v, d, "", errors.Errorf("the data end at block %d, the catalog has committed data up to block %d: slivers are lost", rep.To, end.Block))
		m.setState(v, catalog.VolSuspect, "its data end before what the catalog has committed")
		return nil
	}
	switch {
	case protection(d.tape.Limits()) != "" || lv.Refusal() != nil:
		return nil // it can only be read
	case v.rec().State == catalog.VolFull && rep.IndexGeneration > rep.DataGeneration && rep.IndexGeneration == v.rec().Generation && lv.Generation() == rep.IndexGeneration:
		return nil // its data partition has no room for another index, and this one lacks nothing
	case v.rec().State == catalog.VolAppend || v.rec().State == catalog.VolFull:
	case v.rec().State == catalog.VolSuspect && !v.indexTried:
		// A write to it failed. What it holds should be in its index all the same: it is
		// tried once.
		m.mu.Lock()
		v.indexTried = true
		m.mu.Unlock()
	default:
		return nil // it is only read
	}
	why = rep.String()
	lv.Adopt()
	n := 0
	var planErr error
	err = m.files.OnVolume(v.rec().No, func(f sliver.FileID) bool {
		plan, err := m.files.Plan(f)
		if err == nil && plan != nil {
			err = d.putEntries(plan)
		}
		if err == nil && plan != nil {
			n++
			log.WithField(fieldFile, f).WithField("names", plan.Names).Info("index entry made anew from the catalog")
		}
		if err != nil && planErr == nil {
			planErr = errors.WithMessagef(err, "index entry of file %d", f)
		}
		return m.ctx.Err() == nil
	})
	if err == nil {
		err = planErr
	}
	if err != nil {
		return err
	}
	log.Warnf("%d files of the volume were put in its index from the catalog: %s", n, why)
	d.changed()
	return d.writeIndex()
}

// noteGeneration records the generation of the newest index if the server stopped before it had. One that is
// missed is allowed for (reuse), and no more than one must ever be.
func (d *drive) noteGeneration() {
	rec, gen := d.vol.rec(), d.lv.Generation()
	if rec.Flags&catalog.VolUnindexed == 0 && (rec.Generation == gen || rec.State == catalog.VolReadOnly) {
		return
	}
	if end := d.lv.EndOfData(); rec.Flags&catalog.VolUnindexed != 0 && uint8(end.Partition) == rec.EndOfData.Partition && uint64(end.Block) < rec.EndOfData.Block {
		return // not our index: it would end behind the data
	}
	err := d.m.updateVolume(d.vol, func(rec *catalog.Volume) {
		rec.Generation, rec.Flags = gen, rec.Flags&^catalog.VolUnindexed
	})
	if err != nil {
		d.m.log.WithField(fieldVolume, rec.Barcode).WithError(err).Warn("the generation of the volume's index could not be recorded")
	}
}

// learnPaths maps the files of the index to their paths.
func (d *drive) learnPaths() {
	d.paths = make(map[sliver.FileID][]string)
	_ = d.lv.Index().Walk(func(path string, e ltfs.Entry) error {
		if f, ok := fileOf(e); ok {
			d.paths[f] = append(d.paths[f], path)
		}
		return nil
	})
}

// putEntries makes the file's entries in the index what the plan says: under its
// names only, with the slivers that are on this volume. Other files that stand
// there were renamed or removed since: what they have on this volume must stay in
// its index, so they get the entries that are right now.
func (d *drive) putEntries(plan *Plan) error {
	d.changed()
	var displaced []sliver.FileID
	err := d.putFile(plan, &displaced)
	for len(displaced) > 0 && err == nil {
		f := displaced[0]
		displaced = displaced[1:]
		var p *Plan
		if p, err = d.m.files.Plan(f); err == nil && p != nil {
			err = d.putFile(p, &displaced)
		}
	}
	return errors.WithMessagef(err, "mover: file %d, index of volume %s", plan.File, d.vol.rec().Barcode)
}

// putFile is putEntries for one file. Files that lose their entries by it are
// added to displaced.
func (d *drive) putFile(plan *Plan, displaced *[]sliver.FileID) error {
	x := d.lv.Index()
	plan.was = d.entryOf(plan.File)
	for _, old := range d.paths[plan.File] {
		if len(plan.Names) > 0 && plan.Names[0] == old {
			continue
		}
		e, err := x.Lookup(old)
		if err != nil {
			continue
		}
		if f, ok := fileOf(e); !ok || f != plan.File {
			continue
		}
		dir, isDir := e.(*ltfs.Dir)
		if err := d.take(old); err != nil {
			return err
		}
		if isDir && dir.Len() > 0 {
			if len(plan.Names) > 0 {
				// What is below moves along.
				if err := graft(x, dir, plan.Names[0], displaced); err != nil {
					return err
				}
			} else {
				below(dir, displaced)
			}
			defer d.learnPaths()
		}
	}
	delete(d.paths, plan.File)
	if len(plan.Names) == 0 {
		return nil
	}
	// LTFS knows no hard links: the other names are in the metadata.
	path := plan.Names[0]
	if err := d.putAbove(plan, path, displaced); err != nil {
		return err
	}
	if err := d.clearPath(plan, path, displaced); err != nil {
		return err
	}
	return d.putEntry(plan, path)
}

// putAbove makes entries for the directories above a path, with their metadata, so
// that each volume tells whole paths.
func (d *drive) putAbove(plan *Plan, path string, displaced *[]sliver.FileID) error {
	x := d.lv.Index()
	put := func(dir sliver.FileID, e ltfs.Entry) error {
		if f, ok := fileOf(e); ok && f == dir {
			return nil
		}
		p, err := d.m.files.Plan(dir)
		if err != nil || p == nil || len(p.Names) == 0 {
			return err
		}
		return d.putFile(p, displaced)
	}
	if path != "" {
		if err := put(sliver.RootID, x.Root); err != nil {
			return err
		}
	}
	n := 0
	for i := range path {
		if path[i] != '/' {
			continue
		}
		e, err := x.Lookup(path[:i])
		if err != nil {
			e = &ltfs.Dir{}
		}
		if n < len(plan.Above) {
			if err := put(plan.Above[n], e); err != nil {
				return err
			}
		}
		n++
		// A file in the way of a directory.
		if e, err = x.Lookup(path[:i]); err == nil {
			if _, isDir := e.(*ltfs.Dir); !isDir {
				if f, ok := fileOf(e); ok {
					*displaced = append(*displaced, f)
				}
				if err := x.Remove(path[:i]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// clearPath sees to it that nothing of another file is lost when plan's entry is put
// at path.
func (d *drive) clearPath(plan *Plan, path string, displaced *[]sliver.FileID) error {
	if path == "" {
		return nil
	}
	x := d.lv.Index()
	old, err := x.Lookup(path)
	if err != nil {
		return nil
	}
	f, ok := fileOf(old)
	if ok && f == plan.File {
		return nil
	}
	dir, isDir := old.(*ltfs.Dir)
	if ok {
		d.paths[f] = slices.DeleteFunc(d.paths[f], func(p string) bool { return p == path })
		if isDir {
			p, err := d.m.files.Plan(f)
			if err != nil {
				return err
			}
			if p != nil && len(p.Names) > 0 && p.Names[0] != path {
				d.paths[f] = append(d.paths[f], path)
				return d.putFile(p, displaced) // it takes along what is below
			}
		} else {
			*displaced = append(*displaced, f)
		}
	}
	if isDir && plan.Inode.Mode&modeType != modeDir {
		below(dir, displaced)
	}
	return nil
}

// below adds the files under a directory that is taken out of the index.
func below(dir *ltfs.Dir, displaced *[]sliver.FileID) {
	for _, e := range dir.Children() {
		if f, ok := fileOf(e); ok {
			*displaced = append(*displaced, f)
		}
		if c, ok := e.(*ltfs.Dir); ok {
			below(c, displaced)
		}
	}
}

// putEntry makes the file's entry at path.
func (d *drive) putEntry(plan *Plan, path string) error {
	x := d.lv.Index()
	if path == "" {
		old := x.Root.Xattrs
		if err := dirEntry(plan, x.Root); err != nil {
			return err
		}
		for _, k := range old {
			if slices.Contains(ltfs.VolumeKeys, k.Key) {
				x.Root.Xattrs = append(x.Root.Xattrs, k)
			}
		}
		x.MarkDirty()
		return nil
	}
	var e ltfs.Entry
	var err error
	if plan.Inode.Mode&modeType == modeDir {
		dir := &ltfs.Dir{}
		e, err = dir, dirEntry(plan, dir)
	} else {
		e, err = d.fileEntry(plan)
	}
	if err != nil {
		return err
	}
	if plan.was != nil {
		nodeOf(e).Unknown = nodeOf(plan.was).Unknown // of a volume that others wrote as well
	}
	if err := x.Put(path, e); err != nil {
		return err
	}
	d.paths[plan.File] = append(d.paths[plan.File], path)
	return nil
}

// removeEntries takes a file that is gone out of the index.
func (d *drive) removeEntries(f sliver.FileID) {
	x := d.lv.Index()
	for _, path := range d.paths[f] {
		e, err := x.Lookup(path)
		if err != nil {
			continue
		}
		if g, ok := fileOf(e); !ok || g != f {
			continue
		}
		if dir, ok := e.(*ltfs.Dir); ok && dir.Len() > 0 {
			continue
		}
		if d.take(path) == nil {
			d.changed()
		}
	}
	delete(d.paths, f)
}

// take takes the entry at path out of the index, and with it directories above that tell no file and are empty now.
// There is one if it was removed between the plan of a file in it and that of its own (putAbove): a rebuild would take
// it for a directory that another program has made. On volumes that others wrote it may be one.
func (d *drive) take(path string) error {
	x := d.lv.Index()
	if err := x.Remove(path); err != nil {
		return err
	}
	for d.vol.rec().Flags&catalog.VolImported == 0 {
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			break
		}
		path = path[:i]
		e, err := x.Lookup(path)
		if err != nil {
			break
		}
		dir, ok := e.(*ltfs.Dir)
		if _, known := fileOf(e); !ok || known || dir.Len() > 0 {
			break
		}
		if err := x.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// graft puts e, which is in no index, at path, joining directories. What is there
// is newer; what cannot stay beside it is added to displaced.
func graft(x *ltfs.Index, e ltfs.Entry, path string, displaced *[]sliver.FileID) error {
	there, err := x.Lookup(path)
	if err != nil {
		if !stderrors.Is(err, ltfs.ErrNotFound) {
			return err
		}
		return x.Put(path, e)
	}
	from, ok1 := e.(*ltfs.Dir)
	_, ok2 := there.(*ltfs.Dir)
	if !ok1 || !ok2 {
		if f, ok := fileOf(e); ok {
			*displaced = append(*displaced, f)
		}
		if ok1 {
			below(from, displaced)
		}
		return nil
	}
	for _, c := range from.Children() {
		if err := graft(x, c, strings.TrimPrefix(path+"/", "/")+nameOf(c), displaced); err != nil {
			return err
		}
	}
	return nil
}

func nodeOf(e ltfs.Entry) *ltfs.Node {
	if d, ok := e.(*ltfs.Dir); ok {
		return &d.Node
	}
	return &e.(*ltfs.File).Node
}

func nameOf(e ltfs.Entry) string { return nodeOf(e).Name }

func isEmpty(lv *ltfs.Volume) bool {
	return lv.Repair() == nil && lv.Index().Files() == 0 && lv.Index().Dirs() <= 1
}

// newUUID returns a random UUID (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func posOf(p tape.Position) catalog.VolPos {
	return catalog.VolPos{Partition: uint8(p.Partition), Block: uint64(p.Block)}
}

// pieceOf and extentOf convert between the catalog's pieces, which name the tape
// partition by its number, and LTFS extents, which name it by its letter.
func pieceOf(lv *ltfs.Volume, e ltfs.Extent) catalog.Piece {
	return catalog.Piece{
		Partition: uint8(lv.TapePartition(e.Partition)), Block: e.StartBlock, Offset: e.ByteOffset, Len: uint32(e.ByteCount),
	}
}

func extentOf(lv *ltfs.Volume, p catalog.Piece) ltfs.Extent {
	letter := lv.DataPartition()
	if uint8(lv.TapePartition(letter)) != p.Partition {
		letter = lv.Label().Index
	}
	return ltfs.Extent{Partition: letter, StartBlock: p.Block, ByteOffset: p.Offset, ByteCount: uint64(p.Len)}
}
