package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		f    []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := median(tc.f); got != tc.want {
			t.Errorf("median(%v) = %v, want %v", tc.f, got, tc.want)
		}
	}
}

func TestFigure(t *testing.T) {
	const line = "read     conns=1 depth=8 msize=65536 ops/s=30059 MB/s=1847 p50=1.2ms p99=3ms max=9ms\n"
	for unit, want := range map[string]float64{"ops/s": 30059, "MB/s": 1847} {
		if got, err := figure(line, unit); err != nil || got != want {
			t.Errorf("%s: got %v, %v", unit, got, err)
		}
	}
	if _, err := figure("nothing", "MB/s"); err == nil {
		t.Error("a line without figures was understood")
	}
}

// TestReport has one target met, one missed, and one that diod's absence
// leaves open.
func TestReport(t *testing.T) {
	figures := map[string]map[string][]float64{}
	for _, m := range measurements {
		figures[m.Name] = map[string][]float64{"null9p": {100}, "sliod": {80}}
	}
	r := newReport(figures, []*server{{name: "null9p"}, {name: "sliod"}}, options{rounds: 1, secs: 1})
	if !r.missed() {
		t.Error("read at 0.80 of null9p was taken for good")
	}
	var table, text bytes.Buffer
	if err := r.printTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"MISSED", "met", "not measured", "0.80"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, table.String())
		}
	}
	if err := r.printJSON(&text); err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal(text.Bytes(), &back); err != nil || len(back.Rows) != len(measurements) || back.Rows[2].Ratio != 0.8 {
		t.Errorf("JSON: %v, %+v", err, back)
	}
}

// TestMountReport has a bridge above the target and one below, and a row without the
// file system that they are held against.
func TestMountReport(t *testing.T) {
	if r := newMountReport(nil); r != nil || r.missed() {
		t.Errorf("nothing was measured, and the report is %+v", r)
	}
	first, second := mountRows[0].name, mountRows[1].name
	r := newMountReport(map[string]map[string][]float64{
		first:  {"serve": {90, 10, 80}, "mount": {79}, "loopback": {100}},
		second: {"serve": {5}},
	})
	if !r.missed() || len(r.Rows) != 2 || r.Rows[0].Ratios["serve"] != 0.8 || !r.Rows[0].Met["serve"] || r.Rows[0].Met["mount"] {
		t.Errorf("report: %+v", r)
	}
	var table bytes.Buffer
	if err := r.printTable(&table, 3); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"0.80 met", "0.79 MISSED", "not measured", "| serve | mount | loopback |"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, table.String())
		}
	}
}

// TestFileLoad runs every row in a plain directory.
func TestFileLoad(t *testing.T) {
	l := &fileLoad{dir: t.TempDir(), size: 2 << 20, time: time.Microsecond}
	if err := l.prepare(); err != nil {
		t.Fatal(err)
	}
	for _, row := range mountRows {
		if f, err := row.run(l, row.block); err != nil || f <= 0 {
			t.Errorf("%s: %v, %v", row.name, f, err)
		}
	}
	if left, err := os.ReadDir(l.dir); err != nil || len(left) != 2 { // big, written
		t.Errorf("left: %v, %v", left, err)
	}
}
