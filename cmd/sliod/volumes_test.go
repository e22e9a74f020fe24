package main

import (
	"slices"
	"strings"
	"testing"

	"sliod/backend"
)

// TestVolumeCommands looks that the commands on volumes start the right jobs, and that nothing is lost
// without the barcode given twice.
func TestVolumeCommands(t *testing.T) {
	for _, tc := range []struct {
		args   []string
		status int
		kind   backend.JobKind // "": no job
		want   []string        // arguments of the job
		text   string          // of the error
	}{
		{[]string{"volumes", "import"}, 0, backend.JobVolumesImport, nil, ""},
		{[]string{"volumes", "import", "A00001L9"}, 0, backend.JobVolumesImport, []string{"A00001L9"}, ""},
		{[]string{"volumes", "export", "--json", "A00001L9", "A00002L9"}, 0, backend.JobVolumesExport, []string{"A00001L9", "A00002L9"}, ""},
		{[]string{"volumes", "export"}, 2, "", nil, "requires at least 1 arg"},
		{[]string{"volumes", "eject"}, 2, "", nil, "unknown command"},
		{[]string{"drives", "reset", "D1"}, 0, backend.JobDrivesReset, []string{"D1"}, ""},
		{[]string{"format", "A00001L9"}, 0, backend.JobFormat, []string{"A00001L9"}, ""},
		{[]string{"format", "--force", "A00001L9"}, 2, "", nil, "--confirm A00001L9"},
		{[]string{"format", "--force", "--confirm", "A00002L9", "A00001L9"}, 1, "", nil, "nothing was done"},
		{[]string{"format", "--confirm", "A00001L9", "A00001L9"}, 2, "", nil, "--confirm goes with --force"},
		{[]string{"format", "--force", "--confirm", "A00001L9", "A00001L9"}, 0, backend.JobFormat, []string{"A00001L9", "force"}, ""},
		{[]string{"label", "A00001L9", "a name"}, 0, backend.JobLabel, []string{"A00001L9", "a name"}, ""},
		{[]string{"label", "A00001L9", ""}, 0, backend.JobLabel, []string{"A00001L9", ""}, ""},
		{[]string{"label", ""}, 2, "", nil, "no argument"},
		{[]string{"reclaim", "A00001L9", "A00002L9"}, 0, backend.JobReclaim, []string{"A00001L9", "A00002L9"}, ""},
		{[]string{"reclaim"}, 2, "", nil, "requires at least 1 arg"},
		{[]string{"verify", "--volume", "A00001L9", "--format"}, 0, backend.JobVerifyFormat, []string{"A00001L9"}, ""},
		{[]string{"verify", "--volume", "A00001L9", "--format", "--data", "--json"}, 0, backend.JobVerifyFormat, []string{"A00001L9", "data"}, ""},
		{[]string{"verify", "--volume", "A00001L9"}, 0, backend.JobVerify, []string{"volume=A00001L9"}, ""},
		{[]string{"verify", "--volume", "A00001L9", "/a b", "volume=x"}, 0, backend.JobVerify, []string{"volume=A00001L9", "/a b", "/volume=x"}, ""},
		{[]string{"verify", "--json"}, 0, backend.JobVerify, []string{}, ""},
		{[]string{"verify", "--format", "--volume", "A00001L9", "/a"}, 2, "", nil, "as a whole"},
		{[]string{"verify", "--data"}, 2, "", nil, "goes with --format"},
		{[]string{"verify", "--format"}, 2, "", nil, "--volume BARCODE"},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			fake := &fakeAdmin{}
			status, stdout, stderr := command(t, append([]string{"--state", startFake(t, fake)}, tc.args...)...)
			if status != tc.status || !strings.Contains(stderr, tc.text) {
				t.Errorf("status %d, %q, %q", status, stdout, stderr)
			}
			jobs := fake.Jobs()
			if len(jobs) > 1 || (len(jobs) == 1) != (tc.kind != "") {
				t.Fatalf("jobs %+v", jobs)
			}
			if len(jobs) == 1 && (jobs[0].Kind != tc.kind || !slices.Equal(jobs[0].Paths, tc.want)) {
				t.Errorf("job %+v", jobs[0])
			}
		})
	}
}
