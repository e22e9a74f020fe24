package main

import (
	"github.com/spf13/cobra"

	"sliod/backend"
)

func (a *app) newVerify() *cobra.Command {
	var volume string
	var format, data, asJSON bool
	c := &cobra.Command{
		Use: "verify --volume BARCODE --format", Short: "Check a volume against the rules of the LTFS format", Args: cobra.NoArgs,
		Long: `Check a volume against the rules of the LTFS format.

The labels, the indexes and their chain, and the cartridge's memory are read by a reader that
shares no code with the writer, and what breaks the format is told with its block. With --data,
every index and all files are read as well, and files that have a SHA-256 in the index are
compared with it. Nothing is written, but a volume that is in use gets its index first.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if volume == "" || !format {
				return &usageError{"verify: name a volume with --volume BARCODE, and what to check with --format"}
			}
			args := []string{volume}
			if data {
				args = append(args, "data")
			}
			return a.volumeJob(c.Context(), backend.JobVerifyFormat, args, asJSON)
		},
	}
	c.Flags().StringVar(&volume, "volume", "", "the volume's `BARCODE`")
	c.Flags().BoolVar(&format, "format", false, "check the format")
	c.Flags().BoolVar(&data, "data", false, "read all indexes and all data, too")
	c.Flags().BoolVar(&asJSON, "json", false, "print the job as one JSON object when it is done")
	return c
}
