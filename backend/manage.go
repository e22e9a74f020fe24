package backend

import (
	"context"
	stderrors "errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/cache"
	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/backend/sliver"
	"sliod/tape"
)

// forceWord is the second argument of a format that may lose what a cartridge holds.
const forceWord = "force"

func init() { // run's functions use volumeJobs themselves
	volumeJobs[JobFormat] = volumeJob{checkFormat, runFormat}
	volumeJobs[JobLabel] = volumeJob{checkLabel, runLabel}
	volumeJobs[JobVolumesImport] = volumeJob{checkAny, runVolumesImport}
	volumeJobs[JobDrivesReset] = volumeJob{func(*FS, []string) ([]string, error) { return nil, nil }, runDrivesReset}
	volumeJobs[JobVolumesExport] = volumeJob{checkKnown, runVolumesExport}
	volumeJobs[JobVolumesSet] = volumeJob{checkVolumesSet, runVolumesSet}
}

// volume returns the catalog's record of the volume with a barcode.
func (fs *FS) volume(barcode string) (found catalog.Volume, err error) {
	err = fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Volumes(func(v catalog.Volume) bool {
			if v.Barcode == barcode {
				found = v
			}
			return found.No == 0
		})
	})
	if err == nil && found.No == 0 {
		err = noVolume(barcode)
	}
	return found, err
}

// noVolume is a barcode that the archive does not know. It is ENOENT, whose words would
// say nothing more.
type noVolume string

func (b noVolume) Error() string {
	return fmt.Sprintf("there is no volume %s: see `sliod volumes`, or put it in and run `sliod volumes import`", string(b))
}

func (noVolume) Unwrap() error { return linux.ENOENT }

func checkAny(_ *FS, args []string) ([]string, error) { return args, nil }

func checkKnown(fs *FS, args []string) ([]string, error) {
	for _, b := range args {
		if _, err := fs.volume(b); err != nil {
			return nil, err
		}
	}
	return args, nil
}

func checkFormat(fs *FS, args []string) ([]string, error) {
	if len(args) == 0 || len(args) > 2 || len(args) == 2 && args[1] != forceWord {
		return nil, refusef(linux.EINVAL, "give a barcode and, if what the cartridge holds may be lost, the word %s", forceWord)
	}
	return checkKnown(fs, args[:1])
}

func checkLabel(fs *FS, args []string) ([]string, error) {
	if len(args) == 0 || len(args) > 2 {
		return nil, refusef(linux.EINVAL, "give a barcode and a name")
	}
	return checkKnown(fs, args[:1])
}

func checkVolumesSet(fs *FS, args []string) ([]string, error) {
	if len(args) != 2 {
		return nil, refusef(linux.EINVAL, "give a barcode and a state")
	}
	if _, err := mover.ParseVolumeState(args[1]); err != nil {
		return nil, refusef(linux.EINVAL, "%v", err)
	}
	return checkKnown(fs, args[:1])
}

func runVolumesSet(ctx context.Context, j *job, args []string) error {
	to, err := mover.ParseVolumeState(args[1])
	if err == nil {
		j.step("waiting for the turn of %s", args[0])
		err = j.fs.mover.SetVolumeState(ctx, tape.Barcode(args[0]), to)
	}
	if err == nil {
		j.note("%s is %v", args[0], to)
	}
	j.volumeDone(args[0], err)
	return nil
}

func runFormat(ctx context.Context, j *job, args []string) error {
	j.step("waiting for a drive, formatting %s", args[0])
	err := j.fs.mover.FormatVolume(ctx, tape.Barcode(args[0]), len(args) == 2)
	if err == nil {
		j.note("%s is an empty volume of this archive now", args[0])
	}
	j.volumeDone(args[0], err)
	return nil
}

func runLabel(ctx context.Context, j *job, args []string) error {
	var text *string
	if len(args) == 2 {
		text = &args[1]
	}
	j.step("waiting for a drive, looking at %s", args[0])
	name, err := j.fs.mover.LabelVolume(ctx, tape.Barcode(args[0]), text)
	if err == nil {
		j.note("the name of %s is %q", args[0], name)
	}
	j.volumeDone(args[0], err)
	return nil
}

func runVolumesImport(ctx context.Context, j *job, args []string) error {
	j.step("carrying cartridges from the mail slots")
	var want []tape.Barcode
	for _, b := range args {
		want = append(want, tape.Barcode(b))
	}
	came, notes, err := j.fs.mover.ImportVolumes(ctx, want)
	for _, v := range came {
		j.mu.Lock()
		if !slices.Contains(j.Volumes, string(v.Barcode)) {
			j.Volumes = append(slices.Clone(j.Volumes), string(v.Barcode))
		}
		j.mu.Unlock()
		j.note("%s is in %s: %s", v.Barcode, v.Where, v.State)
	}
	for _, n := range notes {
		j.note("%s", n)
	}
	if len(came)+len(notes) == 0 && err == nil {
		j.note("nothing new came in")
	}
	return err
}

func runVolumesExport(ctx context.Context, j *job, args []string) error {
	for _, b := range args {
		v, err := j.fs.volume(b)
		if err == nil {
			j.step("looking what only %s has", b)
			var n int64
			if n, err = j.fs.onlyOn(ctx, v.No); n > 0 {
				j.note("%d files have data that only %s has and that is not in the cache: they cannot be read until it is back", n, b)
			}
		}
		where := ""
		if err == nil {
			j.step("waiting for the turn of %s", b)
			where, err = j.fs.mover.ExportVolume(ctx, tape.Barcode(b))
		}
		if err == nil {
			j.note("%s is in %s", b, where)
		}
		j.volumeDone(b, err)
	}
	return nil
}

func runDrivesReset(_ context.Context, j *job, args []string) error {
	for _, serial := range args {
		err := j.fs.mover.ResetDrive(serial)
		if err == nil {
			j.note("drive %s is in service", serial)
		}
		j.volumeDone(serial, err)
	}
	return nil
}

// onlyOn counts the files with slivers whose only copy is on a volume, and that are not in the
// cache.
func (fs *FS) onlyOn(ctx context.Context, no catalog.VolumeNo) (n int64, err error) {
	var list []sliver.FileID
	err = files{fs}.OnVolume(no, func(f sliver.FileID) bool {
		list = append(list, f)
		return ctx.Err() == nil
	})
	for _, f := range list {
		if err = stderrors.Join(err, ctx.Err()); err != nil {
			return n, err
		}
		only := false
		err = fs.cat.View(func(tx *catalog.Tx) error {
			return tx.Bmaps(f, 0, func(b sliver.BmapNo, bm *catalog.Bmap) bool {
				for i := range bm.Slivers {
					s := &bm.Slivers[i]
					if len(s.Copies) == 0 || s.Dirty || slices.ContainsFunc(s.Copies, func(c catalog.Copy) bool { return c.Volume != no }) {
						continue
					}
					switch fs.cache.State(sliver.Key{File: f, No: b.First() + sliver.No(i)}, cache.Behind{State: sliver.Absent}) {
					case sliver.Absent, sliver.Faulting:
						only = true
					}
				}
				return !only
			})
		})
		if only {
			n++
		}
	}
	return n, err
}

// volumeWord says of what volumes and paths a job is, for people.
func volumeWord(s *JobStatus) string {
	return strings.Join(append(slices.Clone(s.Volumes), s.Paths...), " ")
}
