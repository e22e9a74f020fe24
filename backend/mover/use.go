package mover

import (
	"context"
	"slices"
	"time"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/tape"
	"sliod/tape/ltfs"
	"sliod/tape/schedule"
)

// Session is a volume in a drive, lent to one function. It ends when the
// function returns.
type Session struct {
	Volume   catalog.Volume // the record when it began
	Drive    tape.Drive     // loaded; the position is not known
	LTFS     *ltfs.Volume   // mounted; nil with UseOptions.Raw, or with MountErr
	MountErr error          // why LTFS is nil: the medium has no usable LTFS volume

	d       *drive
	since   time.Time // when it began
	patient bool      // it gives way to all other work
}

// UseOptions say what a use of a volume needs.
type UseOptions struct {
	// Raw: do not mount LTFS. A volume that is mounted is closed first, and goes
	// home afterwards.
	Raw bool
	// Write: the function may write, by LTFS or, if Raw, to the drive. What the
	// volume's index lacked is written before, and what the function has changed in the
	// index afterwards, if it has not failed.
	Write bool
	// Background: the use waits until a drive has nothing else to do, but not for ever, and gives
	// the drive back when Session.Wanted says so.
	Background bool
}

// use is a volume that somebody wants to have. Guarded by Mover.mu, but for
// what does not change.
type use struct {
	ctx   context.Context
	vol   *volume
	o     UseOptions
	fn    func(context.Context, *Session) error
	since time.Time
	// export: carry it to a mail slot instead of calling fn.
	export bool
	// impatient is when a use in the background becomes one like any other.
	impatient time.Time
	begun     bool       // a drive has it
	done      chan error // capacity 1
}

// UseVolume fetches volume b into a drive, as one task of that drive's owner
// goroutine, and calls fn there: recalls and archive work go before it or after
// it. It returns fn's error, or says why fn was not called. It works for volumes of
// every state, scratch and foreign ones too, but the volume must be known and in the
// library.
//
// ctx ends the wait, and the context of fn; that ends at Close, too. Once fn was called,
// UseVolume returns when fn has. fn must not call UseVolume. It may
// change the volume's record in the catalog.
func (m *Mover) UseVolume(ctx context.Context, b tape.Barcode, o UseOptions, fn func(context.Context, *Session) error) error {
	now := time.Now()
	u := &use{ctx: ctx, o: o, fn: fn, since: now, impatient: now.Add(m.cfg.BackgroundWait), done: make(chan error, 1)}
	m.mu.Lock()
	v, err := m.knownLocked(b)
	if err == nil && v.cleaner {
		err = errors.Errorf("volume %s is a cleaning cartridge", b)
	}
	m.mu.Unlock()
	if err != nil {
		return err
	}
	u.vol = v
	return m.queueUse(u)
}

// queueUse waits for its turn, and for the end of the use.
func (m *Mover) queueUse(u *use) error {
	ctx, v := u.ctx, u.vol
	m.mu.Lock()
	if err := m.unusableLocked(v); err != nil {
		m.mu.Unlock()
		return err
	}
	v.addUse(u)
	m.useN++
	m.wakeLocked()
	m.mu.Unlock()
	m.observed()
	select {
	case err := <-u.done:
		return err
	case <-ctx.Done():
	}
	m.mu.Lock()
	if !u.begun {
		m.dropUseLocked(u)
		m.mu.Unlock()
		return errors.WithMessagef(ctx.Err(), "mover: waiting for volume %s", v.rec().Barcode)
	}
	m.mu.Unlock()
	return <-u.done
}

// knownLocked returns the volume with a barcode.
func (m *Mover) knownLocked(b tape.Barcode) (*volume, error) {
	for _, v := range m.volumes {
		if v.barcode() == b {
			return v, nil
		}
	}
	return nil, errors.Errorf("there is no volume %s: see `sliod volumes`, or put it in and run `sliod volumes import`", b)
}

// unusableLocked says why v cannot come into a drive, if that is so.
func (m *Mover) unusableLocked(v *volume) error {
	switch {
	case m.closing:
		return errClosed
	case v.drive == nil && v.away:
		return awayError(v)
	case !m.anyDriveLocked():
		return errNoDrive
	}
	return nil
}

// awayError tells that v is not in the library.
func awayError(v *volume) error {
	if v.why != "" {
		return errors.Errorf("volume %s is in the library, but cannot be used: %s", v.rec().Barcode, v.why)
	}
	return errors.Errorf("volume %s is not in the library: put it in and run `sliod volumes import`", v.rec().Barcode)
}

// dropUseLocked takes u out of its volume's list.
func (m *Mover) dropUseLocked(u *use) {
	if i := slices.Index(u.vol.uses, u); i >= 0 {
		u.vol.uses = slices.Delete(u.vol.uses, i, i+1)
		m.useN--
	}
}

// failStuckUsesLocked ends the uses that no drive will ever serve.
func (m *Mover) failStuckUsesLocked() {
	if m.useN == 0 {
		return
	}
	for _, v := range m.volumes {
		if len(v.uses) == 0 {
			continue
		}
		if err := m.unusableLocked(v); err != nil {
			m.failUsesLocked(v, err)
		}
	}
}

