package mover

import (
	stderrors "errors"
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/pkg/errors"
	"golang.org/x/sync/errgroup"

	"sliod/backend/cache"
	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// commitWorkers is how many files of a batch are committed at the same time: the
// catalog joins their syncs.
const commitWorkers = 16

// batch is what was appended to the mounted volume since the last flush. Only the
// drive's owner uses it.
type batch struct {
	parts []part
	bytes int64
	begun time.Time
}

// part is what a batch has of one file.
type part struct {
	item *archiveItem
	plan *Plan
	done []Done
	more bool // the file goes on in the next batch
	// changed: the file is not as planned any more.
	changed bool
	absent  bool // of a copy: something was not in the cache
	err     error
}

// archiveBatch takes files from the queue and appends them, until the batch is
// full, the queue is empty, or something fails.
func (d *drive) archiveBatch() {
	m := d.m
	b := &batch{begun: time.Now()}
	defer d.endHashing()
	d.setState(driveWriting, "archive")
	var next []planned
	for !d.batchFull(b) {
		if len(next) == 0 {
			if next = m.takePlanned(d.vol); len(next) == 0 {
				break
			}
		}
		p := next[0]
		next = next[1:]
		err := d.archiveFile(b, p)
		m.endPlanning(p)
		if err != nil {
			m.putBackPlanned(next)
			if stderrors.Is(err, ltfs.ErrVolumeFull) {
				d.volumeFull(b)
			} else {
				d.writeFailed(b, "archive", err)
			}
			return
		}
	}
	m.putBackPlanned(next)
	if len(b.parts) > 0 {
		d.commit(b)
	}
	d.batchAt = time.Now()
	m.mu.Lock()
	if took := d.batchAt.Sub(b.begun); len(b.parts) > 0 {
		m.est.learned.batch.add(took, 1, keepOther)
		m.est.learned.file.add(took, float64(len(b.parts)), keepOther)
	}
	if !m.anyLane(newContent) {
		m.pressure = false
	}
	m.mu.Unlock()
}

func (d *drive) batchFull(b *batch) bool {
	return b.bytes >= d.m.cfg.BatchBytes || len(b.parts) > 0 && time.Since(b.begun) >= d.m.cfg.BatchTime
}

// planned is a file from the queue with its plan.
type planned struct {
	item  *archiveItem
	plan  *Plan
	lacks []Lack // of a copy
	err   error
}

// takePlanned takes a few files from the queue, that v can take. Their plans are made at the
// same time, as each puts data on disk first.
func (m *Mover) takePlanned(v *volume) []planned {
	var list []planned
	for len(list) < commitWorkers {
		it := m.takeArchive(v)
		if it == nil {
			break
		}
		list = append(list, planned{item: it})
	}
	var g errgroup.Group
	for i := range list {
		g.Go(func() error {
			p := &list[i]
			if p.plan, p.err = m.files.Plan(p.item.file); p.err == nil && p.item.copy != nil {
				p.lacks, p.err = m.files.Lacking(p.item.file, *p.item.copy)
			}
			return nil
		})
	}
	_ = g.Wait()
	return list
}

func (m *Mover) putBackPlanned(list []planned) {
	var items []*archiveItem
	for _, p := range list {
		items = append(items, p.item)
	}
	m.endPlanning(list...)
	m.putBack(items)
}

// archiveFile appends the dirty slivers of one file. If the batch is full before
// the file is, the rest is put back to the front of the queue. After an error the
// file is the last part of the batch, with what was appended before.
func (d *drive) archiveFile(b *batch, next planned) error {
	m := d.m
	it, plan := next.item, next.plan
	if err := next.err; err != nil {
		it.finish(errors.WithMessagef(err, "mover: archive file %d", it.file))
		return nil
	}
	if it.copy != nil {
		return d.copyFile(b, next)
	}
	if plan == nil {
		d.removeEntries(it.file)
		d.removed = append(d.removed, uint64(it.file))
		d.changed()
		d.metaDone = append(d.metaDone, metaDone{item: it, gone: true})
		return nil
	}
	if !it.begun {
		it.begun, it.rest = true, plan.Dirty
		it.hash = d.beginHash(plan, len(plan.Dirty))
	}
	d.setState(driveWriting, fmt.Sprintf("archive of file %d", it.file))
	b.parts = append(b.parts, part{item: it, plan: plan})
	p := &b.parts[len(b.parts)-1]
	m.beginPart(it.file)
	for len(it.rest) > 0 && !d.batchFull(b) && !m.ending() {
		if err := d.archiveSliver(b, p, it.rest[0]); err != nil {
			return err
		}
		it.rest = it.rest[1:]
	}
	p.more = len(it.rest) > 0
	if len(p.done) == 0 && !p.more {
		err := p.err
		b.parts = b.parts[:len(b.parts)-1]
		m.endPart(it.file)
		switch {
		case err != nil:
			it.finish(err) // nothing of it could be read
		case it.busy:
			m.follow(it)
		default:
			d.attributesOnly(it, plan)
		}
	}
	return nil
}

// archiveSliver appends one sliver, if it is dirty.
func (d *drive) archiveSliver(b *batch, p *part, no sliver.No) error {
	m := d.m
	k := keyOf(p.item.file, no)
	buf := d.archiveBuffer()
	n, version, err := m.cache.BeginArchive(k, buf)
	switch {
	case stderrors.Is(err, cache.ErrNotDirty), stderrors.Is(err, cache.ErrChanged):
		d.freeBuffer(buf)
		return nil // gone, archived by another, or being written: then it stays dirty
	case stderrors.Is(err, cache.ErrBusy):
		d.freeBuffer(buf)
		p.item.busy = true
		return nil
	case err != nil:
		d.freeBuffer(buf)
		p.err = errors.WithMessagef(err, "mover: archive sliver %v: read it from the cache", k)
		return nil
	}
	x := Done{No: no, Version: version, Sum: xxhash.Sum64(buf[:n]), Len: n}
	err = d.appendSliver(b, p, buf, x)
	if err != nil {
		m.cache.EndArchive(k, version, x.Sum, false)
	}
	return err
}

// appendSliver appends the sliver that x says, which is in buf, and adds it to what the batch has
// of the file. buf is given back.
func (d *drive) appendSliver(b *batch, p *part, buf []byte, x Done) error {
	data := buf[:x.Len]
	d.hashSliver(p.item, x.No, buf, x.Len)
	extents, err := d.lv.Append(d.m.ctx, data)
	if err != nil {
		p.item.hash = nil // it has the sliver already
		return err
	}
	pieces := make([]catalog.Piece, len(extents))
	for i, e := range extents {
		pieces[i] = pieceOf(d.lv, e)
	}
	if h := p.item.hash; h != nil {
		h.extents = d.appendExtents(h.extents, OnTape{No: x.No, Len: x.Len, Pieces: pieces})
	}
	x.Copy = catalog.Copy{Volume: d.vol.rec().No, Pieces: pieces}
	p.done = append(p.done, x)
	b.bytes += int64(x.Len)
	return nil
}

// attributesOnly is for a file of which nothing is dirty but, perhaps, its
// attributes: directories, symbolic links, empty and special files among them.
func (d *drive) attributesOnly(it *archiveItem, plan *Plan) {
	if plan.Inode.Flags&catalog.FlagMetaDirty == 0 {
		it.finish(nil)
		return
	}
	if err := d.putEntries(plan); err != nil {
		it.finish(err)
		return
	}
	md := metaDone{item: it, dataVersion: plan.Inode.DataVersion}
	if d.incomplete[plan.File] {
		// Another drive archives a sliver of it just now: another entry has to follow, and
		// the file stays pending.
		md.dataVersion = 0
	}
	d.metaDone = append(d.metaDone, md)
}

// commit makes the batch durable: data on the medium, then the catalog, then the
// index in memory and the callers.
func (d *drive) commit(b *batch) bool {
	m := d.m
	if !slices.ContainsFunc(b.parts, func(p part) bool { return len(p.done) > 0 }) {
		return d.finishParts(b) // nothing is on tape that its index lacks
	}
	if err := d.lv.Flush(m.ctx); err != nil {
		d.writeFailed(b, "flush", err)
		return false
	}
	end := d.lv.EndOfData()
	d.unindexed += b.bytes
	err := m.changeVolume(d.vol, func(rec *catalog.Volume) error {
		if rec.State == catalog.VolScratch {
			return errNowScratch
		}
		rec.Used += b.bytes
		rec.EndOfData = posOf(end)
		rec.Flags |= catalog.VolUnindexed
		return nil
	})
	if err != nil {
		d.abandon(b, err)
		return false
	}
	d.changed() // also if the files are gone by now, and get no entries
	var g errgroup.Group
	g.SetLimit(commitWorkers)
	for i := range b.parts {
		p := &b.parts[i]
		if len(p.done) == 0 {
			continue
		}
		g.Go(func() error {
			if err := m.record(p); err != nil {
				m.endArchive(p)
				p.done = nil
				p.err = errors.WithMessagef(err, "mover: record file %d in the catalog", p.item.file)
			}
			return nil
		})
	}
	_ = g.Wait()
	m.mu.Lock()
	m.stats.Batches++
	m.stats.WrittenBytes += b.bytes
	d.position = end
	m.spaceGen++
	m.retryAsideLocked(len(m.aside))
	m.mu.Unlock()
	d.worked()
	return d.finishParts(b)
}

// record commits what the batch has of one file.
func (m *Mover) record(p *part) error {
	if p.item.copy == nil {
		_, now, err := m.files.Archived(p.item.file, p.plan.Inode.DataVersion, p.done)
		p.changed = now != p.plan.Inode.DataVersion
		return err
	}
	p.changed = true // nobody says whether it is
	kept, err := m.files.Copied(p.item.file, p.done)
	n := int64(0)
	for _, ok := range kept {
		if ok {
			n++
		}
	}
	m.mu.Lock()
	m.stats.Copied += n
	m.mu.Unlock()
	return err
}

// finishParts puts the files of a committed batch in the index and tells their
// callers; what is left of a file goes back to the queue. False: the index lacks something of what
// the catalog has, and the volume is dismounted, to be brought up to date when it is mounted next.
func (d *drive) finishParts(b *batch) bool {
	m := d.m
	d.endHashing()
	m.endParts(b)
	var rest []*archiveItem
	whole := true
	for i := range b.parts {
		p := &b.parts[i]
		if len(p.done) > 0 { // also if another sliver of the file could not be read
			if err := d.putPart(p); err != nil {
				whole = false
				if p.err == nil {
					p.err = err
				}
			}
		}
		switch {
		case p.err == nil && p.more:
			rest = append(rest, p.item)
		case p.item.copy != nil:
			d.copied(p)
		case p.err != nil:
			p.item.finish(p.err)
		case p.item.busy:
			m.follow(p.item)
		default:
			p.item.finish(nil)
		}
	}
	m.putBack(rest)
	if !whole {
		_ = d.dismount(true) // its index may not be written: it would say that nothing is missing
	}
	return whole
}

// putPart puts the file of a part in the index, with the slivers as the catalog has them
// now. The rest must be as new: a file that has grown since its plan would be listed
// without slivers that are on this volume and, as its next entry may go to another, for good.
func (d *drive) putPart(p *part) error {
	plan := p.plan
	if p.changed {
		var err error
		if plan, err = d.m.files.Plan(p.item.file); err != nil || plan == nil {
			return err // without a plan it is gone: its removal comes to tape by itself
		}
	}
	plan.hash = p.item.hash
	return d.putEntries(plan)
}

// endArchive says that the slivers of p are not archived.
func (m *Mover) endArchive(p *part) {
	if p.item.copy != nil {
		return // they are clean
	}
	for _, x := range p.done {
		m.cache.EndArchive(keyOf(p.item.file, x.No), x.Version, x.Sum, false)
	}
}

// giveUp says that nothing of the batch is archived, and returns its files.
func (m *Mover) giveUp(b *batch) []*archiveItem {
	items := make([]*archiveItem, 0, len(b.parts))
	for i := range b.parts {
		m.endArchive(&b.parts[i])
		items = append(items, b.parts[i].item)
	}
	m.endParts(b)
	return items
}

// abandon gives the batch up: nothing of it is archived, and its files are tried
// again.
func (d *drive) abandon(b *batch, err error) {
	d.m.retry(d.m.giveUp(b), err)
}

// volumeFull commits what fits and leaves the volume for another. The last part
// of the batch goes on there.
func (d *drive) volumeFull(b *batch) {
	b.parts[len(b.parts)-1].more = true
	d.m.setState(d.vol, catalog.VolFull, "no room for more data")
	if d.commit(b) && d.writeIndex() != nil {
		_ = d.dismount(true) // noted
	}
	d.batchAt = time.Now()
}

// writeFailed is for an error while something was written: all since the last
// flush is in doubt. The volume or the drive is taken out of use.
func (d *drive) writeFailed(b *batch, op string, err error) {
	m, v := d.m, d.vol
	if m.ctx.Err() != nil {
		for _, it := range m.giveUp(b) {
			it.finish(errClosed)
		}
		return
	}
	err = m.note(op, v, d, "", err)
	m.log.WithField(fieldVolume, v.rec().Barcode).WithField(fieldDrive, d.tape.Serial()).WithError(err).
		Error("write failed: what was written since the last flush is archived again elsewhere")
	d.writeBlame(v, err)
	d.abandon(b, err)
	_ = d.dismount(true) // noted
}

// writeBlame takes the volume or the drive out of use after a write error.
func (d *drive) writeBlame(v *volume, err error) {
	if d.taken(v, err) {
		return
	}
	bl := d.blameFor(err)
	d.strike(v, bl, err)
	switch {
	case tape.KindOf(err) == tape.WriteProtected && bl == blameVolume:
		d.m.protect(v, "it is write-protected: move its tab")
	case stderrors.Is(err, ltfs.ErrVolumeFull):
		d.m.setState(v, catalog.VolFull, "no room for more data")
	case bl == blameVolume && v.rec().State != catalog.VolFull:
		d.m.setState(v, catalog.VolSuspect, err.Error())
	}
}

// ending says that the mover is being closed.
func (m *Mover) ending() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closing || m.ctx.Err() != nil
}
