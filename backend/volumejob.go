package backend

import (
	"context"
	"fmt"
)

// volumeJob is a kind of job on volumes.
type volumeJob struct {
	// check looks at the arguments before the job begins, and returns the volumes among
	// them. Its error refuses the command.
	check func(fs *FS, args []string) (volumes []string, err error)
	// run does it. It tells how far it is with j.step and j.note, and counts
	// with j.volumeDone what it has done with each volume. Its error fails the job as a whole.
	run func(ctx context.Context, j *job, args []string) error
}

// volumeJobs are the kinds of jobs on volumes.
var volumeJobs = map[JobKind]volumeJob{}

func (fs *FS) startVolumeJob(kind JobKind, v volumeJob, args []string) (uint64, error) {
	volumes, err := v.check(fs, args)
	if err != nil {
		return 0, err
	}
	s := JobStatus{Kind: kind, Volumes: volumes}
	return fs.begin(s, func(ctx context.Context, j *job) { j.end(v.run(ctx, j, args)); close(j.finished) }), nil
}

// step says what the job does just now.
func (j *job) step(format string, args ...any) {
	j.mu.Lock()
	j.Step = fmt.Sprintf(format, args...)
	j.mu.Unlock()
}

// note keeps something that the job has to tell.
func (j *job) note(format string, args ...any) {
	j.mu.Lock()
	j.Notes = append(j.Notes, fmt.Sprintf(format, args...))
	j.mu.Unlock()
}

// volumeDone counts one volume as done, or as failed.
func (j *job) volumeDone(b string, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err == nil {
		return
	}
	j.Failed++
	if len(j.Errors) < keptJobErrors {
		j.Errors = append(j.Errors, b+": "+err.Error())
	}
}