// failUsesLocked ends the uses of v that have not begun.
func (m *Mover) failUsesLocked(v *volume, err error) {
	for _, u := range v.uses {
		u.done <- err
	}
	m.useN -= len(v.uses)
	v.uses = nil
}

// class is how urgent a use is: but in the background, somebody waits for it.
func (u *use) class() schedule.Class {
	if u.o.Background {
		return schedule.Background
	}
	return schedule.Client
}

func useDemand(v *volume) schedule.Demand {
	d := schedule.Demand{Volume: v.barcode(), Slivers: len(v.uses)}
	for _, u := range v.uses {
		var t schedule.Times
		t[u.class()] = u.since
		d.Oldest.Join(t)
	}
	return d
}

// useReady says whether a use of v can begin. An export waits for the recalls that were there
// before, and a use in the background for a drive that has nothing else to do.
func (v *volume) useReady(now time.Time) bool {
	return len(v.uses) > 0 && !(v.uses[0].export && v.queue.Len() > 0) && !v.uses[0].patient(now)
}

// takeUseLocked gives d the oldest use of v.
func (m *Mover) takeUseLocked(d *drive, v *volume) task {
	u := v.uses[0]
	m.dropUseLocked(u)
	u.begun = true
	m.served[u.class()] = time.Now()
	d.used = true
	return task{kind: doUse, use: u}
}

// lend does one use. The volume is mounted in d, or claimed for it.
func (d *drive) lend(u *use) error {
	m, v := d.m, u.vol
	if u.export {
		return d.export(u)
	}
	ctx, cancel := context.WithCancel(u.ctx)
	defer cancel()
	defer context.AfterFunc(m.useCtx, cancel)()

	s := &Session{Drive: d.tape, d: d, since: time.Now(), patient: u.patient(time.Now())}
	if err := d.readyFor(u, s); err != nil {
		return err
	}
	m.mu.Lock()
	s.Volume = *v.rec()
	d.lent, d.target = v, nil
	d.enterLocked(schedule.Working, time.Now())
	m.mu.Unlock()
	d.setState(driveBusy, "use of volume "+v.rec().Barcode)
	err := ctx.Err()
	if err == nil {
		begun := time.Now()
		err = u.fn(ctx, s)
		if !s.patient {
			m.mu.Lock()
			m.est.learned.use.add(time.Since(begun), 1, keepOther)
			m.mu.Unlock()
		}
	}
	if rerr := m.reload(v); err == nil {
		err = rerr
	}
	m.publishTapeSpace()
	d.takeBack(u, err)
	m.mu.Lock()
	d.idle = d.vol != nil && !d.failed // it asks for work at once: others leave to it what it does best
	m.mu.Unlock()
	return err
}

// readyFor brings the volume of u into the drive, as s is to describe it. After an error the
// drive has no claim on it.
func (d *drive) readyFor(u *use, s *Session) error {
	m, v := d.m, u.vol
	if d.vol == v && !u.o.Raw {
		s.LTFS = d.lv
		if u.o.Write {
			if err := d.writeIndex(); err != nil {
				_ = d.dismount(true) // noted
				return err
			}
		}
		return nil
	}
	if d.vol == v {
		if err := d.closeVolume(); err != nil {
			_ = d.bringHome(v) // noted
			return err
		}
	} else {
		if d.vol != nil {
			_ = d.dismount(false) // noted; if the cartridge is stuck, the fetch fails too
		}
		d.setState(driveMounting, "fetch of volume "+v.rec().Barcode)
		if err := d.fetch(v); err != nil {
			return d.mountFailed(v, err)
		}
	}
	if u.o.Raw {
		return nil
	}
	lv, err := ltfs.Mount(m.ctx, d.tape, m.mountOptions(v.rec().Pool))
	if err != nil && (m.ctx.Err() != nil || blameFor(err) != blameVolume) {
		return d.mountFailed(v, err)
	}
	s.LTFS, s.MountErr = lv, err
	if err != nil || v.rec().State == catalog.VolScratch || v.rec().UUID != lv.UUID() {
		return nil
	}
	d.lv = lv
	if err := d.mounted(v); err != nil {
		return err
	}
	return nil
}

// takeBack ends the use u, which returned err.
func (d *drive) takeBack(u *use, err error) {
	m, v := d.m, u.vol
	m.mu.Lock()
	d.lent = nil
	m.mu.Unlock()
	var te *tape.Error
	onTape := errors.As(err, &te)
	if onTape && m.ctx.Err() == nil {
		err = m.note("use", v, d, "", err)
		if b := blameFor(err); b == blameDrive {
			d.strike(v, b, err)
		}
	}
	if d.vol == nil {
		_ = d.bringHome(v) // noted
		return
	}
	switch {
	case onTape || d.failed, u.o.Write && err != nil:
		// The volume may be one that must not be written, and the index half changed: it is left on tape as it was
		// when the use began.
		_ = d.dismount(true) // noted
	case u.o.Write:
		d.lv.Moved()
		d.learnPaths()
		d.changed()
		if d.writeIndex() != nil {
			_ = d.dismount(true) // noted
		}
	default:
		d.lv.Moved()
	}
}
