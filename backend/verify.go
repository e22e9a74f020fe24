package backend

import (
	"context"
	"fmt"

	"github.com/hugelgupf/p9/linux"

	"sliod/tape"
)

// dataWord is the second argument of a check that reads all data of the volume.
const dataWord = "data"

// shownFindings is how many findings of a check are told.
const shownFindings = 100

func init() {
	volumeJobs[JobVerifyFormat] = volumeJob{checkVerifyFormat, runVerifyFormat}
}

func checkVerifyFormat(fs *FS, args []string) ([]string, error) {
	if len(args) == 0 || len(args) > 2 || len(args) == 2 && args[1] != dataWord {
		return nil, refusef(linux.EINVAL, "give a barcode and, if all data are to be read, the word %s", dataWord)
	}
	return checkKnown(fs, args[:1])
}

func runVerifyFormat(ctx context.Context, j *job, args []string) error {
	b := args[0]
	j.step("waiting for a drive, checking the format of %s", b)
	rep, err := j.fs.mover.CheckFormat(ctx, tape.Barcode(b), len(args) == 2)
	if err != nil {
		j.volumeDone(b, err)
		return nil
	}
	for i, f := range rep.Findings {
		if i == shownFindings {
			j.note("... and %d more", len(rep.Findings)-i+rep.More)
			break
		}
		j.note("%s: %s", b, f)
	}
	if rep.OK() {
		j.note("%s obeys the LTFS format: index %d, %d files and %d directories, %d bytes of data, %d index constructs", b,
			rep.Generation, rep.Files, rep.Dirs, rep.Bytes, len(rep.Indexes))
	} else {
		err = fmt.Errorf("the volume does not obey the LTFS format")
	}
	j.volumeDone(b, err)
	return nil
}
