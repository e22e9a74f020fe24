package backend

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/tape/virtual"
)

// verify runs a check of a volume's format that must find nothing against it.
func (w *world) verify(barcode string) JobStatus {
	w.t.Helper()
	s := w.job(JobVerifyFormat, barcode, dataWord)
	for _, n := range s.Notes {
		if strings.Contains(n, ": warning") {
			w.t.Errorf("%s", n)
		}
	}
	return s
}

// TestVerifyFormat: what the archive puts on tape obeys the format, in all stages.
func TestVerifyFormat(t *testing.T) {
	w := newWorld(t, func(o *Options, _ *virtual.Config) { o.Mover.SHA256 = true })
	for i := range 10 {
		w.put(fmt.Sprintf("f:%d%%\xff", i), pattern(i, i*i*20_000))
	}
	if _, err := w.root.Symlink(rootCred, "link", "f:1%\xff/..", 0); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]p9.FileMode{"dev": modeChar, "fifo": modeFIFO} {
		if _, err := w.root.Mknod(rootCred, name, mode|0o600, 1, 3, 0); err != nil {
			t.Fatal(err)
		}
	}
	n, f := w.create("sparse and spaces ")
	w.write(f, 5<<20, []byte("behind a hole"))
	for name, value := range map[string]string{"user.text": "text", "user.binary": "\x00\xff", "trusted.x": "y", "user.ltfs.x": "reserved"} {
		if err := n.SetXattr(rootCred, name, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	n.Release()
	w.job(JobArchive, "/")
	volume := w.ownVolume()
	s := w.verify(volume)
	if last := s.Notes[len(s.Notes)-1]; !strings.Contains(last, "obeys the LTFS format") || !strings.Contains(last, "14 files and 1 directories") {
		t.Errorf("%q", last)
	}
	// Changed, removed, renamed, and after a restart.
	file, done := w.openFile("f:9%\xff")
	w.write(file, 100, []byte("changed"))
	done()
	if err := w.root.UnlinkAt(rootCred, "f:3%\xff", 0); err != nil {
		t.Fatal(err)
	}
	w.job(JobArchive, "/")
	w.restart()
	w.verify(volume)
	w.wantContent("f:8%\xff", pattern(8, 64*20_000))

	// A volume that has no format fails, and arguments that make no sense are refused.
	blank := ""
	for _, v := range w.fs.Volumes() {
		if v.Barcode != volume {
			blank = v.Barcode
		}
	}
	id, err := w.fs.StartJob(JobVerifyFormat, []string{blank})
	if err != nil {
		t.Fatal(err)
	}
	w.fs.jobs.mu.Lock()
	j := w.fs.jobs.m[id]
	w.fs.jobs.mu.Unlock()
	<-j.finished
	if s := j.status(); s.State != "failed" || len(s.Errors) != 1 || !strings.Contains(s.Errors[0], "does not obey") {
		t.Errorf("a blank volume: %+v", s)
	}
	_, err = w.fs.StartJob(JobVerifyFormat, []string{volume, "everything"})
	wantErr(t, "a word that is none", err, linux.EINVAL)
	_, err = w.fs.StartJob(JobVerifyFormat, []string{"NONE01L9"})
	wantErr(t, "an unknown volume", err, linux.ENOENT)
}

// TestVerifyGolden: the reference implementation's volume has nothing against it.
func TestVerifyGolden(t *testing.T) {
	w := newWorld(t)
	barcode := w.fs.Volumes()[0].Barcode
	w.goldenVolume(barcode)
	s := w.job(JobVerifyFormat, barcode, dataWord)
	if last := s.Notes[len(s.Notes)-1]; !strings.Contains(last, "obeys the LTFS format") {
		t.Errorf("%q", s.Notes)
	}
}
