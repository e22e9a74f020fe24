package schedule

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"sliod/tape"
)

// TestDecideScripts runs the golden scripts in testdata/decide: several drives and volumes, and a
// clock that stands still until told. A drive that asks is told what it does, and why is in the
// demands that are shown.
//
//	drives n=2                               all empty and idle
//	policy class=client max-wait=10m turn=3m
//	want                                     lines of: volume class requests MiB [ago=5m] [urgent]; volume - is archive work
//	unwant vol=A [class=bulk]                nothing waits any longer
//	advance 30s
//	ask drive=1 [room] [may-archive=false] [rest=1h]
//	                                         what it does; room: its volume takes archive work, too; rest: how long its recalls take
//	done drive=1                             it has ended what it did, and is idle
func TestDecideScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/decide", func(t *testing.T, path string) {
		s := &deciding{p: DefaultPolicy, now: time.Unix(100_000, 0)}
		datadriven.RunTest(t, path, s.run)
	})
}

type deciding struct {
	p      Policy
	now    time.Time
	served Times
	drives []decidingDrive
	wants  []Demand
}

type decidingDrive struct {
	vol     tape.Barcode
	mounted time.Time
	class   Class
	busy    bool
}

func (s *deciding) run(t *testing.T, td *datadriven.TestData) string {
	duration := func(text string) time.Duration {
		d, err := time.ParseDuration(text)
		if err != nil {
			td.Fatalf(t, "%v", err)
		}
		return d
	}
	class := func(name string) Class {
		c, ok := ParseClass(name)
		if !ok {
			td.Fatalf(t, "no class %s", name)
		}
		return c
	}
	var n int
	var text string
	switch td.Cmd {
	case "drives":
		td.ScanArgs(t, "n", &n)
		s.drives = make([]decidingDrive, n)
	case "policy":
		td.ScanArgs(t, "class", &text)
		c := class(text)
		td.ScanArgs(t, "max-wait", &text)
		s.p.MaxWait[c] = duration(text)
		td.ScanArgs(t, "turn", &text)
		s.p.Turn[c] = duration(text)
	case "want":
		for line := range strings.Lines(td.Input) {
			f := strings.Fields(line)
			if len(f) < 4 {
				td.Fatalf(t, "%q", line)
			}
			d := Demand{Volume: tape.Barcode(f[0])}
			since, c := s.now, Class(0)
			if d.Archive = f[0] == "-"; d.Archive {
				d.Volume = ""
			}
			c = class(f[1])
			var mib int64
			if _, err := fmt.Sscan(f[2]+" "+f[3], &d.Slivers, &mib); err != nil {
				td.Fatalf(t, "%q: %v", line, err)
			}
			d.Bytes = mib << 20
			for _, word := range f[4:] {
				switch ago, ok := strings.CutPrefix(word, "ago="); {
				case ok:
					since = s.now.Add(-duration(ago))
				case word == "urgent":
					d.Urgent = true
				default:
					td.Fatalf(t, "%q", line)
				}
			}
			d.Oldest[c] = since
			if i := s.want(d.Volume); i >= 0 {
				s.wants[i] = s.wants[i].Join(d)
			} else {
				s.wants = append(s.wants, d)
			}
		}
	case "unwant":
		td.ScanArgs(t, "vol", &text)
		i := s.want(tape.Barcode(strings.TrimPrefix(text, "-")))
		if td.MaybeScanArgs(t, "class", &text); td.HasArg("class") {
			s.wants[i].Oldest[class(text)] = time.Time{}
		} else {
			s.wants = slices.Delete(s.wants, i, i+1)
		}
	case "advance":
		s.now = s.now.Add(duration(td.CmdArgs[0].Key))
	case "done":
		td.ScanArgs(t, "drive", &n)
		s.drives[n-1].busy = false
	case "ask":
		td.ScanArgs(t, "drive", &n)
		may := true
		td.MaybeScanArgs(t, "may-archive", &may)
		text = "1h"
		td.MaybeScanArgs(t, "rest", &text)
		return s.ask(&s.drives[n-1], td.HasArg("room"), may, duration(text))
	default:
		td.Fatalf(t, "unknown command %s", td.Cmd)
	}
	return ""
}

func (s *deciding) want(v tape.Barcode) int {
	return slices.IndexFunc(s.wants, func(d Demand) bool { return d.Volume == v })
}

func (s *deciding) ask(d *decidingDrive, room, mayArchive bool, rest time.Duration) string {
	var mine, archive Demand
	var others []Demand
	for _, w := range s.wants {
		claimed := slices.ContainsFunc(s.drives, func(e decidingDrive) bool { return e.vol == w.Volume && e.vol != "" })
		switch {
		case w.Archive && (!mayArchive || room):
			if archive = w; mayArchive {
				mine = mine.Join(w)
			}
		case w.Volume == d.vol && d.vol != "":
			mine = mine.Join(w)
		case !claimed:
			others = append(others, w)
		}
	}
	recalls := s.want(d.vol) >= 0 && d.vol != ""
	better := func(i int) bool {
		return slices.ContainsFunc(s.drives, func(e decidingDrive) bool {
			return e != *d && !e.busy && Rival{Loaded: e.vol != "", May: true}.Better(d.vol != "")
		})
	}
	step, i, c := s.p.Decide(s.now, &s.served, &Drive{Mounted: d.mounted, Mine: mine, Takes: func() time.Duration { return rest }}, others, better)
	switch step {
	case Work:
		d.busy = true
		if room && mayArchive && archive.Slivers > 0 && s.p.Archives(s.now, recalls, false, &archive) {
			s.served[ArchiveClass] = s.now
			return fmt.Sprintf("archive on %s\n", d.vol)
		}
		if mine.Oldest.Best() == d.class {
			s.served[d.class] = s.now
		}
		return fmt.Sprintf("work on %s\n", d.vol)
	case Exchange:
		v := others[i].Volume
		if others[i].Archive {
			v = "a volume with room"
		}
		was := ""
		if d.vol != "" {
			was = fmt.Sprintf(" in place of %s", d.vol)
		}
		d.vol, d.mounted, d.class, d.busy = v, s.now, c, true
		return fmt.Sprintf("exchange for %s%s, for %v\n", v, was, c)
	}
	d.busy = false
	return "rest\n"
}
