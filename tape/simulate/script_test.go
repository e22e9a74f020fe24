package simulate

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"sliod/tape/schedule"
)

// TestScripts runs the golden scripts in testdata/scripts: what drives do, step by step.
//
//	library [drives=2] [slots=16] [cartridge=LTO-9] [order=sliod] [max-wait=10m] [turn=3m] [bulk-wait=15m]
//	    [linger=1m] [archive-drives=1] [recall-drives=2]
//	run [steps] [result]     the input is a trace
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		cfg := Config{}
		datadriven.RunTest(t, path, func(t *testing.T, td *datadriven.TestData) string {
			switch td.Cmd {
			case "library":
				cfg = libraryOf(t, td)
				return ""
			case "run":
				return runScript(t, td, cfg)
			}
			td.Fatalf(t, "unknown command %s", td.Cmd)
			return ""
		})
	})
}

func libraryOf(t *testing.T, td *datadriven.TestData) Config {
	cfg := Config{Drives: 2}
	if _, err := cfg.check(); err != nil { // for the policy's defaults
		t.Fatal(err)
	}
	cfg.ArchiveDrives, cfg.RecallDrives, cfg.Capacity = 0, 0, 0
	var order string
	duration := func(name string, to *time.Duration) {
		var s string
		if td.MaybeScanArgs(t, name, &s); s != "" {
			d, err := time.ParseDuration(s)
			if err != nil {
				td.Fatalf(t, "%v", err)
			}
			*to = d
		}
	}
	td.MaybeScanArgs(t, "drives", &cfg.Drives)
	td.MaybeScanArgs(t, "slots", &cfg.Slots)
	td.MaybeScanArgs(t, "cartridge", &cfg.Generation)
	duration("max-wait", &cfg.Policy.MaxWait[schedule.Client])
	duration("turn", &cfg.Policy.Turn[schedule.Client])
	duration("bulk-wait", &cfg.Policy.MaxWait[schedule.Bulk])
	td.MaybeScanArgs(t, "archive-drives", &cfg.ArchiveDrives)
	td.MaybeScanArgs(t, "recall-drives", &cfg.RecallDrives)
	duration("linger", &cfg.Linger)
	if td.MaybeScanArgs(t, "order", &order); order != "" {
		var ok bool
		if cfg.Order, ok = ParseOrder(order); !ok {
			td.Fatalf(t, "no order %s", order)
		}
		if cfg.Order != Sliod {
			cfg.Choice = Oldest
		}
	}
	return cfg
}

func runScript(t *testing.T, td *datadriven.TestData, cfg Config) string {
	var out strings.Builder
	c := newChecker(t, cfg.Drives)
	steps := td.HasArg("steps")
	cfg.Begins = func(e Event) {
		c.begins(e)
		if steps {
			fmt.Fprintln(&out, e)
		}
	}
	s, err := New(cfg)
	if err != nil {
		return err.Error() + "\n"
	}
	rs, err := readAll(Header + "\n" + td.Input)
	if err != nil {
		return err.Error() + "\n"
	}
	for _, r := range rs {
		if err := s.Add(r); err != nil {
			return err.Error() + "\n"
		}
	}
	r, err := s.Finish()
	if err != nil {
		return err.Error() + "\n"
	}
	if td.HasArg("result") {
		b, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(b, '\n'))
	}
	return out.String()
}
