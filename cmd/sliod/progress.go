package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"sliod/backend"
)

// progress shows how far a job is.
type progress interface {
	update(j *backend.JobStatus)
	leave() // the last call: what comes next starts on a new line
}

func (a *app) newProgress() progress {
	if a.term {
		return &bar{out: a.err}
	}
	return &lines{out: a.err, every: a.linesEvery, at: time.Now()}
}

// bar is for a terminal: bytes, rate, time left.
type bar struct {
	out io.Writer
	b   *progressbar.ProgressBar
	// step is the last step of a job on volumes that was shown.
	step string
}

func (p *bar) update(j *backend.JobStatus) {
	if j.Files == 0 && j.Bytes == 0 && !j.Kind.OnPaths() {
		if j.Step != p.step {
			p.step = j.Step
			_, _ = fmt.Fprintln(p.out, printable(j.Step))
		}
		return
	}
	// The total is not known until the server has seen all files.
	total := max(j.Bytes, 1)
	if p.b == nil {
		p.b = progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.out), progressbar.OptionShowBytes(true),
			progressbar.OptionUseIECUnits(true), progressbar.OptionShowTotalBytes(true), progressbar.OptionSetPredictTime(true),
			progressbar.OptionSetWidth(24), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
	}
	if p.b.GetMax64() != total {
		p.b.ChangeMax64(total)
	}
	what := fmt.Sprintf("%s %d/%d files", j.Kind, j.FilesDone, j.Files)
	switch {
	case j.Files == 0:
		what = printable(j.Step)
	case !j.ETA.IsZero():
		what += ", done in " + untilETA(j.ETA, time.Now())
	}
	p.b.Describe(what)
	// A full bar would end the bar, and more files may be found.
	_ = p.b.Set64(min(j.BytesDone, total-1)) // a terminal that is gone is nobody's loss
}

func (p *bar) leave() {
	if p.b != nil {
		_ = p.b.Clear()
	}
}

// lines is for a log file: a line when something has changed, not too often. A job that is
// done before the first is due has its last line only.
type lines struct {
	out   io.Writer
	every time.Duration
	last  backend.JobStatus
	at    time.Time
}

func (p *lines) update(j *backend.JobStatus) {
	now := time.Now()
	if now.Sub(p.at) < p.every || j.FilesDone == p.last.FilesDone && j.BytesDone == p.last.BytesDone {
		return
	}
	p.last, p.at = *j, now
	left := ""
	if !j.ETA.IsZero() {
		left = ", done in " + untilETA(j.ETA, now)
	}
	files := fmt.Sprintf("%d of %s, ", j.FilesDone, plural(j.Files, "file"))
	if j.Files == 0 && !j.Kind.OnPaths() {
		files = ""
	}
	_, _ = fmt.Fprintf(p.out, "job %d: %s: %s%s of %s%s\n", j.ID, j.Kind, files, human(j.BytesDone), human(j.Bytes), left)
}

func (p *lines) leave() {}
