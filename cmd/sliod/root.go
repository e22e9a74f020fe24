package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "sliod",
		Short: "A 9P2000.L file server for tape",
		Long: `SLIOD serves a tape library as an ordinary file system. Files are cached on disk in
slivers of 1 MiB and archived on tape; a file that is only on tape comes back when
it is read. "sliod serve" is the server, the other commands talk to it.

PATH is a path in the archive, with or without a leading slash.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			a.began = true
			if a.serverAddr != "" && (c.Name() == "serve" || c.Name() == "version" || c.Name() == "discover" || c.Name() == "rebuild" || c.Name() == "mount" || c.Name() == "virtiofs" || c.Name() == "simulate" || c.Name() == "generate" || c.HasParent() && c.Parent().Name() == "cert") {
				return &usageError{"--server is for the commands that talk to a server; " + c.CommandPath() + " does not"}
			}
			return nil
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{
		Use: "help [command]", Short: "Help about any command",
		RunE: func(_ *cobra.Command, args []string) error {
			c, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return &usageError{fmt.Sprintf("there is no command %q", strings.Join(args, " "))}
			}
			c.InitDefaultHelpFlag()
			return c.Help()
		},
	})
	f := root.PersistentFlags()
	f.StringVar(&a.stateDir, "state", "", "state directory `DIR` (default "+defaultStateDir()+")")
	f.StringVar(&a.serverAddr, "server", "", "the server's address `ADDR`: unix:PATH, tcp:HOST:PORT, tls:HOST:PORT, vsock:[CID:]PORT or port:PATH (default the socket in the state directory)")
	a.tlsFlags(f)
	root.AddCommand(a.newServe(), a.newMount(), a.newVirtiofs(), a.newStatus(), a.newList(), a.newPolicy(), a.newVolumes(), a.newDrives(), a.newQueue(), a.newDiscover(), a.newRebuild(), a.newVersion())
	root.AddCommand(a.newJobs()...)
	root.AddCommand(a.newCancel(), a.newPriority(), a.newRelease())
	root.AddCommand(a.newFormat(), a.newLabel(), a.newImport(), a.newVerify(), a.newReclaim(), a.newCert(), a.newSimulate())
	return root
}

// defaultStateDir is the state directory if --state does not name one.
func defaultStateDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/sliod"
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "sliod")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "state", "sliod")
	}
	return "sliod-state"
}

func (a *app) state() string {
	if a.stateDir != "" {
		return a.stateDir
	}
	return defaultStateDir()
}

// socketPath is where the server of a state directory has its socket.
func socketPath(stateDir string) string { return filepath.Join(stateDir, "sliod.sock") }
