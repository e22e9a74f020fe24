package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sliod/backend"
	"sliod/backend/config"
	"sliod/client9p"
	"sliod/server"
)

func (a *app) newStatus() *cobra.Command {
	var asJSON, watch bool
	c := &cobra.Command{
		Use: "status", Short: "Show how the server does", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.status(c.Context(), asJSON, watch) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object (with --watch: one a line)")
	c.Flags().BoolVar(&watch, "watch", false, "show it again and again, until Ctrl-C")
	return c
}

func (a *app) status(ctx context.Context, asJSON, watch bool) error {
	c, root, err := a.attach(ctx, server.CtlTree)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing is lost with it
	if !watch {
		return a.showStatus(ctx, root, asJSON, false)
	}
	tick := time.NewTicker(a.watchEvery)
	defer tick.Stop()
	for {
		err := a.showStatus(ctx, root, asJSON, true)
		if ctx.Err() != nil {
			return nil // Ctrl-C is how a watch ends
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (a *app) showStatus(ctx context.Context, root *client9p.Fid, asJSON, watch bool) error {
	var s backend.Status
	text, err := readReport(ctx, root, &s, "status")
	if err != nil {
		return err
	}
	var b bytes.Buffer
	switch {
	case asJSON && watch:
		if err := json.Compact(&b, text); err != nil {
			return err
		}
		b.WriteByte('\n')
	case asJSON:
		b.Write(text)
	default:
		if watch && a.outTerm {
			b.WriteString("\x1b[H\x1b[2J") // home, clear
		}
		printStatus(&b, &s, time.Now())
		if watch && !a.outTerm {
			b.WriteByte('\n')
		}
	}
	_, err = a.out.Write(b.Bytes())
	return err
}

func printStatus(out io.Writer, s *backend.Status, now time.Time) {
	t := newTable(out, "server", fmt.Sprintf("sliod %s, process %d, up %s", s.Version, s.PID, age(s.StartedAt, now)))
	t.line("state", s.State)
	t.line("listens", strings.Join(s.Listen, ", "))
	t.line("archive", fmt.Sprintf("%d files and directories", s.Files))
	t.line("cache", fmt.Sprintf("%s of %s used (%s), %s not on tape yet, %s", human(s.Cache.UsedBytes), human(s.Cache.SizeBytes),
		share(s.Cache.UsedBytes, s.Cache.SizeBytes), human(s.Cache.DirtyBytes), plural(s.Cache.Evictions, "eviction")))
	t.line("library", fmt.Sprintf("%s: %s, %s, %s", s.Tape.Library, plural(int64(s.Tape.Drives), "drive"),
		plural(int64(s.Tape.Volumes), "volume"), space(s.Tape.UsedBytes, s.Tape.CapacityBytes)))
	t.line("tape", fmt.Sprintf("%s written, %s read since the start", human(s.Tape.WrittenBytes), human(s.Tape.ReadBytes)))
	if e := s.Estimates; e.Compared > 0 {
		t.line("estimates", fmt.Sprintf("of %s: %.0f s on average, it took %.0f s; off by %.0f s on average, %d close", plural(e.Compared, "recall"), e.EstimatedSeconds, e.TookSeconds, e.OffSeconds, e.Close))
	}
	t.line("faults", fmt.Sprintf("%d under way, %d done, %d failed; %s wait", s.Faults, s.FaultsDone, s.FaultsFail, plural(s.Parked, "request")))
	t.flush()
}

// verifiedWord says when a volume was verified, and what came of it.
func verifiedWord(v *backend.VolumeInfo) string {
	word := "-"
	switch {
	case !v.VerifiedAt.IsZero():
		word = v.VerifiedAt.Format(time.DateOnly)
	case v.UsedBytes > 0:
		word = "never"
	}
	if v.BadCopies > 0 {
		word += fmt.Sprintf(", %d bad", v.BadCopies)
	}
	return word
}

// newReport makes a command that shows one report.
func (a *app) newReport(name, short string, v any, show func()) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.showReport(c.Context(), name, v, asJSON, show) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

func (a *app) newVolumes() *cobra.Command {
	var r struct {
		Volumes []backend.VolumeInfo `json:"volumes"`
	}
	c := a.newReport("volumes", "List the volumes of the library", &r, func() {
		notes := slices.ContainsFunc(r.Volumes, func(v backend.VolumeInfo) bool { return v.Reason != "" })
		columns := []string{"VOLUME", "STATE", "WHERE", "CAPACITY GiB", "USED GiB", "USED", "DEAD GiB"}
		pools := slices.ContainsFunc(r.Volumes, func(v backend.VolumeInfo) bool { return v.Pool != "" && v.Pool != config.DefaultPool || v.KeyID != "" })
		if pools {
			columns = append(columns, "POOL", "KEY")
		}
		verified := slices.ContainsFunc(r.Volumes, func(v backend.VolumeInfo) bool {
			return !v.VerifiedAt.IsZero() || !v.VerifyingSince.IsZero() || v.BadCopies > 0
		})
		if verified {
			columns = append(columns, "VERIFIED")
		}
		if notes {
			columns = append(columns, "NOTE")
		}
		t := newTable(a.out, columns...)
		for _, v := range r.Volumes {
			state := v.State
			if v.Imported {
				state += ", imported"
			}
			cells := []string{dash(printable(v.Barcode)), dash(state), dash(v.Where), capacity(v.CapacityBytes), gib(v.UsedBytes), share(v.UsedBytes, v.CapacityBytes), gib(v.DeadBytes)}
			if pools {
				key := v.Encryption
				if v.KeyID != "" {
					key = v.KeyID
				}
				cells = append(cells, dash(printable(v.Pool)), dash(printable(key)))
			}
			if verified {
				cells = append(cells, verifiedWord(&v))
			}
			if notes {
				cells = append(cells, dash(printable(v.Reason)))
			}
			t.line(cells...)
		}
		t.flush()
	})
	c.AddCommand(a.newVolumesImport(), a.newVolumesExport(), a.newVolumesSet())
	return c
}

func (a *app) newDrives() *cobra.Command {
	var r struct {
		Drives []backend.DriveInfo `json:"drives"`
	}
	c := a.newReport("drives", "List the drives and what they do", &r, func() {
		t := newTable(a.out, "DRIVE", "STATE", "VOLUME", "POSITION", "JOB", "ERROR")
		for _, d := range r.Drives {
			t.line(printable(d.Serial), dash(d.State), dash(d.Volume), dash(d.Position), dash(d.Job), dash(d.Error))
		}
		t.flush()
	})
	c.AddCommand(a.newDrivesReset())
	return c
}

func (a *app) newQueue() *cobra.Command {
	var q backend.Queue
	return a.newReport("queue", "Show what waits for tape, the jobs that run and the last that ended", &q, func() { printQueue(a.out, &q, time.Now()) })
}

func printQueue(out io.Writer, q *backend.Queue, now time.Time) {
	_, _ = fmt.Fprintf(out, "%s wait to be archived\n", plural(int64(q.Archive.Files), "file"))
	if len(q.Recalls) == 0 {
		_, _ = fmt.Fprintln(out, "no recalls wait")
	} else {
		_, _ = fmt.Fprintln(out)
		t := newTable(out, "RECALLS FROM", "SLIVERS", "REQUESTS", "OLDEST", "DONE IN")
		for _, r := range q.Recalls {
			t.line(dash(r.Volume), fmt.Sprint(r.Slivers), fmt.Sprint(r.Requests), age(r.Since, now), untilETA(r.ETA, now))
		}
		t.flush()
	}
	if len(q.Jobs) > 0 {
		_, _ = fmt.Fprintln(out)
		t := newTable(out, "JOB", "KIND", "STATE", "PRIORITY", "FILES", "GiB", "FAILED", "BEGAN", "DONE IN", "PATHS")
		for _, j := range q.Jobs {
			t.line(fmt.Sprint(j.ID), string(j.Kind), j.State, dash(string(j.Priority)), fmt.Sprintf("%d/%d", j.FilesDone, j.Files), gib(j.BytesDone)+"/"+gib(j.Bytes),
				fmt.Sprint(j.Failed), age(j.StartedAt, now), untilETA(j.ETA, now), jobWhat(&j))
		}
		t.flush()
	}
	if len(q.Errors) > 0 {
		_, _ = fmt.Fprintln(out)
		t := newTable(out, "ERRORS", "VOLUME", "DRIVE", "POSITION", "KIND", "MESSAGE")
		for _, e := range q.Errors {
			t.line(age(e.Time, now)+" ago, "+e.Op, dash(e.Volume), dash(e.Drive), dash(e.Position), e.Kind, printable(e.Message))
		}
		t.flush()
	}
}

// untilETA is how long it is until an estimated time.
func untilETA(at, now time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return span(max(0, at.Sub(now)))
}

// jobWhat says what a job works on, and until when it pins it.
func jobWhat(j *backend.JobStatus) string {
	what := pathList(slices.Concat(j.Volumes, j.Paths))
	if more := j.Listed - int64(min(len(j.Paths), pathsShown)); j.Listed > 0 && more > 0 {
		what = pathList(j.Paths[:min(len(j.Paths), pathsShown)]) + fmt.Sprintf(" and %d more", more)
	}
	if j.Kind == backend.JobVerify && what == "" {
		what = "all volumes"
	}
	if !j.PinnedUntil.IsZero() {
		what += ", pinned until " + j.PinnedUntil.Local().Format("2006-01-02 15:04")
	}
	return what
}

// pathsShown is how many paths of a job are shown.
const pathsShown = 3

// pathList writes the paths of a job so that they fit in a line.
func pathList(paths []string) string {
	var b strings.Builder
	for i, p := range paths {
		if i == pathsShown {
			fmt.Fprintf(&b, " and %d more", len(paths)-pathsShown)
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(printable(p))
	}
	return b.String()
}
