package main

import (
	"encoding/json"
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the files in testdata anew")

// golden compares with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s\n(go test ./cmd/sliod -run Simulate -update writes it anew)", name, got, want)
	}
}

// TestSimulateGolden: the traces that are made up, what a library makes of them, and a comparison.
func TestSimulateGolden(t *testing.T) {
	for pattern, flags := range map[string]string{
		"uniform":    "--requests 24 --days 0",
		"clustered":  "--requests 40 --rate 300 --kinds read=3,archive=1",
		"zipf":       "--requests 40 --rate 120 --kinds read=8,bulk=2,verify=1,archive=1",
		"sequential": "--requests 24 --rate 1000 --length 1GiB --cartridge LTO-8 --volumes 1",
	} {
		t.Run(pattern, func(t *testing.T) {
			status, trace, stderr := command(t, append([]string{"simulate", "generate", "--pattern", pattern}, strings.Fields(flags)...)...)
			if status != exitDone {
				t.Fatal(stderr)
			}
			golden(t, "simulate-"+pattern+".csv", trace)
			name := filepath.Join("testdata", "simulate-"+pattern+".csv")
			for _, how := range []string{"", "--compare", "--json", "--goal wait --drives 1"} {
				args := append([]string{"simulate", name}, strings.Fields(how)...)
				status, out, stderr := command(t, args...)
				if status != exitDone || stderr != "" {
					t.Fatalf("%s: status %d, %s", how, status, stderr)
				}
				words := strings.Fields("simulate-" + pattern + " " + strings.ReplaceAll(how, "--", ""))
				golden(t, strings.Join(words, "-")+".golden", out)
			}
		})
	}
}

