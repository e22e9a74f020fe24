package mover

import (
	"fmt"
	"slices"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/tape"
)

// verdict is what a drive's report on a volume leads to.
type verdict uint8

const (
	healthy      verdict = iota
	volumeIsBad          // the volume is suspect: nothing more is appended, and what is good on it is copied away
	driveIsBad           // it counts against the drive: two volumes, and it is out of service
	eitherIsBad          // both: another drive tells which of them it is
	errorsInLoad = suspectAfter
)

// worn are the alerts by which a cartridge is to be copied, though they are warnings only.
var worn = []tape.Alert{tape.AlertMediumLife, tape.AlertNotDataGrade}

// judge decides about what a drive reports of a load: its TapeAlert flags, and how many errors it could not
// recover, also those that a second attempt of ours got over. Flags that come with an error of a command (read and
// write failure, hard error) decide nothing: the command's error was counted when it came.
func judge(alerts []tape.Alert, unrecovered uint64) (verdict, string) {
	v, why := healthy, ""
	for _, a := range alerts {
		switch {
		case a.About() == tape.AboutDrive && a.Severity() == tape.Critical:
			v, why = max(v, driveIsBad), fmt.Sprintf("the drive says: %v", a)
		case a.About() == tape.AboutMedium && (a.Severity() == tape.Critical || slices.Contains(worn, a)):
			if v == healthy {
				v, why = volumeIsBad, fmt.Sprintf("the drive says: %v", a)
			}
		}
	}
	if unrecovered >= errorsInLoad && v == healthy {
		v, why = eitherIsBad, fmt.Sprintf("the drive counts %d errors that it could not recover", unrecovered)
	}
	return v, why
}

// unrecovered returns how many errors the drive could not recover since v was loaded; 0 if it does not
// tell.
func (d *drive) unrecovered(v *volume) uint64 {
	if v.cleaner || v.rec().UUID == "" {
		return 0
	}
	s, err := d.tape.Statistics(d.m.ctx)
	if err != nil {
		return 0 // a drive without them; one that is broken says so at the next command that matters
	}
	return s.LastReadErrors + s.LastWriteErrors
}

// account takes the volume or the drive to account for what the drive reports.
func (d *drive) account(v *volume, alerts []tape.Alert, unrecovered uint64) {
	m := d.m
	verdict, why := judge(alerts, unrecovered)
	if verdict == healthy || v.cleaner {
		return
	}
	err := m.note("report", v, d, "", errors.New(why))
	if verdict == volumeIsBad || verdict == eitherIsBad {
		m.mu.Lock()
		used := v.rec().State == catalog.VolAppend || v.rec().State == catalog.VolFull
		m.mu.Unlock()
		if used {
			m.setState(v, catalog.VolSuspect, why)
		}
	}
	switch verdict { // blameVolume: a report alone does not take the last drive out
	case driveIsBad:
		d.strike(v, blameVolume, err)
	case eitherIsBad:
		d.strikeBy(v, blameVolume, err, func(t *tally) { t.reads += errorsInLoad })
	}
}
