package main

import (
	"context"
	stderrors "errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pkg/errors"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"sliod/backend/config"
	"sliod/backend/pool"
	"sliod/backend/rebuild"
	"sliod/tape/virtual"
)

func (a *app) newRebuild() *cobra.Command {
	var configFile, archive string
	c := &cobra.Command{
		Use: "rebuild", Short: "Make the catalog anew from the tapes alone", Args: cobra.NoArgs,
		Long: `Read the index of every cartridge of the library, and make a catalog of what they
say: names, attributes, and where each file's data is. The server must not run. The
state directory must have no catalog and no page cache, or the catalog of a rebuild
that was interrupted: then it goes on.

The tapes are only read. Nothing is copied: afterwards "sliod serve" serves the files
from tape. What had not been archived is gone; what is missing otherwise is said.

If the library has volumes of more than one archive, they are listed, and --archive says
which one is to be made. The volumes of the others are left alone.`,
		RunE: func(c *cobra.Command, _ []string) error { return a.rebuild(c.Context(), configFile, archive) },
	}
	c.Flags().StringVar(&archive, "archive", "", "`ID` of the archive, if there are volumes of several")
	c.Flags().StringVar(&configFile, "config", "", "configuration `FILE` (TOML)")
	return c
}

// rebuild makes the catalog of the state directory.
func (a *app) rebuild(ctx context.Context, configFile, archive string) (err error) {
	outliveReaders()
	cfg := config.Default()
	if configFile != "" {
		if cfg, err = config.Load(configFile); err != nil {
			return err
		}
	}
	dir, err := filepath.Abs(a.state())
	if err != nil {
		return errors.Wrap(err, "state directory")
	}
	if err := checkEmulated(cfg, configFile, dir); err != nil {
		return err
	}
	lock, err := lockState(dir)
	if err != nil {
		return err
	}
	defer func() {
		if lerr := lock.release(); err == nil {
			err = lerr
		}
	}()
	log := a.newLog(cfg)
	pools, err := pool.New(cfg.Pools)
	if err != nil {
		return err
	}
	lib, err := openLibrary(ctx, cfg, dir, log)
	if err != nil {
		return err
	}
	defer func() {
		if lerr := lib.Close(); err == nil {
			err = lerr
		}
	}()
	p := &rebuildProgress{a: a, at: time.Now()}
	rep, err := rebuild.Run(ctx, rebuild.Options{
		Dir: dir, Library: lib, Log: log, Archive: archive, Cleaning: cfg.Library.Cleaning, Progress: p.update, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()),
		Pools: pools,
	})
	p.leave()
	if stderrors.Is(err, context.Canceled) {
		return errors.New("interrupted; run the command again, and it goes on where it was")
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(a.out, rebuildSummary(rep, dir, configFile))
	return err
}

// checkEmulated refuses an emulated library that is not there: it would be made, and the
// archive rebuilt from blank cartridges.
func checkEmulated(cfg *config.Config, configFile, dir string) error {
	if cfg.Library.Kind == "scsi" {
		return nil
	}
	lib := libraryDir(cfg, dir)
	if virtual.Exists(lib) {
		return nil // opening it says what is wrong, if anything is
	}
	if configFile == "" {
		return fmt.Errorf("there is no tape library to rebuild the archive from: %s has none; name the archive's configuration with --config, or the right directory with --state", lib)
	}
	return fmt.Errorf("there is no tape library to rebuild the archive from: %s describes an emulated one in %s, and there is none: see that its disk is mounted", configFile, lib)
}

// rebuildProgress shows how far a rebuild is: a bar on a terminal, else lines.
type rebuildProgress struct {
	a    *app
	bar  *progressbar.ProgressBar
	step string
	at   time.Time
}

func (p *rebuildProgress) update(s rebuild.Progress) {
	text := fmt.Sprintf("%s: %s", s.Step, plural(s.Files, "file"))
	if s.Total > 0 {
		text = fmt.Sprintf("%s: %d of %s", s.Step, s.Files, plural(s.Total, "file"))
	} else if s.Volumes > 0 {
		text = fmt.Sprintf("%s: %d of %s, %s", s.Step, s.Read, plural(int64(s.Volumes), "volume"), plural(s.Files, "file"))
	}
	if !p.a.term {
		if now := time.Now(); now.Sub(p.at) >= p.a.linesEvery || s.Step != p.step && s.Step != "" {
			p.at, p.step = now, s.Step
			_, _ = fmt.Fprintln(p.a.err, text)
		}
		return
	}
	if p.step != s.Step {
		p.leave()
		p.step = s.Step
	}
	done, total := s.Files, s.Total
	if total == 0 {
		done, total = int64(s.Read), int64(s.Volumes)
	}
	total = max(total, 1)
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.a.err), progressbar.OptionSetPredictTime(true),
			progressbar.OptionSetWidth(24), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
	}
	if p.bar.GetMax64() != total {
		p.bar.ChangeMax64(total)
	}
	p.bar.Describe(text)
	_ = p.bar.Set64(min(done, total-1)) // a terminal that is gone is nobody's loss
}

