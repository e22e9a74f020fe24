package mover

import (
	stderrors "errors"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/pkg/errors"

	"sliod/backend/cache"
	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
)

// suspectAfter is the number of read errors after which nothing more is appended
// to a volume.
const suspectAfter = 3

// read serves one recall from the mounted volume.
func (d *drive) read(j job) {
	m := d.m
	alive, waiters, class := m.cache.FaultWanted(j.key, j.seq)
	if !alive {
		m.forget(j)
		return
	}
	m.mu.Lock()
	gen := m.spaceGen
	m.mu.Unlock()
	if err := m.cache.Reserve(j.key, j.seq); err != nil {
		d.notReserved(j, gen, err)
		return
	}
	m.mu.Lock()
	m.retryAsideLocked(asideStep)
	m.mu.Unlock()
	if waiters > 0 && m.cfg.ReadAhead > 0 && m.cache.ReadAhead(j.key) {
		for _, w := range m.files.Next(j.key, m.cfg.ReadAhead, class) {
			m.Recall(w.Key, w.Seq)
			m.locateNow(w.Key)
		}
	}
	d.setState(driveReading, fmt.Sprintf("recall of sliver %v", j.key))
	err := d.readCopy(j)
	if err != nil && m.ctx.Err() == nil && d.worthAnother(err) {
		m.log.WithField(fieldVolume, d.vol.rec().Barcode).WithField(fieldDrive, d.tape.Serial()).WithError(err).Warn("read failed: trying again")
		err = d.readCopy(j)
	}
	if err != nil {
		d.readFailed(j, err)
		return
	}
	d.deliver(j, gen)
}

// worthAnother says whether a read that failed may do better when the head comes
// to the place again. Most slivers have one copy: what a second attempt saves is
// not an EIO.
func (d *drive) worthAnother(err error) bool {
	return d.blameFor(err) == blameVolume || tape.KindOf(err) == tape.HardwareError
}

// notReserved handles a fault that got no slot.
func (d *drive) notReserved(j job, gen uint64, err error) {
	switch {
	case stderrors.Is(err, cache.ErrFull):
		d.m.putAside(j.r, j.seq, gen)
	case stderrors.Is(err, cache.ErrStale):
		d.m.forget(j)
	default:
		d.m.fail(j.r, j.seq, errors.WithMessagef(err, "mover: recall sliver %v: reserve a slot", j.key))
	}
}

// readCopy reads the archived bytes of j into d.buf and checks them.
func (d *drive) readCopy(j job) error {
	if j.loc.ArchLen > len(d.buf) {
		return errors.Errorf("sliver %v: the catalog says %d archived bytes, more than a sliver has", j.key, j.loc.ArchLen)
	}
	buf := d.buf[:j.loc.ArchLen]
	n := 0
	for _, p := range j.copy.Pieces {
		if n+int(p.Len) > len(buf) {
			return errors.Errorf("sliver %v: the catalog's pieces are longer than its %d archived bytes", j.key, len(buf))
		}
		part := buf[n : n+int(p.Len)]
		n += int(p.Len)
		if p.IsZeros() {
			clear(part)
			continue
		}
		if err := d.lv.ReadExtent(d.m.ctx, extentOf(d.lv, p), part); err != nil {
			return err
		}
	}
	if n != len(buf) {
		return errors.WithMessagef(errShort, "sliver %v: %d of %d bytes", j.key, n, len(buf))
	}
	if j.loc.HasSum {
		if sum := xxhash.Sum64(buf); sum != j.loc.Sum {
			return errors.WithMessagef(errChecksum, "sliver %v: XXH64 %016x on tape, %016x in the catalog", j.key, sum, j.loc.Sum)
		}
	}
	return nil
}

