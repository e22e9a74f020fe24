package main

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sliod/backend"
	"sliod/client9p"
	"sliod/server"
)

func (a *app) newVolumesImport() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "import [BARCODE...]", Short: "Take cartridges from the mail slots into the library",
		Long: `Take cartridges from the mail slots into the library.

The arm carries the cartridges in the mail slots, or those that are named, to free slots. Then
the library is asked what is where: cartridges that were put into slots by hand are taken in
as well. What came in is listed.`,
		RunE: func(c *cobra.Command, volumes []string) error {
			return a.volumeJob(c.Context(), backend.JobVolumesImport, volumes, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the job as one JSON object when it is done")
	return c
}

func (a *app) newVolumesExport() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "export BARCODE...", Short: "Carry volumes to the mail slots", Args: cobra.MinimumNArgs(1),
		Long: `Carry volumes to the mail slots.

A volume in a drive gets its index first, and recalls that wait for it are served. Then it is
away: what only it has, and is not in the cache, cannot be read until it is back. How many
files that are is said before.`,
		RunE: func(c *cobra.Command, volumes []string) error {
			return a.volumeJob(c.Context(), backend.JobVolumesExport, volumes, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the job as one JSON object when it is done")
	return c
}

func (a *app) newVolumesSet() *cobra.Command {
	return &cobra.Command{
		Use: "set BARCODE STATE", Short: "Say what a volume may be used for", Args: cobra.ExactArgs(2),
		Long: `Say what a volume may be used for: append, full, read-only or suspect.

A volume that became suspect by a fault that is mended is brought back by "append". What was blamed on
it is forgotten; the next mount checks it as any other, and says if something is wrong still. A cartridge
that is none of this archive can be scratch (it is formatted when it is needed, if it is blank) or read-only.`,
		RunE: func(c *cobra.Command, args []string) error {
			return a.volumeJob(c.Context(), backend.JobVolumesSet, args, false)
		},
	}
}

func (a *app) newDrivesReset() *cobra.Command {
	return &cobra.Command{
		Use: "reset SERIAL...", Short: "Put drives back in service that were repaired", Args: cobra.MinimumNArgs(1),
		Long: `Put drives back in service that were repaired.

A drive in which volumes fail goes out of service; "sliod drives" says why.`,
		RunE: func(c *cobra.Command, serials []string) error {
			return a.volumeJob(c.Context(), backend.JobDrivesReset, serials, false)
		},
	}
}

func (a *app) newFormat() *cobra.Command {
	var force bool
	var confirm string
	c := &cobra.Command{
		Use: "format BARCODE", Short: "Make a cartridge an empty volume of this archive", Args: cobra.ExactArgs(1),
		Long: `Make a cartridge an empty volume of this archive.

A blank cartridge and an empty LTFS volume are formatted freely. Anything else needs --force, and
the barcode typed once more, on the terminal or with --confirm. A volume that has data of files of
this archive is never formatted. Blank cartridges need no format: they are formatted when
they are needed.`,
		RunE: func(c *cobra.Command, args []string) error {
			if !force {
				if confirm != "" {
					return &usageError{"--confirm goes with --force"}
				}
				return a.volumeJob(c.Context(), backend.JobFormat, args, false)
			}
			if err := a.confirm(c, args[0], confirm); err != nil {
				return err
			}
			return a.volumeJob(c.Context(), backend.JobFormat, append(args, "force"), false)
		},
	}
	c.Flags().BoolVar(&force, "force", false, "what the cartridge holds is lost")
	c.Flags().StringVar(&confirm, "confirm", "", "the `BARCODE` once more, for scripts")
	return c
}

// confirm has the barcode given once more before what a cartridge holds is lost.
func (a *app) confirm(c *cobra.Command, barcode, confirm string) error {
	if confirm == "" {
		if !a.inTerm {
			return &usageError{"format --force: give the barcode once more with --confirm " + barcode}
		}
		_, _ = fmt.Fprintf(a.err, "What %s holds will be lost. Type its barcode to go on: ", printable(barcode))
		line, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
		if err != nil && line == "" {
			return fmt.Errorf("format: nothing was typed, and nothing was done: %w", err)
		}
		confirm = strings.TrimSpace(line)
	}
	if confirm != barcode {
		return fmt.Errorf("format: %q is not %q; nothing was done", confirm, barcode)
	}
	return nil
}

func (a *app) newLabel() *cobra.Command {
	return &cobra.Command{
		Use: "label BARCODE [TEXT]", Short: "Give a volume a name for people", Args: cobra.RangeArgs(1, 2),
		Long: `Give a volume a name for people, or tell the one that it has.

The name is in the volume's index and in the cartridge's memory, where other LTFS programs show it.
It has at most 160 bytes. An empty TEXT takes it away.`,
		RunE: func(c *cobra.Command, args []string) error {
			return a.volumeJob(c.Context(), backend.JobLabel, args, false)
		},
	}
}

// volumeJob starts a job on volumes and sees it through. With asJSON it prints the job
// as it has ended, and nothing else.
func (a *app) volumeJob(ctx context.Context, kind backend.JobKind, args []string, asJSON bool) error {
	c, root, err := a.attach(ctx, server.CtlTree)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing is lost with it
	id, err := startJob(ctx, root, kind, string(kind), args)
	if err != nil {
		return err
	}
	if !asJSON {
		return a.waitJob(ctx, root, id)
	}
	return a.jobAsJSON(ctx, root, id)
}

// jobAsJSON waits for the end of a job and prints its report.
func (a *app) jobAsJSON(ctx context.Context, root *client9p.Fid, id uint64) error {
	tick := time.NewTicker(a.pollEvery)
	defer tick.Stop()
	for {
		var j backend.JobStatus
		text, err := readReport(ctx, root, &j, "jobs", strconv.FormatUint(id, 10))
		if err != nil {
			return fmt.Errorf("job %d: %w", id, err)
		}
		if j.State != "running" {
			if _, err := a.out.Write(text); err != nil {
				return err
			}
			if j.State != "done" {
				return errReported
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return interrupted(id)
		case <-tick.C:
		}
	}
}
