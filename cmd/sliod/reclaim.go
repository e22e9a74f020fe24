package main

import (
	"github.com/spf13/cobra"

	"sliod/backend"
)

func (a *app) newReclaim() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "reclaim BARCODE...", Short: "Move what is needed on a volume to others, and make it scratch", Args: cobra.MinimumNArgs(1),
		Long: `Move what is needed on a volume to other volumes of its pool, and make it a scratch volume.

The live slivers are read in the order of the tape, copied, read back from their new volume, and only
then the copies on the old one are given up. Recalls and archiving go before. Nothing more is
archived to the volume from now on. If the server stops, it goes on when it is started again; "sliod
volumes set BARCODE append" calls it off. What cannot be read stays where it is, and so does the
volume. A suspect volume stays suspect when it is empty. Volumes that others have written are never
emptied. The server does this by itself when the share of dead bytes passes reclaim.dead.`,
		RunE: func(c *cobra.Command, volumes []string) error {
			return a.volumeJob(c.Context(), backend.JobReclaim, volumes, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the job as one JSON object when it is done")
	return c
}
