package mover

import (
	"testing"

	"sliod/backend/sliver"
	"sliod/tape/virtual"
)

// TestOldDrives: drives without LOCATE, READ POSITION, LOG SENSE, partitions and a
// cartridge's memory archive and recall, until volumes are full, and over restarts.
func TestOldDrives(t *testing.T) {
	for _, profile := range []string{virtual.ProfileOld, virtual.ProfileSSC2} {
		t.Run(profile, func(t *testing.T) {
			r := newRig(t, setup{drives: 2, slots: 5, capacity: 48 * mib, profile: profile})
			var all []sliver.FileID
			for round := range 3 {
				files := r.fill(10, 2*mib+round*4321)
				r.archive(files...)
				all = append(all, files...)
				r.evict(files...)
				r.check(files[3])
				if round == 1 {
					r.stop()
					r.start()
				}
			}
			r.stop()
			r.start()
			for _, f := range all {
				r.check(f)
			}
		})
	}
}
