package main

import (
	"path"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sliod/backend"
)

func (a *app) newImport() *cobra.Command {
	var o importOptions
	var asJSON bool
	c := &cobra.Command{
		Use: "import BARCODE [PATH]", Short: "Show the tree of a volume that another program or archive has written", Args: cobra.RangeArgs(1, 2),
		Long: `Show the tree of a volume that another program or archive has written.

The files of the LTFS volume appear under PATH (default: /BARCODE), as files that are on tape
only. Nothing is copied, and nothing is written to the volume: what is read comes from it, what
is changed goes to volumes of this archive. PATH must not be there, or be an empty directory.

With --grow the volume becomes one of this archive: more is archived to it, and its index follows
what happens to its files. Other programs then find them under PATH.`,
		RunE: func(c *cobra.Command, args []string) error {
			command, err := o.command(args, c.Flags().Changed)
			if err != nil {
				return err
			}
			return a.volumeJob(c.Context(), backend.JobImport, command, asJSON)
		},
	}
	f := c.Flags()
	f.BoolVar(&o.grow, "grow", false, "the volume may be written: more is archived to it")
	f.BoolVar(&o.asIs, "as-is", false, "import what can be read of an inconsistent volume")
	f.Uint32Var(&o.uid, "uid", 0, "owner of files whose volume names none (default import.uid)")
	f.Uint32Var(&o.gid, "gid", 0, "group of such files (default import.gid)")
	f.StringVar(&o.mode, "mode", "", "octal permissions `MODE` of such files (default import.mode)")
	f.StringVar(&o.dirMode, "dir-mode", "", "octal permissions `MODE` of such directories (default import.dir_mode)")
	f.BoolVar(&asJSON, "json", false, "print the job as one JSON object when it is done")
	return c
}

// importOptions are the flags of sliod import.
type importOptions struct {
	grow, asIs    bool
	uid, gid      uint32
	mode, dirMode string
}

// command makes the arguments of the job.
func (o *importOptions) command(args []string, given func(flag string) bool) ([]string, error) {
	p := args[0]
	if len(args) > 1 {
		p = args[1]
	}
	if p == "" || strings.ContainsRune(p, 0) {
		return nil, &usageError{"import: the path is empty, or has a zero byte"}
	}
	command := []string{args[0], path.Clean("/" + p)}
	if o.grow {
		command = append(command, "grow=yes")
	}
	if o.asIs {
		command = append(command, "as-is=yes")
	}
	if given("uid") {
		command = append(command, "uid="+strconv.FormatUint(uint64(o.uid), 10))
	}
	if given("gid") {
		command = append(command, "gid="+strconv.FormatUint(uint64(o.gid), 10))
	}
	for _, m := range []struct{ flag, key, value string }{{"mode", "mode", o.mode}, {"dir-mode", "dir_mode", o.dirMode}} {
		if !given(m.flag) {
			continue
		}
		if n, err := strconv.ParseUint(m.value, 8, 32); err != nil || n > 0o7777 {
			return nil, &usageError{"import: --" + m.flag + " takes an octal number up to 7777"}
		}
		command = append(command, m.key+"="+m.value)
	}
	return command, nil
}
