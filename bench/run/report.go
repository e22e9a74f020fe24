package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pkg/errors"
)

// report is what --json prints. Fields are only added to.
type report struct {
	Rounds  int      `json:"rounds"`
	Seconds float64  `json:"seconds"` // of each measurement
	Servers []string `json:"servers"`
	Rows    []row    `json:"rows"`
	// Mounts is what the mounts did; nil if none was measured.
	Mounts *mountReport `json:"mounts,omitempty"`
}

type row struct {
	Name    string             `json:"name"`
	Unit    string             `json:"unit"`
	Medians map[string]float64 `json:"medians"` // by server
	Versus  string             `json:"versus"`  // the server that sliod is held against
	Ratio   float64            `json:"ratio"`   // sliod divided by versus; 0 if versus was not measured
	Target  float64            `json:"target"`  // 0: none
	Met     bool               `json:"met"`
}

func newReport(figures map[string]map[string][]float64, servers []*server, o options) report {
	r := report{Rounds: o.rounds, Seconds: o.secs}
	for _, s := range servers {
		r.Servers = append(r.Servers, s.name)
	}
	for _, m := range slices.Concat(measurements, tapeRows) {
		row := row{Name: m.Name, Unit: m.unit, Medians: map[string]float64{}, Versus: m.versus, Target: m.target}
		for name, f := range figures[m.Name] {
			row.Medians[name] = median(f)
		}
		if len(row.Medians) == 0 {
			continue
		}
		if base := row.Medians[m.versus]; base > 0 {
			row.Ratio = row.Medians["sliod"] / base
		}
		row.Met = row.Ratio >= m.target
		r.Rows = append(r.Rows, row)
	}
	return r
}

// median of at least one figure; of an even number, the mean of the middle two.
func median(f []float64) float64 {
	f = slices.Sorted(slices.Values(f))
	n := len(f)
	return (f[(n-1)/2] + f[n/2]) / 2
}

// missed says whether a target that could be measured was not reached.
func (r report) missed() bool {
	return r.Mounts.missed() || slices.ContainsFunc(r.Rows, func(w row) bool { return w.Ratio > 0 && w.Target > 0 && !w.Met })
}

func (r report) printJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return errors.Wrap(e.Encode(r), "print the report")
}

// printTable prints a table that is Markdown too.
func (r report) printTable(w io.Writer) error {
	head := slices.Concat([]string{"measurement", "unit"}, r.Servers, []string{"ratio", "target", ""})
	lines := [][]string{head}
	for _, row := range r.Rows {
		line := []string{row.Name, row.Unit}
		for _, s := range r.Servers {
			line = append(line, number(row.Medians[s]))
		}
		ratio, target, mark := "", "", ""
		if row.Ratio > 0 {
			ratio = fmt.Sprintf("%.2f of %s", row.Ratio, row.Versus)
		}
		if row.Target > 0 {
			target = fmt.Sprintf("%.2f", row.Target)
			switch {
			case row.Ratio == 0:
				mark = "not measured"
			case row.Met:
				mark = "met"
			default:
				mark = "MISSED"
			}
		}
		lines = append(lines, append(line, ratio, target, mark))
	}
	text := markdown(lines, 2, 2+len(r.Servers)) +
		fmt.Sprintf("\nMedians of %d rounds of %g s, one connection, 8 requests in flight, unix sockets.\n", r.Rounds, r.Seconds)
	if len(r.Rows) == 0 {
		text = ""
	}
	if _, err := io.WriteString(w, text); err != nil {
		return errors.Wrap(err, "print the report")
	}
	return r.Mounts.printTable(w, r.Rounds)
}

// markdown is a table of Markdown. The first line is the head; the columns from up to
// to, which is not one, are numbers.
func markdown(lines [][]string, from, to int) string {
	head := lines[0]
	number := func(i int) bool { return i >= from && i < to }
	width := make([]int, len(head))
	for _, line := range lines {
		for i, cell := range line {
			width[i] = max(width[i], len(cell))
		}
	}
	var b strings.Builder
	for n, line := range lines {
		for i, cell := range line {
			if number(i) {
				fmt.Fprintf(&b, "| %*s ", width[i], cell)
			} else {
				fmt.Fprintf(&b, "| %-*s ", width[i], cell)
			}
		}
		b.WriteString("|\n")
		if n > 0 {
			continue
		}
		for i := range line {
			rule := strings.Repeat("-", width[i]+1)
			if number(i) {
				b.WriteString("|" + rule + ":")
			} else {
				b.WriteString("|-" + rule)
			}
		}
		b.WriteString("|\n")
	}
	return b.String()
}

// number is a figure without digits that mean nothing; 0 was not measured.
func number(f float64) string {
	if f == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", f)
}
