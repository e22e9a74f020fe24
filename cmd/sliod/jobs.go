package main

import (
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/spf13/cobra"

	"sliod/backend"
	"sliod/client9p"
	"sliod/server"
)

// newJobs makes the commands that start a job.
func (a *app) newJobs() []*cobra.Command {
	var list []*cobra.Command
	for _, j := range []struct {
		kind  backend.JobKind
		short string
		// waits: the command has --wait. The others always wait: they take no
		// time on tape, and a script wants to know what came of it.
		waits bool
	}{
		{backend.JobArchive, "Copy what is not on tape yet to tape, without waiting for archive.idle", true},
		{backend.JobEvict, "Drop the cached copy of files that are on tape", false},
		{backend.JobRecall, "Bring files back from tape", true},
		{backend.JobPin, "Keep files in the cache", false},
		{backend.JobUnpin, "Let the cache evict files again", false},
	} {
		f := jobFlags{wait: !j.waits}
		c := &cobra.Command{
			Use: string(j.kind) + " PATH...", Short: j.short,
			Args: func(_ *cobra.Command, paths []string) error {
				if f.from == "" && len(paths) == 0 {
					return fmt.Errorf("requires at least 1 arg(s), only received 0")
				}
				return nil
			},
			Long: j.short + ".\n\n" + `PATH is a path in the archive; a directory stands for all below it. With --from the paths
are those of a file, or of the input, one a line, any number of them; such a job goes on
without the paths that are not there, and the command says which and exits with 1.
A job goes on when the server is started again. "sliod queue" shows it, "sliod cancel" ends it.`,
			RunE: func(c *cobra.Command, paths []string) error { return a.job(c.Context(), j.kind, paths, f) },
		}
		if j.waits {
			c.Flags().BoolVar(&f.wait, "wait", false, "wait until the job is done, and show its progress")
		}
		c.Flags().StringVar(&f.from, "from", "", "take the paths from `FILE`; - is the input")
		c.Flags().BoolVarP(&f.nul, "null", "0", false, "the paths of --from end with NUL bytes, not with lines")
		switch j.kind {
		case backend.JobRecall:
			c.Flags().StringVar(&f.priority, "priority", "", "`PRIORITY` of the job: high (as if a client waited), normal, or low (when nobody else wants a drive)")
			c.Flags().StringVar(&f.pin, "pin", "", "pin what is recalled for a `TIME` (90m, 24h, 30d) from now, or until \"sliod release\"")
		case backend.JobPin:
			c.Flags().StringVar(&f.pin, "for", "", "pin for a `TIME` (90m, 24h, 30d), or until \"sliod release\"; without it, until \"sliod unpin\"")
		}
		list = append(list, c)
	}
	return list
}

// job starts a job and, with f.wait, sees it through.
func (a *app) job(ctx context.Context, kind backend.JobKind, paths []string, f jobFlags) error {
	if len(paths) == 1 && paths[0] == "-" && f.from == "" {
		paths, f.from = nil, "-"
	}
	head, err := f.head(kind)
	switch {
	case err != nil:
		return err
	case f.from != "" && len(paths) > 0:
		return &usageError{fmt.Sprintf("%s: paths come from --from or from the command line, not from both", kind)}
	case f.from == "" && f.nul:
		return &usageError{"-0 is for --from"}
	}
	var in io.ReadCloser
	if f.from != "" {
		if in, err = a.paths(&f); err != nil {
			return err
		}
		defer func() { _ = in.Close() }() // it was read
	}
	c, root, err := a.attach(ctx, server.CtlTree)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing is lost with it
	var id uint64
	what := pathList(paths)
	if in != nil {
		what = "a list"
		id, err = sendList(ctx, root, kind, head, in, f.nul)
	} else {
		id, err = startJob(ctx, root, kind, head, paths)
	}
	if err != nil {
		return err
	}
	if f.wait {
		return a.waitJob(ctx, root, id)
	}
	if _, err := fmt.Fprintf(a.out, "job %d begins: %s of %s; \"sliod queue\" shows how far it is\n", id, kind, what); err != nil || in == nil {
		return err
	}
	var j backend.JobStatus
	if _, err := readReport(ctx, root, &j, "jobs", strconv.FormatUint(id, 10)); err != nil || j.Failed == 0 {
		return err
	}
	return a.unknownPaths(&j)
}

// unknownPaths tells which paths of a list lead nowhere. The job goes on.
func (a *app) unknownPaths(j *backend.JobStatus) error {
	a.tellErrors(j)
	paths := max(j.Listed, int64(len(j.Paths)))
	text := fmt.Sprintf("%s: %d of %d paths could not be done so far", j.Kind, j.Failed, paths)
	if j.Failed < paths {
		text += "; the job goes on with the others"
	}
	if slices.ContainsFunc(j.Errors, func(e string) bool { return strings.HasSuffix(e, linux.ENOENT.Error()) }) {
		text += "; " + inArchive
	}
	return stderrors.New(text)
}

