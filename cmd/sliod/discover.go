package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sliod/tape/sg"
)

func (a *app) newDiscover() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "discover", Short: "List the tape drives and changers of this machine, and the configuration that fits", Args: cobra.NoArgs,
		Long: `List the tape drives and medium changers of this machine (/dev/sg*): what they are,
which element of a changer holds which drive, and the [library] section of a
configuration that fits. It needs no server, moves nothing, and leaves devices
that a server uses alone. It needs root, or the right to open the devices.`,
		RunE: func(c *cobra.Command, _ []string) error { return a.discoverDevices(c.Context(), asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

func (a *app) discoverDevices(ctx context.Context, asJSON bool) error {
	found, err := a.discover(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		text, err := json.MarshalIndent(found, "", "  ")
		if err != nil {
			return err
		}
		if _, err := a.out.Write(append(text, '\n')); err != nil {
			return err
		}
	}
	if len(found.Changers)+len(found.Drives) == 0 {
		return nothingFound(found)
	}
	if !asJSON {
		a.printDevices(found)
	}
	if found.NoAccess {
		return fmt.Errorf("this user may open none of the devices: run the command as root, or give the user read and write access to them (on most systems by the group \"tape\")")
	}
	if !asJSON {
		a.printSuggestion(found)
	}
	return nil
}

func nothingFound(found *sg.Found) error {
	if found.NoModule {
		return fmt.Errorf("this machine shows no SCSI generic devices: load the kernel's driver with \"modprobe sg\", and look again")
	}
	return fmt.Errorf("this machine has no tape drive and no medium changer: are they on, and their cables and host adapter in place (\"lsscsi -g\", \"dmesg\")? " +
		"A library that is emulated needs no devices: [library] kind = \"virtual\"")
}

func (a *app) printDevices(found *sg.Found) {
	t := newTable(a.out, "DEVICE", "KIND", "VENDOR", "MODEL", "FIRMWARE", "SERIAL", "WHERE")
	row := func(d *sg.Device, kind, where string) {
		if d.InUse {
			where = "in use by another process"
		} else if d.Problem != "" {
			where = "does not answer, see below"
		}
		t.line(printable(d.Path), kind, dash(d.Vendor), dash(d.Product), dash(d.Revision), dash(d.Serial), where)
	}
	for i := range found.Changers {
		c := &found.Changers[i]
		row(&c.Device, "changer", fmt.Sprintf("%s, %s, %s, %s", plural(int64(len(c.Drives)), "drive"), plural(int64(c.Slots), "slot"),
			plural(int64(c.ImportExport), "mail slot"), plural(int64(c.Cartridges), "cartridge")))
	}
	for i := range found.Drives {
		d := &found.Drives[i]
		where := "in no changer that names it"
		if d.Changer != "" {
			where = fmt.Sprintf("element %d of %s", d.Element, d.Changer)
		}
		if d.Volume != "" {
			where += ", holds " + d.Volume
		}
		row(&d.Device, "drive", where)
	}
	t.flush()
	var notes []string
	for i := range found.Changers {
		c := &found.Changers[i]
		notes = append(notes, problem(&c.Device)...)
		for _, n := range c.Notes {
			notes = append(notes, c.Path+": "+n)
		}
		for _, e := range c.Drives {
			switch {
			case e.Path != "":
			case e.Reported == "":
				notes = append(notes, fmt.Sprintf("%s: element %d is for a drive whose serial number the changer does not tell", c.Path, e.Element))
			default:
				notes = append(notes, fmt.Sprintf("%s: element %d is for a drive %s, which is no device of this machine", c.Path, e.Element, printable(e.Reported)))
			}
		}
	}
	for i := range found.Drives {
		notes = append(notes, problem(&found.Drives[i].Device)...)
	}
	if len(notes) > 0 {
		_, _ = fmt.Fprintf(a.out, "\n%s\n", strings.Join(notes, "\n"))
	}
}

func problem(d *sg.Device) []string {
	if d.Problem == "" {
		return nil
	}
	return []string{strings.ReplaceAll(d.Problem, "\n", "; ")}
}

func (a *app) printSuggestion(found *sg.Found) {
	if len(found.Changers) == 0 {
		_, _ = fmt.Fprint(a.out, "\nThere is no medium changer: a library of kind \"scsi\" needs one.\n")
		return
	}
	for i := range found.Changers {
		c := &found.Changers[i]
		if c.Problem != "" {
			_, _ = fmt.Fprintf(a.out, "\nNo configuration can be made for %s while it cannot be asked.\n", c.Path)
			continue
		}
		_, _ = fmt.Fprintf(a.out, "\nThe configuration for %s %s (%s), for a file that \"sliod serve --config FILE\" reads:\n\n%s", c.Vendor, c.Product, c.Path, found.Suggest(c))
	}
}
