package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/pkg/errors"
)

// report is what --json prints. Fields are only added to.
type report struct {
	Rounds  int      `json:"rounds"`
	Seconds float64  `json:"seconds"` // of each measurement
	Servers []string `json:"servers"`
	Rows    []row    `json:"rows"`
}

type row struct {
	Name    string             `json:"name"`
	Unit    string             `json:"unit"`
	Medians map[string]float64 `json:"medians"` // by server
	Versus  string             `json:"versus"`  // the server that sliod is held against
	Ratio   float64            `json:"ratio"`   // sliod divided by versus; 0 if versus was not measured
	Target  float64            `json:"target"`
	Met     bool               `json:"met"`
}

func newReport(figures map[string]map[string][]float64, servers []*server, o options) report {
	r := report{Rounds: o.rounds, Seconds: o.secs}
	for _, s := range servers {
		r.Servers = append(r.Servers, s.name)
	}
	for _, m := range measurements {
		row := row{Name: m.Name, Unit: m.unit, Medians: map[string]float64{}, Versus: m.versus, Target: m.target}
		for name, f := range figures[m.Name] {
			row.Medians[name] = median(f)
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
	return slices.ContainsFunc(r.Rows, func(w row) bool { return w.Ratio > 0 && !w.Met })
}

func (r report) printJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return errors.Wrap(e.Encode(r), "print the report")
}

func (r report) printTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "measurement\tunit\t")
	for _, s := range r.Servers {
		fmt.Fprintf(t, "%s\t", s)
	}
	fmt.Fprintln(t, "ratio\ttarget\t\t")
	for _, row := range r.Rows {
		fmt.Fprintf(t, "%s\t%s\t", row.Name, row.Unit)
		for _, s := range r.Servers {
			fmt.Fprintf(t, "%.0f\t", row.Medians[s])
		}
		switch verdict := map[bool]string{true: "met", false: "MISSED"}[row.Met]; row.Ratio {
		case 0:
			fmt.Fprintf(t, "-\t%.2f of %s\tnot measured\t\n", row.Target, row.Versus)
		default:
			fmt.Fprintf(t, "%.2f\t%.2f of %s\t%s\t\n", row.Ratio, row.Target, row.Versus, verdict)
		}
	}
	fmt.Fprintf(t, "\n")
	if err := t.Flush(); err != nil {
		return errors.Wrap(err, "print the report")
	}
	_, err := fmt.Fprintf(w, "Medians of %d rounds of %g s, one connection, 8 requests in flight, unix sockets.\n", r.Rounds, r.Seconds)
	return errors.Wrap(err, "print the report")
}