// startJob writes a command to jobs/new and returns the number of the job. head is the word
// of its kind, with options.
func startJob(ctx context.Context, root *client9p.Fid, kind backend.JobKind, head string, paths []string) (uint64, error) {
	f, err := root.Walk(ctx, "jobs", "new")
	if err != nil {
		return 0, fmt.Errorf("jobs/new: %w", err)
	}
	defer func() { _ = f.Clunk(context.WithoutCancel(ctx)) }() // the job has begun, or not
	if err := f.Open(ctx, p9.ReadWrite); err != nil {
		if errnoIs(err, linux.EACCES, linux.EPERM) {
			return 0, mayNot(ctx, f, kind)
		}
		return 0, fmt.Errorf("jobs/new: %w", err)
	}
	for i, p := range paths {
		switch {
		case p != "" && !strings.ContainsRune(p, 0), p == "" && kind == backend.JobLabel && i == 1:
		case kind.OnPaths():
			return 0, &usageError{fmt.Sprintf("%s: %q is no path in the archive; its root is /", kind, p)}
		default:
			return 0, &usageError{fmt.Sprintf("%s: %q is no argument for it", kind, p)}
		}
	}
	command := []byte(strings.Join(append([]string{head}, paths...), "\x00") + "\x00")
	n, err := f.Write(ctx, command, 0)
	if err != nil {
		why := whyRefused(ctx, f, kind, err)
		if kind.OnPaths() && errnoIs(err, linux.ENOENT) && slices.ContainsFunc(paths, isHere) {
			why = fmt.Errorf("%w; %s", why, inArchive)
		}
		return 0, why
	}
	if n < len(command) {
		return 0, fmt.Errorf("%s: %d paths are too many for one command; name a directory, or give them with --from", kind, len(paths))
	}
	return jobNumber(ctx, f, kind)
}

// mayNot says who may start jobs.
func mayNot(ctx context.Context, f *client9p.Fid, kind backend.JobKind) error {
	owner := "the user who runs the server"
	if _, attr, err := f.Getattr(ctx); err == nil {
		owner = userName(uint32(attr.UID))
	}
	return fmt.Errorf("%s: permission denied; %s may start jobs", kind, rootAnd(owner))
}

// waitJob looks at a job's file until the job is done.
func (a *app) waitJob(ctx context.Context, root *client9p.Fid, id uint64) error {
	show, told := a.newProgress(), 0
	tick := time.NewTicker(a.pollEvery)
	defer tick.Stop()
	for {
		var j backend.JobStatus
		_, err := readReport(ctx, root, &j, "jobs", strconv.FormatUint(id, 10))
		switch {
		case ctx.Err() != nil:
			show.leave()
			return interrupted(id)
		case err != nil:
			show.leave()
			if stderrors.Is(err, client9p.ErrClosed) {
				return fmt.Errorf("the server has gone while job %d was running", id)
			}
			return fmt.Errorf("job %d: %w", id, err)
		}
		if len(j.Notes) > told {
			show.leave()
			for _, n := range j.Notes[told:] {
				_, _ = fmt.Fprintln(a.out, printable(n))
			}
			told = len(j.Notes)
		}
		if j.State != "running" {
			show.leave()
			return a.ended(&j)
		}
		show.update(&j)
		select {
		case <-ctx.Done():
			show.leave()
			return interrupted(id)
		case <-tick.C:
		}
	}
}

func interrupted(id uint64) error {
	return fmt.Errorf("interrupted; job %d goes on in the server, \"sliod queue\" shows it", id)
}

// ended prints what came of a job.
func (a *app) ended(j *backend.JobStatus) error {
	line := fmt.Sprintf("%s: %s", j.Kind, plural(j.FilesDone, "file"))
	if j.Files == 0 && !j.Kind.OnPaths() {
		line = string(j.Kind) + ": done"
		if j.Failed > 0 {
			line = string(j.Kind)
		}
	}
	if j.BytesDone > 0 {
		line += ", " + human(j.BytesDone)
	}
	if d := j.FinishedAt.Sub(j.StartedAt); !j.FinishedAt.IsZero() && d >= time.Second {
		line += " in " + span(d)
		if j.BytesDone > 0 {
			line += fmt.Sprintf(" (%s/s)", human(int64(float64(j.BytesDone)/d.Seconds())))
		}
	}
	if j.State == "done" && j.Failed == 0 {
		_, err := fmt.Fprintln(a.out, line)
		return err
	}
	if j.State == "cancelled" {
		return fmt.Errorf("%s; then the job was cancelled", line)
	}
	a.tellErrors(j)
	return fmt.Errorf("%s, %d failed", line, j.Failed)
}

// tellErrors prints the errors of single files.
func (a *app) tellErrors(j *backend.JobStatus) {
	for _, e := range j.Errors {
		_, _ = fmt.Fprintln(a.err, "sliod:", printable(e))
	}
	if more := j.Failed - int64(len(j.Errors)); more > 0 && len(j.Errors) > 0 {
		_, _ = fmt.Fprintf(a.err, "sliod: and %s more\n", plural(more, "file"))
	}
}
