package main

import (
	"context"
	stderrors "errors"
	"fmt"
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
		wait := !j.waits
		c := &cobra.Command{
			Use: string(j.kind) + " PATH...", Short: j.short, Args: cobra.MinimumNArgs(1),
			Long: j.short + ".\n\nPATH is a path in the archive; a directory stands for all below it.",
			RunE: func(c *cobra.Command, paths []string) error { return a.job(c.Context(), j.kind, paths, wait) },
		}
		if j.waits {
			c.Flags().BoolVar(&wait, "wait", false, "wait until the job is done, and show its progress")
		}
		list = append(list, c)
	}
	return list
}

// job starts a job and, with wait, sees it through.
func (a *app) job(ctx context.Context, kind backend.JobKind, paths []string, wait bool) error {
	c, root, err := a.attach(ctx, server.CtlTree)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing is lost with it
	id, err := startJob(ctx, root, kind, paths)
	if err != nil {
		return err
	}
	if !wait {
		_, err := fmt.Fprintf(a.out, "job %d begins: %s of %s; \"sliod queue\" shows how far it is\n", id, kind, pathList(paths))
		return err
	}
	return a.waitJob(ctx, root, id)
}

// startJob writes a command to jobs/new and returns the number of the job.
func startJob(ctx context.Context, root *client9p.Fid, kind backend.JobKind, paths []string) (uint64, error) {
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
	command := []byte(strings.Join(append([]string{string(kind)}, paths...), "\x00") + "\x00")
	n, err := f.Write(ctx, command, 0)
	if err != nil {
		var refused *client9p.Error
		if stderrors.As(err, &refused) {
			// The text says more than the error number.
			if text, rerr := f.ReadAll(ctx, maxReport); rerr == nil && len(text) > 0 {
				return 0, stderrors.New(strings.TrimPrefix(strings.TrimSpace(string(text)), "error: "))
			}
		}
		return 0, fmt.Errorf("%s: %w", kind, err)
	}
	if n < len(command) {
		return 0, fmt.Errorf("%s: %d paths are too many for one command; name a directory, or fewer paths at a time", kind, len(paths))
	}
	text, err := f.ReadAll(ctx, maxReport)
	if err != nil {
		return 0, fmt.Errorf("%s has begun, but its job number cannot be read: %w", kind, err)
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s has begun, but the server tells no job number: %q", kind, text)
	}
	return id, nil
}

// mayNot says who may start jobs.
func mayNot(ctx context.Context, f *client9p.Fid, kind backend.JobKind) error {
	owner := "the user who runs the server"
	if _, attr, err := f.Getattr(ctx); err == nil {
		owner = userName(uint32(attr.UID))
	}
	return fmt.Errorf("%s: permission denied; root and %s may start jobs", kind, owner)
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
	for _, e := range j.Errors {
		_, _ = fmt.Fprintln(a.err, "sliod:", e)
	}
	if more := j.Failed - int64(len(j.Errors)); more > 0 && len(j.Errors) > 0 {
		_, _ = fmt.Fprintf(a.err, "sliod: and %s more\n", plural(more, "file"))
	}
	return fmt.Errorf("%s, %d failed", line, j.Failed)
}
