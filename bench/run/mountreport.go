package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/pkg/errors"
)

// mountReport is the part of the report on mounts.
type mountReport struct {
	Names  []string          `json:"names"`
	Versus string            `json:"versus"` // what the bridge is held against
	Target float64           `json:"target"`
	Rows   []mountReportLine `json:"rows"`
}

type mountReportLine struct {
	Name    string             `json:"name"`
	Unit    string             `json:"unit"`
	Medians map[string]float64 `json:"medians"` // by mount
	Ratios  map[string]float64 `json:"ratios"`  // of serve and mount, to versus; none if that was not measured
	Met     map[string]bool    `json:"met"`
}

// bridges are the mounts that have to reach the target.
var bridges = []string{"serve", "mount"}

// newMountReport returns nil if no mount was measured.
func newMountReport(figures map[string]map[string][]float64) *mountReport {
	r := &mountReport{Versus: mountVersus, Target: mountTarget}
	for _, m := range mountRows {
		line := mountReportLine{Name: m.name, Unit: m.unit, Medians: map[string]float64{}, Ratios: map[string]float64{}, Met: map[string]bool{}}
		for name, f := range figures[m.name] {
			line.Medians[name] = median(f)
		}
		for _, name := range bridges {
			if own, base := line.Medians[name], line.Medians[mountVersus]; own > 0 && base > 0 {
				line.Ratios[name] = own / base
				line.Met[name] = own/base >= mountTarget
			}
		}
		if len(line.Medians) > 0 {
			r.Rows = append(r.Rows, line)
		}
	}
	for _, name := range columns() {
		if slices.ContainsFunc(r.Rows, func(l mountReportLine) bool { return l.Medians[name] > 0 }) {
			r.Names = append(r.Names, name)
		}
	}
	if len(r.Names) == 0 {
		return nil
	}
	return r
}

// missed says whether a mount missed the target.
func (r *mountReport) missed() bool {
	return r != nil && slices.ContainsFunc(r.Rows, func(l mountReportLine) bool {
		for _, met := range l.Met {
			if !met {
				return true
			}
		}
		return false
	})
}

func (r *mountReport) printTable(w io.Writer, rounds int) error {
	if r == nil {
		return nil
	}
	lines := [][]string{slices.Concat([]string{"mounted", "unit"}, r.Names)}
	for _, name := range bridges {
		lines[0] = append(lines[0], name+" of "+r.Versus)
	}
	for _, row := range r.Rows {
		line := []string{row.Name, row.Unit}
		for _, name := range r.Names {
			line = append(line, number(row.Medians[name]))
		}
		for _, name := range bridges {
			ratio, ok := row.Ratios[name]
			switch {
			case !ok:
				line = append(line, "not measured")
			case row.Met[name]:
				line = append(line, fmt.Sprintf("%.2f met", ratio))
			default:
				line = append(line, fmt.Sprintf("%.2f MISSED", ratio))
			}
		}
		lines = append(lines, line)
	}
	text := "\n" + markdown(lines, 2, 2+len(r.Names)) +
		fmt.Sprintf("\nMedians of %d rounds, one thread. Target: %.1f of %s, which has no passthrough.\n", rounds, r.Target, r.Versus)
	_, err := io.WriteString(w, text)
	return errors.Wrap(err, "print the report")
}
