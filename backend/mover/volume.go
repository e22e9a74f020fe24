package mover

import (
	"context"
	"sync/atomic"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/schedule"
)

// volume is one cartridge that the catalog knows. Guarded by Mover.mu, but for its record.
type volume struct {
	record atomic.Pointer[catalog.Volume] // see rec

	away bool   // cannot be fetched: not in the library when last looked, or why says why
	why  string // of a volume that is in the library, and away all the same
	// because is why its state is what it is, as far as that was learnt since the start.
	because string
	// place is where it was seen, for people; "" if it was not seen, or at is the place.
	place string
	at    uint16 // element that holds it, unless away
	home  uint16 // slot that it goes back to
	drive *drive // that has it or fetches it, or nil
	// moving: it is carried for the operator, and no drive may have it. leaving: it is to
	// be exported, and takes no new work.
	moving, leaving bool
	moved           uint64 // Mover.moves when it was carried last
	recorded        uint64 // Mover.recorded when its record was changed last
	missed          bool   // that it is away was said when somebody wanted it

	queue      *schedule.Classes[sliver.Key]
	surveyed   bool   // the queue's map is by what a drive says of the medium
	uses       []*use // that wait, oldest first
	indexTried bool   // its index was to be brought up to date since it is suspect
	// askedForIndex: WriteLackingIndexes had it brought up to date, or tried.
	askedForIndex bool
	cleaner       bool   // a cleaning cartridge: never used for data
	expired       string // why a cleaning cartridge cannot be used any longer
}

// foreign says that the cartridge holds something that is not ours, and so is
// never written. In the catalog it is read-only and has no UUID.
func foreign(rec *catalog.Volume) bool {
	return rec.State == catalog.VolReadOnly && rec.UUID == "" && rec.Flags&catalog.VolProtected == 0
}

func (v *volume) barcode() tape.Barcode { return tape.Barcode(v.rec().Barcode) }

// badRank is behind every readRank: of a copy that is known to be bad.
const badRank = 4

// readRank orders copies: the lowest is read.
func (v *volume) readRank() int {
	rank := 0
	if v.drive == nil || v.drive.failed {
		rank++
	}
	if v.rec().State == catalog.VolSuspect {
		rank += 2
	}
	return rank
}

// readable says whether it may hold data of ours and can be fetched.
func (v *volume) readable() bool {
	return !v.away && !v.leaving && !v.cleaner && v.rec().UUID != "" && v.rec().State != catalog.VolScratch
}

func (v *volume) hasRoom() bool {
	return v.rec().State == catalog.VolAppend && !v.leaving
}

// returning says whether a drive is bringing v home: soon any drive can have it.
func (v *volume) returning() bool {
	d := v.drive
	return d != nil && !d.failed && (d.phase == schedule.Unloading || d.phase == schedule.GoingHome) && d.target != v
}

// isTarget says whether a batch could go to v.
func (v *volume) isTarget() bool {
	return !v.away && !v.leaving && !v.cleaner && (v.hasRoom() || v.rec().State == catalog.VolScratch)
}

// isTargetOf says whether a batch of what is in a lane could go to v. A scratch volume
// of the pool "scratch" comes into the pool that needs one, and so does one that was reclaimed, unless it holds
// what only its last pool has the key of.
func (v *volume) isTargetOf(a *lane) bool {
	if !v.isTarget() || a.not[v.rec().No] {
		return false
	}
	return v.pool() == a.pool || v.rec().State == catalog.VolScratch && (v.pool() == catalog.ScratchPool || v.rec().Flags&catalog.VolTaken != 0 && v.rec().KeyID == "")
}

// takes says whether what is in a lane can be appended to v as it is.
func (v *volume) takes(a *lane) bool {
	return v.hasRoom() && v.pool() == a.pool && !a.not[v.rec().No]
}

// pool is the name of the volume's pool.
func (v *volume) pool() string { return catalog.PoolName(v.rec().Pool) }

// RoomFor says whether there is a volume of the pool that could take a further copy of something that
// lacks one.
func (m *Mover) RoomFor(pool string, lacks []Lack) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := &lane{pool: catalog.PoolName(pool), not: make(map[catalog.VolumeNo]bool)}
	for _, no := range haveAll(lacks) {
		a.not[no] = true
	}
	for _, v := range m.volumes {
		if v.isTargetOf(a) {
			return true
		}
	}
	return false
}

func (m *Mover) haveTargetLocked() bool {
	for _, v := range m.volumes {
		if v.isTarget() {
			return true
		}
	}
	return false
}

// Rescan takes inventory again, after cartridges were put in or taken out.
func (m *Mover) Rescan(ctx context.Context) error {
	reply := make(chan error, 1)
	select {
	case m.rescans <- reply:
	case <-ctx.Done():
		return errors.WithStack(ctx.Err())
	case <-m.ctx.Done():
		return errClosed
	}
	select {
	case err := <-reply:
		m.publishTapeSpace()
		return err
	case <-ctx.Done():
		return errors.WithStack(ctx.Err())
	}
}
