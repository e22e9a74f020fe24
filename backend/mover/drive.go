package mover

import (
	"time"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
	"sliod/tape/schedule"
)

type driveState uint8

const (
	driveEmpty driveState = iota
	driveMounting
	driveIdle
	driveReading
	driveWriting
	driveUnmounting
	driveBusy     // lent to a use
	driveCleaning // a cleaning cartridge is in it
	driveFailed
	driveBlocked // the library cannot use it
)

var driveStateNames = [...]string{"empty", "mounting", "idle", "reading", "writing", "unmounting", "busy", "cleaning", "failed", "blocked"}

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
	lent      *volume // lent to a use, mounted or not
	state     driveState
	job       string // what it does, for people
	position  tape.Position
	lastErr   error
	failed    bool   // out of service
	blocked   string // why the library cannot use it, while nothing of ours is in it
	idle      bool   // waits, and would take work
	archiving bool
	recalling bool
	cleanNow  bool           // it asks to be cleaned, and refuses to work
	cleanSoon bool           // it asks to be cleaned
	cleaned   int            // how often it was cleaned since it last worked
	class     schedule.Class // for whose sake it was given its volume
	mountedAt time.Time
	// What it does, for forecasts: its task, the recall that it reads, and how long that takes by the model; the
	// volume that it fetches, and how far it is with that; and since when.
	doing   taskKind
	reading *recall
	takes   time.Duration
	target  *volume
	phase   schedule.ForecastStep
	phaseAt time.Time
	// lacking: the newest index on the volume lacks something. formatted: the volume that is being mounted was blank.
	// patient: its use gives way to all other work.
	lacking, formatted, patient bool
	idleSince                   time.Time
	stays                       *volume                     // lies in it, and did not come out when nothing else was to do
	strikes                     map[catalog.VolumeNo]*tally // volumes that failed in it
	blamed                      map[catalog.VolumeNo]bool   // of these, where the drive was at fault
	asks                        bool                        // it is asked for the order of the recalls on its volume
	noOrder                     bool                        // it has refused to recommend an order
	orderAt                     time.Time                   // when it may be asked for one again

	// Only the owner uses what follows.
	lv       *ltfs.Volume
	wrote    bool // the last step was a batch
	used     bool // the last step was a use
	strayed  bool // the head is not where the recalls' plan has it
	planned  bool // the last step was a plan: now something is read
	buf      []byte
	hasher   hasher
	paths    map[sliver.FileID][]string // entries in the volume's index
	metaDone []metaDone                 // wait for the next index
	removed  []uint64                   // files that are gone, for the next index
	// incomplete are the files whose entries lack content that is not on tape yet.
	incomplete map[sliver.FileID]bool
	unindexed  int64         // bytes that the newest index lacks
	dirtyAt    time.Time     // when the first change after the newest index was made
	batchAt    time.Time     // end of the last batch
	indexTook  time.Duration // the last index
}

// metaDone is a file of which only attributes were archived: they are on tape
// when the index is.
type metaDone struct {
	item        *archiveItem
	dataVersion uint64
	gone        bool // the file's removal
}

func newDrive(m *Mover, index int, t tape.Drive) *drive {
	return &drive{
		m: m, index: index, tape: t,
		wake: make(chan struct{}, 1), ended: make(chan error, 1),
		strikes: make(map[catalog.VolumeNo]*tally), blamed: make(map[catalog.VolumeNo]bool),
		buf: make([]byte, sliver.Size), incomplete: make(map[sliver.FileID]bool),
	}
}

// run is the owner goroutine.
func (d *drive) run() {
	defer d.m.wg.Done()
	for {
		t := d.m.next(d)
		if t.kind != doWait && t.kind != doUnmount && t.kind != doIndex {
			d.atWork()
		}
		if t.kind != doWait && t.kind != doRead && t.kind != doPlan {
			d.strayed = true
		}
		switch t.kind {
		case doWait:
			d.wait(t.wait)
		case doPlan:
			d.plan(t.queue)
		case doRead:
			d.read(t.job)
		case doArchive:
			d.archiveBatch()
		case doExchange:
			d.exchange(t.target, t.pool)
		case doIndex:
			d.indexNow()
		case doUnmount:
			_ = d.giveBack() // noted; the drive can be used for other volumes
		case doFailArchive:
			d.m.publishTapeSpace()
			d.m.failStuck()
		case doClean:
			d.clean(t.target)
		case doUse:
			t.use.done <- d.lend(t.use)
		case doStop:
			d.ended <- d.shutdown()
			return
		}
	}
}

func (d *drive) atWork() {
	d.m.mu.Lock()
	d.idleSince, d.stays = time.Time{}, nil
	d.m.mu.Unlock()
}

// giveBack brings home what is in the drive, mounted or not. The error has been noted.
func (d *drive) giveBack() error {
	if d.vol != nil {
		return d.dismount(false)
	}
	return d.clearOut()
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

// out says whether the drive can take no volume. It is called with Mover.mu held.
func (d *drive) out() bool { return d.failed || d.blocked != "" && d.vol == nil && d.lent == nil }

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

// ResetDrive puts a drive that went out of service back in service, after it was repaired, and forgets
// what it was blamed for.
func (m *Mover) ResetDrive(serial string) error {
	m.mu.Lock()
	var d *drive
	for _, e := range m.drives {
		if e.tape.Serial() == serial {
			d = e
		}
	}
	if d == nil {
		m.mu.Unlock()
		return errors.Errorf("there is no drive %s: see `sliod drives`", serial)
	}
	d.failed, d.lastErr, d.cleaned, d.noOrder = false, nil, 0, false
	clear(d.strikes)
	clear(d.blamed)
	m.requeueAllLocked()
	m.wakeLocked()
	m.mu.Unlock()
	m.log.WithField(fieldDrive, serial).Info("the drive is back in service")
	m.lookAgain(nil)
	m.publishTapeSpace()
	return nil
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
// is written or moved any more.
func (d *drive) shutdown() error {
	var err error
	d.m.mu.Lock()
	out, v := d.out(), d.vol
	if v == nil {
		v = d.m.liesInLocked(d)
	}
	d.m.mu.Unlock()
	switch {
	case d.m.ctx.Err() != nil && v != nil:
		err = errors.Errorf("the stop was cut short: volume %s stays in drive %s", v.rec().Barcode, d.tape.Serial())
	case d.lv != nil || !out:
		err = d.giveBack()
	}
	for _, md := range d.metaDone {
		md.item.finish(errClosed)
	}
	d.metaDone = nil
	return err
}
