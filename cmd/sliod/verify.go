package main

import (
	"strings"

	"github.com/spf13/cobra"

	"sliod/backend"
)

func (a *app) newVerify() *cobra.Command {
	var volume string
	var format, data, asJSON bool
	c := &cobra.Command{
		Use: "verify [--volume BARCODE] [PATH...]", Short: "Read what is on tape and compare it with its checksums",
		Long: `Read what is on tape and compare it with its checksums.

All copies of the files at PATH, and of all below it, are read in the order of the tape and
compared with their checksums; with --volume only those on one volume, and without a PATH all that is
on it. With neither, all volumes are verified, one after the other. Nothing gets into the cache, and recalls
and archiving go before. A copy that is bad is told with its file and remembered; the status is then 1.

With --format, the volume is checked against the rules of the LTFS format instead. The labels,
the indexes and their chain, and the cartridge's memory are read by a reader that shares no code
with the writer, and what breaks the format is told with its block. With --data, every index and
all files are read as well, and files that have a SHA-256 in the index are compared with it. Nothing is
written, but a volume that is in use gets its index first.`,
		RunE: func(c *cobra.Command, paths []string) error {
			kind, args := backend.JobVerify, []string(nil)
			switch {
			case format && (volume == "" || len(paths) > 0):
				return &usageError{"verify: --format checks a volume as a whole: name it with --volume BARCODE"}
			case data && !format:
				return &usageError{"verify: --data goes with --format; without --format all data are read anyway"}
			case format && data:
				kind, args = backend.JobVerifyFormat, []string{volume, "data"}
			case format:
				kind, args = backend.JobVerifyFormat, []string{volume}
			default:
				if volume != "" {
					args = append(args, "volume="+volume)
				}
				for _, p := range paths {
					if strings.HasPrefix(p, "volume=") {
						p = "/" + p // a file of such a name
					}
					args = append(args, p)
				}
			}
			return a.volumeJob(c.Context(), kind, args, asJSON)
		},
	}
	c.Flags().StringVar(&volume, "volume", "", "the volume's `BARCODE`")
	c.Flags().BoolVar(&format, "format", false, "check the format")
	c.Flags().BoolVar(&data, "data", false, "with --format: read all indexes and all data, too")
	c.Flags().BoolVar(&asJSON, "json", false, "print the job as one JSON object when it is done")
	return c
}
