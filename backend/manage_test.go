package backend

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sliod/tape"
	"sliod/tape/virtual"
)

// elementOf returns where a cartridge is.
func (w *world) elementOf(b string) tape.Element {
	w.t.Helper()
	es, err := w.lib.Tape().Changer.Inventory(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	i := slices.IndexFunc(es, func(e tape.Element) bool { return e.Volume == tape.Barcode(b) })
	if i < 0 {
		w.t.Fatalf("volume %s is not in the library", b)
	}
	return es[i]
}

// ends runs a job, whatever comes of it.
func (w *world) ends(kind JobKind, args ...string) JobStatus {
	w.t.Helper()
	id, err := w.fs.StartJob(kind, args)
	if err != nil {
		w.t.Fatal(err)
	}
	w.fs.jobs.mu.Lock()
	j := w.fs.jobs.m[id]
	w.fs.jobs.mu.Unlock()
	<-j.finished
	return j.status()
}

func TestVolumeJobs(t *testing.T) {
	w := newWorld(t, func(o *Options, c *virtual.Config) {
		c.ImportExport, c.Cartridges = 2, 6
		o.Mover.Look, o.Mover.LookAgain = -1, -1
	})
	w.archived("one", []byte(strings.Repeat("1", 2<<20)))
	w.put("two", []byte("two"))
	w.job(JobArchive, "/")
	w.job(JobEvict, "/one")
	b, _, _ := w.placeOf("/one", 0)
	barcode := string(b)

	// Exported: one file can be read no longer, and that was said before.
	s := w.job(JobVolumesExport, barcode)
	if len(s.Notes) != 2 || !strings.HasPrefix(s.Notes[0], "1 files have data that only "+barcode+" has") || s.Notes[1] != barcode+" is in mail slot 1" ||
		!slices.Equal(s.Volumes, []string{barcode}) {
		t.Errorf("export: %+v", s)
	}
	if s := w.ends(JobRecall, "/one"); s.Failed != 1 || !strings.Contains(fmt.Sprint(s.Errors), "sliod volumes import") {
		t.Errorf("recall from a volume that is away: %+v", s)
	}
	if got := w.content("/two"); string(got) != "two" {
		t.Errorf("two is %q", got)
	}
	if err := w.lib.Insert("NEW001L9", w.elementOf(barcode).Address+1); err != nil {
		t.Fatal(err)
	}
	for _, v := range w.fs.Volumes() {
		if v.Barcode == barcode && (v.Where != "mail slot 1" || v.Reason == "") {
			t.Errorf("%+v", v)
		}
	}
	if s := w.ends(JobVolumesImport, "OTHER1L9"); s.State != "failed" {
		t.Errorf("import of what is not there: %+v", s)
	}
	s = w.job(JobVolumesImport, barcode)
	if len(s.Notes) != 1 || !strings.HasPrefix(s.Notes[0], barcode+" is in slot ") || !strings.HasSuffix(s.Notes[0], ": append") {
		t.Errorf("import: %+v", s)
	}
	s = w.job(JobVolumesImport)
	if len(s.Notes) != 1 || !strings.HasPrefix(s.Notes[0], "NEW001L9 is in slot ") || !slices.Equal(s.Volumes, []string{"NEW001L9"}) {
		t.Errorf("import: %+v", s)
	}
	if s = w.job(JobVolumesImport); !slices.Equal(s.Notes, []string{"nothing new came in"}) {
		t.Errorf("import: %+v", s)
	}
	w.job(JobRecall, "/one")

	if s := w.job(JobLabel, barcode, "first"); !slices.Equal(s.Notes, []string{`the name of ` + barcode + ` is "first"`}) {
		t.Errorf("label: %+v", s)
	}
	if s := w.job(JobLabel, barcode); !slices.Equal(s.Notes, []string{`the name of ` + barcode + ` is "first"`}) {
		t.Errorf("label: %+v", s)
	}
	if s := w.job(JobFormat, "NEW001L9"); len(s.Notes) != 1 || s.Step == "" {
		t.Errorf("format: %+v", s)
	}
	if s := w.ends(JobFormat, barcode, "force"); s.State != "failed" || !strings.Contains(fmt.Sprint(s.Errors), "files of this archive") {
		t.Errorf("format of a volume with data: %+v", s)
	}
	for _, bad := range [][]string{{"format", "NEW001L9", "please"}, {"format", "NO SUCH"}, {"label", "NO SUCH", "x"}, {"volumes-export", barcode, "NO SUCH"}, {"format"}, {"erase", barcode}} {
		if id, err := w.fs.StartJob(JobKind(bad[0]), bad[1:]); err == nil {
			t.Errorf("%v began as job %d", bad, id)
		}
	}
}
