package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"sliod/backend"
	"sliod/server"
)

// newCancel and newRelease make the commands about jobs.
func (a *app) newCancel() *cobra.Command {
	return &cobra.Command{
		Use: "cancel JOB...", Short: "End jobs on files before they are done", Args: cobra.MinimumNArgs(1),
		Long: `End jobs on files before they are done. What they have done stays: what was recalled
is in the cache, and what was handed to the drives to archive is archived.`,
		RunE: func(c *cobra.Command, jobs []string) error {
			return a.aboutJobs(c.Context(), "cancel", "is cancelled", jobs)
		},
	}
}

func (a *app) newRelease() *cobra.Command {
	return &cobra.Command{
		Use: "release JOB...", Short: "Let the cache evict what jobs have pinned", Args: cobra.MinimumNArgs(1),
		Long: `Let the cache evict what jobs have pinned with --pin or --for, before their time is over.
Files that somebody else has pinned as well stay pinned.`,
		RunE: func(c *cobra.Command, jobs []string) error {
			return a.aboutJobs(c.Context(), "release", "pins nothing any longer", jobs)
		},
	}
}

func (a *app) aboutJobs(ctx context.Context, word backend.JobKind, what string, jobs []string) error {
	for _, j := range jobs {
		if _, err := strconv.ParseUint(j, 10, 63); err != nil {
			return &usageError{fmt.Sprintf("%s: %q is no number of a job; \"sliod queue\" shows them", word, j)}
		}
	}
	c, root, err := a.attach(ctx, server.CtlTree)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing is lost with it
	for _, j := range jobs {
		if _, err := startJob(ctx, root, word, string(word), []string{j}); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(a.out, "job %s %s\n", j, what); err != nil {
			return err
		}
	}
	return nil
}