func (p *rebuildProgress) leave() {
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
}

// rebuildSummary tells what came of a rebuild, and what is missing.
func rebuildSummary(r *rebuild.Report, dir, configFile string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "The catalog in %s is made: %s of %s in %s.\n", dir, plural(r.Files, "file"), human(r.Bytes), countOf(r.Dirs, "directory", "directories"))
	count := map[rebuild.VolumeState]int64{}
	for _, v := range r.Volumes {
		count[v.State]++
	}
	fmt.Fprintf(&b, "%s read", plural(count[rebuild.VolumeRead], "volume"))
	for _, s := range []rebuild.VolumeState{rebuild.VolumeBlank, rebuild.VolumeForeign, rebuild.VolumeOther, rebuild.VolumeCleaning, rebuild.VolumeUnreadable} {
		if n := count[s]; n > 0 {
			fmt.Fprintf(&b, ", %d %s", n, s)
		}
	}
	b.WriteString(".\n")
	for _, v := range r.Volumes {
		switch {
		case v.State == rebuild.VolumeForeign:
			fmt.Fprintf(&b, "  %s is not of this archive, and was left alone: %s\n", v.Barcode, v.Why)
		case v.State == rebuild.VolumeOther:
			fmt.Fprintf(&b, "  %s is of another archive, and was left alone: %s\n", v.Barcode, v.Why)
		case v.State == rebuild.VolumeUnreadable:
			fmt.Fprintf(&b, "  %s cannot be read; what only it has is missing: %s\n", v.Barcode, v.Why)
		case v.Unknown > 0:
			fmt.Fprintf(&b, "  %s has up to %s behind its last index, which only the lost catalog could name: they are missing\n", v.Barcode, human(v.Unknown))
		}
	}
	for _, v := range r.Missing {
		fmt.Fprintf(&b, "  %s is missing: it was a volume of the archive when the last indexes were written\n", v)
	}
	say := func(n int64, one, many string) {
		if n > 0 {
			fmt.Fprintf(&b, "%s\n", countOf(n, one, many))
		}
	}
	say(r.LostFiles, fmt.Sprintf("file lacks %s (%s) that were not on tape when it was last archived, or are on a volume that is not here; reading those gives an error (EIO):", countOf(r.LostSlivers, "sliver", "slivers"), human(r.LostBytes)),
		fmt.Sprintf("files lack %s (%s) that were not on tape when they were last archived, or are on a volume that is not here; reading those gives an error (EIO):", countOf(r.LostSlivers, "sliver", "slivers"), human(r.LostBytes)))
	for i, f := range r.Lost {
		if i == maxListed {
			fmt.Fprintf(&b, "  and %d more\n", r.LostFiles-maxListed)
			break
		}
		fmt.Fprintf(&b, "  %s\n", printable(f.Path))
	}
	say(r.LostFound, "file is in /lost+found: its directory is on no volume that was read", "files are in /lost+found: their directories are on no volume that was read")
	say(r.Renamed, "file got another name (NAME~2), since a newer file has its own", "files got other names (NAME~2), since newer files have their own")
	say(r.Adopted, "file or directory was put on a volume by another program, and is taken over", "files or directories were put on the volumes by another program, and are taken over")
	say(r.Foreign, "file was changed on its volume by another program", "files were changed on their volumes by another program")
	say(r.Damaged, "entry had metadata that cannot be read", "entries had metadata that cannot be read")
	say(r.Dropped, "name or attribute was too long, and was cut or left out", "names or attributes were too long, and were cut or left out")
	if count[rebuild.VolumeRead] == 0 {
		b.WriteString("No volume of an archive was found, so the tree is empty. If that is wrong: put the volumes in, move the folder catalog away, and run the rebuild again.\n")
	} else {
		b.WriteString("Everything else that had been archived is there; what was not archived when the last indexes were written is not.\n")
	}
	if count[rebuild.VolumeUnreadable] > 0 || r.LostFiles > 0 || len(r.Missing) > 0 {
		b.WriteString("When a missing volume turns up: put it in, move the folder catalog away, and run the rebuild again. If the server has run meanwhile, " +
			"have all archived first (sliod archive --wait /), stop it, and move the folder cache away, too: what was changed meanwhile is kept.\n")
	}
	fmt.Fprintf(&b, "Now: sliod serve --state %s", shellWord(dir))
	if configFile != "" {
		fmt.Fprintf(&b, " --config %s", shellWord(configFile)) // without it, another library would be served
	}
	b.WriteString("\n")
	return b.String()
}

// maxListed is how many files with missing data the summary names.
const maxListed = 20

func countOf(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
