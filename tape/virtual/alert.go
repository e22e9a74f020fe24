package virtual

import (
	"sliod/tape"
	"sliod/tape/scsi"
)

// raise sets a TapeAlert flag of a device. It stays until it is read.
func (l *Library) raise(device int, a tape.Alert) {
	if !a.Valid() {
		return
	}
	l.mu.Lock()
	l.alerts[device] |= 1 << (a - 1)
	l.mu.Unlock()
}

// takeAlerts returns the flags that are set, flag 1 in bit 0, and clears them.
func (l *Library) takeAlerts(device int) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	set := l.alerts[device]
	delete(l.alerts, device)
	return set
}

// SetDirty has a drive ask to be cleaned, until a cleaning cartridge has been in
// it: AlertCleanPeriodic only sets that flag, at every load; AlertCleanNow also has every command
// that touches the medium fail with 3/00 17. 0: the drive is clean.
func (l *Library) SetDirty(device int, a tape.Alert) {
	l.setDirty(device, a)
	l.raise(device, a)
}

func (l *Library) setDirty(device int, a tape.Alert) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a == 0 {
		delete(l.dirty, device)
		return
	}
	l.dirty[device] = a
}

func (l *Library) dirtiness(device int) tape.Alert {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dirty[device]
}

// touchesMedium: the commands that a drive refuses that must be cleaned first.
func touchesMedium(op byte) bool {
	switch op {
	case scsi.OpRead6, scsi.OpWrite6, scsi.OpWriteFilemarks6, scsi.OpSpace6, scsi.OpSpace16, scsi.OpLocate10, scsi.OpLocate16, scsi.OpFormatMedium:
		return true
	}
	return false
}

// note raises the flags that a real drive raises with an answer.
func (d *drive) note(opcode byte, s *scsi.Sense) {
	if s == nil {
		return
	}
	switch {
	case s.Code == scsi.CodeCleaning:
		d.lib.raise(d.no, tape.AlertCleanNow)
	case s.Key == scsi.MediumErrorKey && opcode == scsi.OpRead6:
		d.lib.raise(d.no, tape.AlertReadFailure)
		d.count(func(u *use) { u.ReadErrors++ })
	case s.Key == scsi.MediumErrorKey && (opcode == scsi.OpWrite6 || opcode == scsi.OpWriteFilemarks6):
		d.lib.raise(d.no, tape.AlertWriteFailure)
		d.count(func(u *use) { u.WriteErrors++ })
	case s.Key == scsi.HardwareKey:
		d.lib.raise(d.no, 30) // hardware A
	case s.Is(scsi.ProtectKey, scsi.CodeWriteProtected):
		d.lib.raise(d.no, 9)
	case s.Is(scsi.ProtectKey, codeOverwrite):
		d.lib.raise(d.no, tape.AlertWORMOverwrite)
	}
}

// count notes what the loaded cartridge is used for. It goes to disk with the memory.
func (d *drive) count(fn func(*use)) {
	if d.cart != nil {
		fn(&d.cart.mem.Use)
	}
}

func (d *drive) alertPage() []scsi.LogParameter {
	set := d.lib.takeAlerts(d.no)
	var ps []scsi.LogParameter
	for a := tape.Alert(1); a.Valid(); a++ {
		ps = append(ps, scsi.AlertParameter(a, set>>(a-1)&1 != 0))
	}
	return ps
}
