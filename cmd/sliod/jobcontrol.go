package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"sliod/backend"
	"sliod/server"
)

// newCancel, newPriority and newRelease make the commands about jobs.
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

func (a *app) newPriority() *cobra.Command {
	return &cobra.Command{
		Use: "priority high|normal|low JOB...", Short: "Change the priority of recalls that run", Args: cobra.MinimumNArgs(2),
		Long: `Change the priority of recalls that run, also of what waits for tape already: high is as if
a client waited, normal is behind clients, low is when nobody else wants a drive. The
server remembers it over a restart.`,
		RunE: func(c *cobra.Command, args []string) error {
			switch p := backend.Priority(args[0]); p {
			case backend.PriorityHigh, backend.PriorityNormal, backend.PriorityLow:
				return a.aboutJobs(c.Context(), "priority", "has the priority "+args[0], args[1:], args[0])
			}
			return &usageError{fmt.Sprintf("priority: %q is not high, normal or low; it comes before the numbers of the jobs", args[0])}
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

// aboutJobs tells the server something about jobs, one after the other. before are arguments that come before the
// number of a job.
func (a *app) aboutJobs(ctx context.Context, word backend.JobKind, what string, jobs []string, before ...string) error {
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
		if _, err := startJob(ctx, root, word, string(word), append(slices.Clone(before), j)); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(a.out, "job %s %s\n", j, what); err != nil {
			return err
		}
	}
	return nil
}
