package mover

import (
	"time"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
)

type driveState uint8

const (
	driveEmpty driveState = iota
	driveMounting
	driveIdle
	driveReading
	driveWriting
	driveUnmounting
	driveFailed
)

var driveStateNames = [...]string{"empty", "mounting", "idle", "reading", "writing", "unmounting", "failed"}

// drive is a tape drive with its owner goroutine.
type drive struct {
	m          *Mover
	index      int
	tape       tape.Drive
	element    uint16 // of the changer; set by the first inventory
	hasElement bool
	wake       chan struct{} // capacity 1
	ended      chan error    // capacity 1: the owner's last word

	// Guarded by Mover.mu.
	vol       *volume // mounted, or nil
	state     driveState
	job       string // what it does, for people
	position  tape.Position
	lastErr   error
	failed    bool // out of service
	idle      bool // waits, and would take work
	archiving bool
	mountedAt time.Time
	idleSince time.Time
	strikes   map[catalog.VolumeNo]bool // volumes that failed in it
	blamed    map[catalog.VolumeNo]bool // of these, where the drive was at fault

	// Only the owner uses what follows.
	lv        *ltfs.Volume
	wrote     bool // the last step was a batch
	buf       []byte
	paths     map[sliver.FileID][]string // entries in the volume's index
	metaDone  []metaDone                 // wait for the next index
	removed   []uint64                   // files that are gone, for the next index
	unindexed int64                      // bytes that the newest index lacks
	dirtyAt   time.Time                  // when the first change after the newest index was made
	batchAt   time.Time                  // end of the last batch
	indexTook time.Duration              // the last index
}

// metaDone is a file of which only attributes were archived: they are on tape
// when the index is.
type metaDone struct {
	item        *archiveItem
	dataVersion uint64
}

func newDrive(m *Mover, index int, t tape.Drive) *drive {
	return &drive{
		m: m, index: index, tape: t,
		wake: make(chan struct{}, 1), ended: make(chan error, 1),
		strikes: make(map[catalog.VolumeNo]bool), blamed: make(map[catalog.VolumeNo]bool),
		buf: make([]byte, sliver.Size),
	}
}

// run is the owner goroutine.
func (d *drive) run() {
	defer d.m.wg.Done()
	for {
		t := d.m.next(d)
		if t.kind != doWait && t.kind != doUnmount && t.kind != doIndex {
			d.idleSinceReset()
		}
		switch t.kind {
		case doWait:
			d.wait(t.wait)
		case doRead:
			d.read(t.job)
		case doArchive:
			d.archiveBatch()
		case doExchange:
			d.exchange(t.target)
		case doIndex:
			d.indexNow()
		case doUnmount:
			_ = d.dismount(false) // noted; the drive can be used for other volumes
		case doFailArchive:
			d.m.publishTapeSpace()
			d.m.failArchive(t.err)
		case doStop:
			d.ended <- d.shutdown()
			return
		}
	}
}

func (d *drive) idleSinceReset() {
	d.m.mu.Lock()
	d.idleSince = time.Time{}
	d.m.mu.Unlock()
}

// wait returns when there may be something to do, or after a time.
func (d *drive) wait(limit time.Duration) {
	d.setState(d.restState(), "")
	var timer <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-d.wake:
	case <-timer:
	case <-d.m.ctx.Done():
	}
}

func (d *drive) restState() driveState {
	switch {
	case d.failed:
		return driveFailed
	case d.lv != nil:
		return driveIdle
	}
	return driveEmpty
}

func (d *drive) setState(s driveState, job string) {
	d.m.mu.Lock()
	d.state, d.job = s, job
	d.m.mu.Unlock()
	d.m.observed()
}

// strike remembers that v failed in d. A drive in which two different volumes
// have failed goes out of service, but the last one only if it is to blame
// itself: one bad drive must not spoil all volumes, nor two bad volumes the only
// drive. Success with a volume that had not failed wipes the slate.
func (d *drive) strike(v *volume, b blame, err error) {
	if b == blameNobody {
		return
	}
	m := d.m
	m.mu.Lock()
	d.lastErr = err
	d.strikes[v.rec.No] = true
	if b == blameDrive {
		d.blamed[v.rec.No] = true
	}
	others := 0
	for _, e := range m.drives {
		if e != d && !e.failed {
			others++
		}
	}
	gone := tape.KindOf(err) == tape.Disconnected
	out := !d.failed && (gone || len(d.strikes) >= 2 && (b == blameDrive || others > 0))
	if out {
		d.failed = true
		m.requeueAllLocked()
		m.wakeLocked()
	}
	m.mu.Unlock()
	if out {
		m.log.WithField(fieldDrive, d.tape.Serial()).WithError(err).
			Error("the drive is out of service: repair it and restart; its cartridge is brought home if the drive lets it go")
	}
}

// worked notes a success with the mounted volume.
func (d *drive) worked() {
	d.m.mu.Lock()
	if d.vol != nil && !d.strikes[d.vol.rec.No] {
		clear(d.strikes)
		clear(d.blamed)
	}
	d.m.mu.Unlock()
}

// requeueAllLocked has the clerk look anew at every recall that is queued, as the
// set of drives or volumes has changed.
func (m *Mover) requeueAllLocked() {
	for _, r := range m.recalls {
		if r.state == queued {
			m.unqueueLocked(r)
		}
	}
}

// shutdown is the owner's last act. If the mover's context has ended, nothing
// is written any more.
func (d *drive) shutdown() error {
	var err error
	if d.lv != nil && d.m.ctx.Err() == nil {
		err = d.dismount(false)
	}
	for _, md := range d.metaDone {
		md.item.finish(errClosed)
	}
	d.metaDone = nil
	return err
}
