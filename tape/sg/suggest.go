package sg

import (
	"fmt"
	"strconv"
	"strings"
)

// Name is the best name of a device for a configuration: one that is still
// right after a reboot, when /dev/sg numbers may be others. stable says that it is.
func (f *Found) Name(d *Device) (name string, stable bool) {
	same := 0
	for i := range f.Changers {
		if f.Changers[i].Serial == d.Serial {
			same++
		}
	}
	for i := range f.Drives {
		if f.Drives[i].Serial == d.Serial {
			same++
		}
	}
	switch {
	case d.Serial != "" && same == 1:
		return SerialPrefix + d.Serial, true
	case len(d.Names) > 0 && d.Serial == "":
		return d.Names[0], true
	case len(d.Names) > 0: // one device by two ways: a link by identity leads to either
		return d.Names[len(d.Names)-1], true
	}
	return d.Path, false
}

// Suggest returns the configuration for a changer and its drives, as TOML with comments.
func (f *Found) Suggest(c *Changer) string {
	var b strings.Builder
	changing := false
	note := func(d *Device, stable bool) string {
		if stable {
			return d.Path
		}
		changing = true
		return "may be another after a reboot"
	}
	b.WriteString("[library]\nkind = \"scsi\"\n")
	name, stable := f.Name(&c.Device)
	fmt.Fprintf(&b, "changer = %s # %s\n", strconv.Quote(name), note(&c.Device, stable))
	drives := f.drivesOf(c)
	if len(drives) == 0 {
		b.WriteString("# devices = [...]: list the changer's drives here, in the order of its elements; it does not say which they are\n")
		return b.String()
	}
	if drives[0].Changer == "" {
		b.WriteString("# The changer does not say which drive is in which element. Their order here has to be that of its\n# elements; this is only the order in which the kernel found them.\n")
	}
	b.WriteString("devices = [\n")
	for _, d := range drives {
		name, stable := f.Name(&d.Device)
		comment := note(&d.Device, stable)
		if d.Changer != "" {
			comment += fmt.Sprintf(", element %d", d.Element)
		}
		fmt.Fprintf(&b, "  %s, # %s\n", strconv.Quote(name), comment)
	}
	b.WriteString("]\n")
	if changing {
		b.WriteString("# A name by serial number, or a link below /dev/tape/by-path, would survive a reboot.\n")
	}
	return b.String()
}

// drivesOf lists a changer's drives in the order of its elements. If it names none,
// and it is the only changer, all drives that there are might be its.
func (f *Found) drivesOf(c *Changer) []*Drive {
	var out []*Drive
	for _, e := range c.Drives {
		for i := range f.Drives {
			if e.Path != "" && f.Drives[i].Path == e.Path {
				out = append(out, &f.Drives[i])
			}
		}
	}
	if len(out) == 0 && len(f.Changers) == 1 && len(f.Drives) == len(c.Drives) {
		for i := range f.Drives {
			out = append(out, &f.Drives[i])
		}
	}
	return out
}