// TestSimulateJSON: the fields that docs/simulate.md names, and those of a comparison.
func TestSimulateJSON(t *testing.T) {
	picture := filepath.Join(t.TempDir(), "p.svg")
	status, out, stderr := command(t, "simulate", "testdata/simulate-zipf.csv", "--compare", "--json", "--plot", picture)
	var got struct {
		Orders []struct {
			Order  string
			Result map[string]any
			Ratios map[string]float64
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || status != exitDone || len(got.Orders) != 5 {
		t.Fatalf("status %d, %v, %s%s", status, err, out, stderr)
	}
	doc, err := os.ReadFile("../../docs/simulate.md")
	if err != nil {
		t.Fatal(err)
	}
	var see func(v map[string]any)
	see = func(v map[string]any) {
		for name, x := range v {
			if !strings.Contains(string(doc), "`"+name+"`") && !strings.Contains(string(doc), "`."+name+"`") {
				t.Errorf("docs/simulate.md does not name the field %s", name)
			}
			if m, ok := x.(map[string]any); ok && name != "by_kind" {
				see(m)
			}
		}
	}
	see(got.Orders[0].Result)
	for _, o := range got.Orders {
		if o.Ratios["makespan"] <= 0 || o.Ratios["mean"] <= 0 {
			t.Errorf("%s: %v", o.Order, o.Ratios)
		}
	}
	f, err := os.Open(picture)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for d := xml.NewDecoder(f); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestSimulateConfig: the library of a configuration, and flags that count more.
func TestSimulateConfig(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	virtual := write("v.toml", "[library]\ndrives = 3\nslots = 9\ncartridge = \"LTO-8\"\n[mount]\nlinger = \"0s\"\n[drives]\nwrite_share = 1\n")
	scsi := write("s.toml", "[library]\nkind = \"scsi\"\n")
	for _, tc := range []struct{ flags, want string }{
		{"--config " + virtual, "3 drives of LTO-8, 9 slots"},
		{"--config " + virtual + " --drives 1 --cartridge LTO-9", "1 drive of LTO-9, 9 slots"},
		{"--config " + scsi + " --drives 4 --slots 50", "4 drives of LTO-9, 50 slots"},
	} {
		status, out, stderr := command(t, append([]string{"simulate", "testdata/simulate-sequential.csv"}, strings.Fields(tc.flags)...)...)
		if status != exitDone || !strings.Contains(out, tc.want) {
			t.Errorf("%s: status %d, %s%s", tc.flags, status, out, stderr)
		}
	}
	run := func(args ...string) string {
		status, out, stderr := command(t, append([]string{"simulate", "testdata/simulate-uniform.csv", "--json"}, args...)...)
		if status != exitDone {
			t.Errorf("%v: status %d, %s", args, status, stderr)
		}
		return out
	}
	wait := write("w.toml", "[library]\ndrives = 1\n[recall]\ngoal = \"wait\"\n")
	if a, b, c := run("--config", wait), run("--drives", "1", "--goal", "wait"), run("--config", wait, "--goal", "time"); a != b || a == c {
		t.Errorf("by the configuration %s\nby the flag %s\nwith the other goal %s", a, b, c)
	}
	for _, tc := range []struct {
		args   string
		status int
		want   string
	}{
		{"", exitUsage, "accepts 1 arg(s), received 0; usage: sliod simulate TRACE"},
		{"nowhere.csv", exitFailed, "open nowhere.csv: no such file or directory"},
		{"testdata/simulate-uniform.csv --config " + scsi, exitUsage, "has a real library: give --drives and --slots"},
		{"testdata/simulate-uniform.csv --config nowhere.toml", exitFailed, "nowhere.toml"},
		{"testdata/simulate-uniform.csv --drives 0", exitUsage, "--drives 0: give at least 1"},
		{"testdata/simulate-uniform.csv --drives 201", exitUsage, "201 drives: give 1 to 200"},
		{"testdata/simulate-uniform.csv --slots 2", exitFailed, "is one more than the 2 slots of the library hold"},
		{"testdata/simulate-uniform.csv --max-waiting 3", exitFailed, "testdata/simulate-uniform.csv:5: 3 requests wait after 0.0 days: this library cannot do the work"},
		{"testdata/simulate-uniform.csv --compare --max-waiting 3", exitFailed, "in no order: 3 requests wait"},
		{"testdata/simulate-uniform.csv --capacity 1TB", exitFailed, "beyond the end of volume"},
		{"testdata/simulate-uniform.csv --capacity x", exitUsage, "--capacity: a size is"},
		{"testdata/simulate-uniform.csv --block-size 9MiB", exitUsage, "--block-size: give 512B to 8MiB"},
		{"testdata/simulate-uniform.csv --order x", exitUsage, "--order \"x\": give sliod, first-come"},
		{"testdata/simulate-uniform.csv --goal x", exitUsage, "--goal \"x\": give time or wait"},
		{"testdata/simulate-uniform.csv --max-wait x=1m", exitUsage, "--max-wait \"x=1m\": give times such as"},
		{"testdata/simulate-uniform.csv --turn client=-1s", exitUsage, "--turn"},
		{"testdata/simulate-uniform.csv --write-share 2", exitUsage, "--write-share 2: give 0 to 1"},
		{"testdata/simulate-uniform.csv --plot " + dir, exitFailed, "draw the picture"},
		{"testdata/simulate-uniform.csv --server unix:/x", exitUsage, "sliod simulate does not"},
		{"generate --server unix:/x", exitUsage, "sliod simulate generate does not"},
		{"generate x", exitUsage, "unknown command \"x\""},
		{"generate --pattern x", exitUsage, "there is no pattern \"x\""},
		{"generate --kinds x", exitUsage, "--kinds \"x\": give parts such as"},
		{"generate --days -1", exitUsage, "--days: give 0 to 36500"},
		{"generate --days 0", exitUsage, "give the time of the trace, or the number of requests"},
		{"generate --length x", exitUsage, "--length: a size is"},
		{"generate --block-size x", exitUsage, "--block-size"},
	} {
		status, out, stderr := command(t, append([]string{"simulate"}, strings.Fields(tc.args)...)...)
		if status != tc.status || !strings.Contains(stderr, tc.want) || out != "" {
			t.Errorf("%s: status %d, %s%s", tc.args, status, out, stderr)
		}
	}
}

// TestSimulateStandardInput: what generate writes can be piped.
func TestSimulateStandardInput(t *testing.T) {
	trace, err := os.ReadFile("testdata/simulate-zipf.csv")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		string(trace): "", string(trace) + "0,A1,0,1,read\n": "standard input:42: time 0 is before", "": "standard input:1: a trace begins",
	} {
		a, out, stderr := newApp()
		root := a.newRoot()
		root.SetIn(strings.NewReader(text))
		root.SetOut(a.out)
		root.SetArgs([]string{"simulate", "-"})
		err := root.ExecuteContext(t.Context())
		if want == "" && (err != nil || !strings.Contains(out.String(), "40, of which")) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, %s%s", err, out, stderr)
		}
	}
}
