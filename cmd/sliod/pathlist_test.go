package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sliod/backend"
)

func TestPathLists(t *testing.T) {
	long := strings.Repeat("x", maxPath+1)
	for _, tc := range []struct {
		name, in string
		args     []string
		status   int
		out, err string
		listed   int64
	}{
		{"lines", "/a\n\na\n/a", []string{"recall", "-"}, exitDone, "job 1 begins: recall of a list;", "", 3},
		{"nul", "/a\x00a\x00", []string{"recall", "--from", "-", "-0", "--priority", "low", "--pin", "24h"}, exitDone, "job 1 begins", "", 2},
		{"unknown", "/a\n/b\na\n/c\n", []string{"archive", "--from", "-"}, exitFailed, "job 1 begins: archive of a list;",
			"sliod: path 2 (/b): no such file\nsliod: path 4 (/c): no such file\nsliod: archive: 2 of 4 paths could not be done so far; the job goes on with the others", 4},
		{"many", strings.Repeat("/a\n", 200_000), []string{"pin", "--from", "-", "--for", "2w"}, exitDone, "pin: 0 files", "", 200_000},
		{"empty", "\n\n", []string{"evict", "-"}, exitFailed, "", "evict: the list of paths is empty", -1},
		{"long", "/a\n" + long + "\n", []string{"evict", "-"}, exitFailed, "", "path 2 of the list is longer than 4096 bytes", -1},
		{"very long", strings.Repeat(long, 3), []string{"evict", "-"}, exitFailed, "", "path 1 of the list: ", -1},
		{"nul in lines", "/a\x00/a\n", []string{"evict", "-"}, exitFailed, "", "-0 is for lists", -1},
		{"both", "/a\n", []string{"evict", "--from", "-", "/a"}, exitUsage, "", "not from both", -1},
		{"-0 alone", "", []string{"evict", "-0", "/a"}, exitUsage, "", "-0 is for --from", -1},
		{"priority", "", []string{"recall", "--priority", "huge", "/a"}, exitUsage, "", "it is high, normal or low", -1},
		{"pin", "", []string{"recall", "--pin", "soon", "/a"}, exitUsage, "", `"soon" is not a time`, -1},
		{"no file", "", []string{"recall", "--from", filepath.Join(t.TempDir(), "none")}, exitFailed, "", "no such file", -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			admin := &fakeAdmin{}
			dir := startFake(t, admin)
			a, stdout, stderr := newApp()
			a.in = strings.NewReader(tc.in)
			status := a.run(t.Context(), append(tc.args, "--state", dir))
			if status != tc.status || !strings.HasPrefix(stdout.String(), tc.out) || !strings.Contains(stderr.String(), tc.err) {
				t.Errorf("status %d\n%s%s\nwant %d\n%s%s", status, stdout, stderr, tc.status, tc.out, tc.err)
			}
			switch jobs := admin.Jobs(); {
			case tc.listed < 0 && len(jobs) > 0:
				t.Errorf("a job has begun: %+v", jobs)
			case tc.listed >= 0 && (len(jobs) != 1 || jobs[0].Listed != tc.listed):
				t.Errorf("%+v, want %d paths", jobs, tc.listed)
			case tc.name == "nul" && (jobs[0].Priority != backend.PriorityLow || jobs[0].PinnedUntil.Sub(began).Hours() != 24):
				t.Errorf("%+v", jobs[0])
			}
		})
	}
}

func TestListOfAFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(name, []byte("/a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := startFake(t, &fakeAdmin{})
	if status, out, stderr := command(t, "recall", "--from", name, "--state", dir); status != exitDone {
		t.Error(status, out, stderr)
	}
}

func TestCancelAndRelease(t *testing.T) {
	admin := &fakeAdmin{files: 5}
	dir := startFake(t, admin)
	if status, _, stderr := command(t, "recall", "--pin", "1h", "/a", "--state", dir); status != exitDone {
		t.Fatal(stderr)
	}
	for _, tc := range []struct {
		args     []string
		status   int
		out, err string
		state    string
	}{
		{[]string{"priority", "low", "1"}, exitDone, "job 1 has the priority low\n", "", "running"},
		{[]string{"priority", "high", "1", "9"}, exitFailed, "job 1 has the priority high\n", "there is no job 9", "running"},
		{[]string{"priority", "1", "high"}, exitUsage, "", `"1" is not high, normal or low`, "running"},
		{[]string{"cancel", "1"}, exitDone, "job 1 is cancelled\n", "", "cancelled"},
		{[]string{"release", "1"}, exitDone, "job 1 pins nothing any longer\n", "", "released"},
		{[]string{"release", "1", "7"}, exitFailed, "job 1", "there is no job 7", "released"},
		{[]string{"cancel", "first"}, exitUsage, "", `"first" is no number of a job`, "released"},
		{[]string{"cancel"}, exitUsage, "", "requires at least 1 arg", "released"},
	} {
		status, stdout, stderr := command(t, append(tc.args, "--state", dir)...)
		if status != tc.status || !strings.HasPrefix(stdout, tc.out) || !strings.Contains(stderr, tc.err) || admin.Jobs()[0].State != tc.state {
			t.Errorf("%v: status %d, %s%s, %+v", tc.args, status, stdout, stderr, admin.Jobs())
		}
	}
}