// deliver gives the cache what readCopy has read.
func (d *drive) deliver(j job, gen uint64) {
	m := d.m
	valid := d.buf[:max(0, min(j.loc.ValidLen, j.loc.ArchLen))]
	sum := j.loc.Sum
	if !j.loc.HasSum {
		// Another program wrote it, without a checksum that we know.
		sum = xxhash.Sum64(d.buf[:j.loc.ArchLen])
		if err := m.files.Summed(j.key, j.loc.Version, sum); err != nil {
			m.log.WithField(fieldFile, j.key.File).WithError(err).Warnf("the checksum of sliver %d could not be recorded; the next recall tries again", j.key.No)
		}
	}
	if len(valid) != j.loc.ArchLen {
		sum = xxhash.Sum64(valid)
	}
	err := m.cache.Deliver(j.key, j.seq, valid, j.loc.Version, sum)
	if err != nil {
		d.notReserved(j, gen, err)
		return
	}
	m.mu.Lock()
	m.stats.Recalled++
	m.stats.ReadBytes += int64(j.loc.ArchLen)
	now := time.Now()
	m.est.learned.read.add(d.takes, now.Sub(d.phaseAt), keepReads)
	m.outcomeLocked(j.r, now)
	d.position = placeOf(j.copy).Position
	m.forgetLocked(j.r, j.seq)
	m.mu.Unlock()
	d.hasRead(placeOf(j.copy).Position)
}

func (m *Mover) forget(j job) {
	m.mu.Lock()
	m.forgetLocked(j.r, j.seq)
	m.mu.Unlock()
}

// readFailed blames the volume or the drive, and has the recall look for another
// way.
func (d *drive) readFailed(j job, err error) {
	m := d.m
	if m.ctx.Err() != nil {
		return // the mover ends, and the fault stays in flight
	}
	b := d.blameFor(err)
	v := d.vol
	err = m.note("recall", v, d, placeOf(j.copy).Position.String(), err)
	m.log.WithField(fieldVolume, v.rec().Barcode).WithField(fieldDrive, d.tape.Serial()).WithError(err).Error("recall failed")
	if d.taken(v, err) {
		m.again(j)
		m.requeue(v, false)
		_ = d.dismount(true) // noted
		return
	}
	d.strikeRead(v, b, err, placeOf(j.copy).Position)
	if b == blameVolume && !d.failed && m.onlyCopy(j) && d.asksAnother(v) {
		m.failover(j, d, blameDrive, err)
		_ = d.dismount(false) // noted
		return
	}
	if b == blameVolume {
		m.countReadError(v)
		m.files.Bad(j.key, j.loc.Version, j.copy.Volume, err)
	}
	m.mu.Lock()
	will := m.willCleanLocked(d)
	m.mu.Unlock()
	if will && tape.KindOf(err) == tape.CleaningNeeded {
		m.again(j) // when the drive is clean
	} else {
		m.failover(j, d, b, err)
	}
	if b != blameVolume || d.failed {
		_ = d.dismount(true) // noted
	}
}

// onlyCopy says whether there is no other copy to try.
func (m *Mover) onlyCopy(j job) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range j.loc.Copies {
		if v := m.volumes[c.Volume]; c.Volume != j.copy.Volume && v != nil && !v.away && !v.leaving && !j.r.badVols[c.Volume] {
			return false
		}
	}
	return true
}

// countReadError counts an error that is the volume's, in its record, as long as it is not formatted and the operator does
// not say that it is good: nothing more is appended to one that
// has several, and what is good on it is copied away.
func (m *Mover) countReadError(v *volume) {
	m.confirmed(v)
	if err := m.updateVolume(v, func(rec *catalog.Volume) { rec.ReadErrors++ }); err != nil {
		m.log.WithField(fieldVolume, v.barcode()).WithError(err).Error("an error of the volume could not be counted")
	}
	if rec := v.rec(); rec.ReadErrors >= suspectAfter && (rec.State == catalog.VolAppend || rec.State == catalog.VolFull) {
		m.setState(v, catalog.VolSuspect, fmt.Sprintf("%d read errors", rec.ReadErrors))
	}
}

// again has the recall tried again, with nobody blamed.
func (m *Mover) again(j job) {
	m.mu.Lock()
	defer m.mu.Unlock()
	j.r.attempts++
	m.toInboxLocked(j.r)
}

// keyOf names a sliver.
func keyOf(f sliver.FileID, n sliver.No) sliver.Key { return sliver.Key{File: f, No: n} }
