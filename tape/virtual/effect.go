package virtual

import (
	"time"

	"sliod/tape"
	"sliod/tape/scsi"
)

// Effect is what a Fault makes happen besides an answer. Each field that is set counts.
type Effect struct {
	// Hang has the device answer nothing for so long, this command included.
	Hang time.Duration
	// Flip turns bit number Bit over in what this command carries.
	Flip bool
	Bit  int64
	// Drop has the arm lose the cartridge of this MOVE MEDIUM: it is in no element
	// until Insert.
	Drop bool
	// Die has the device answer nothing any more.
	Die bool
	// PowerOff has all devices answer nothing any more. What was not flushed is gone when
	// the library is opened again.
	PowerOff bool
	// Away has the whole library answer nothing to so many commands, this one included.
	// Then all devices have been reset.
	Away int
	// AwayFor is Away for a time.
	AwayFor time.Duration
	// Reset resets the device: settings and buffered records are gone, the tape is at its
	// beginning, and unit attention 29/00 tells of it.
	Reset bool
	// Alert raises a TapeAlert flag.
	Alert tape.Alert
	// Dirty has the drive ask to be cleaned: see SetDirty.
	Dirty tape.Alert
	// Bad makes a block bad.
	Bad *BadBlock
}

// BadBlock is a block of a volume that cannot be read or written, or neither.
type BadBlock struct {
	Volume      tape.Barcode
	At          tape.Position
	Read, Write bool
}

// happen has an effect take place; lost: the command at which it does gets no answer.
func (x Effect) happen(l *Library, device int) (lost bool) {
	if device == AnyDrive && (x.Hang > 0 || x.Die || x.Reset || x.Alert != 0 || x.Dirty != 0) {
		for _, d := range l.drives {
			lost = x.happen(l, d.no)
		}
		return lost
	}
	if x.Hang > 0 {
		time.AfterFunc(x.Hang, l.Hang(device))
	}
	if x.Alert != 0 {
		l.raise(device, x.Alert)
	}
	if x.Dirty != 0 {
		l.SetDirty(device, x.Dirty)
	}
	if b := x.Bad; b != nil {
		l.setBad(b.Volume, b.At, func(now *badBlock) { now.read, now.write = now.read || b.Read, now.write || b.Write })
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if x.Reset {
		l.resets[device]++
	}
	if x.Die {
		l.dead[device] = true
	}
	l.dark = l.dark || x.PowerOff
	if x.Away > 0 {
		l.away = x.Away - 1
		if l.away == 0 {
			l.resetAllLocked()
		}
	}
	if x.AwayFor > 0 {
		l.awayUntil = time.Now().Add(x.AwayFor)
	}
	return x.Die || x.PowerOff || x.Away > 0 || x.AwayFor > 0
}

// goneLocked reports whether a device answers nothing.
func (l *Library) goneLocked(device int) bool {
	if l.dark || l.dead[device] {
		return true
	}
	if !l.awayUntil.IsZero() {
		if time.Now().Before(l.awayUntil) {
			return true
		}
		l.awayUntil = time.Time{}
		l.resetAllLocked()
	}
	if l.away > 0 {
		if l.away--; l.away == 0 {
			l.resetAllLocked()
		}
		return true
	}
	return false
}

func (l *Library) resetAllLocked() {
	for device := Changer; device < len(l.drives); device++ {
		l.resets[device]++
	}
}

// wasReset reports whether a device has been reset since it was last asked.
func (l *Library) wasReset(device int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.resets[device]
	delete(l.resets, device)
	return n > 0
}

// Reset resets a drive, or the Changer, before its next command.
func (l *Library) Reset(device int) { Effect{Reset: true}.happen(l, device) }

// PowerOff is a loss of power: no device answers any more, and what was not flushed is
// gone when the library is opened again.
func (l *Library) PowerOff() { Effect{PowerOff: true}.happen(l, AnyDrive) }

// reset is what a drive does when it is reset. The caller holds the turn.
func (d *drive) reset() {
	d.prevent, d.layout, d.order = false, nil, nil
	d.settings()
	if d.state == ready {
		for _, p := range d.cart.parts {
			p.drop()
		}
		d.partition, d.block, d.tapeAt = 0, 0, 0
	}
	d.attention = append(d.attention, scsi.CodeReset)
}

// settings are those that a drive begins with.
func (d *drive) settings() {
	d.crypt = crypt{}
	d.compress, d.protection, d.extension, d.allowed = true, scsi.Protection{}, scsi.ConfigurationExtension{}, nil
}

// codeArmFailed: mechanical positioning error.
const codeArmFailed scsi.Code = 0x1501
