package backend

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/tape/virtual"
)

// volumeInfo returns what `sliod volumes` shows of a volume.
func (w *world) volumeInfo(barcode string) VolumeInfo {
	w.t.Helper()
	all := w.fs.Volumes()
	i := slices.IndexFunc(all, func(v VolumeInfo) bool { return v.Barcode == barcode })
	if i < 0 {
		w.t.Fatalf("there is no volume %s", barcode)
	}
	return all[i]
}

func (w *world) verifiedXattr(path string) string {
	w.t.Helper()
	return w.xattrOf(path, "user.sliod.verified")
}

func TestVerifyVolume(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.archived(fmt.Sprintf("f%d", i), pattern(i, 2<<20+i))
	}
	volume := w.ownVolume()
	if got := w.verifiedXattr("f1"); got != "never" || !w.volumeInfo(volume).VerifiedAt.IsZero() {
		t.Errorf("before: %q, %+v", got, w.volumeInfo(volume))
	}
	before := time.Now().Add(-time.Second)
	s := w.job(JobVerify, "volume="+volume)
	if s.Bytes != 5*(2<<20)+10 || s.BytesDone != s.Bytes || !slices.Equal(s.Notes, []string{volume + ": 14 copies are good, 0 are bad"}) {
		t.Errorf("%+v", s)
	}
	if w.state("f0") != string(Migrated) {
		t.Error("verifying brought content into the cache")
	}
	w.restart()
	at, err := time.Parse(time.RFC3339, w.verifiedXattr("f1"))
	if v := w.volumeInfo(volume).VerifiedAt; err != nil || at.Before(before) || v.Before(before) || v.After(time.Now()) {
		t.Errorf("verified at %v (volume: %v), %v", at, v, err)
	}
	// What comes behind was never verified.
	w.archived("late", pattern(9, 1000))
	if got := w.verifiedXattr("late"); got != "never" {
		t.Errorf("a file that is newer: %q", got)
	}
	w.archived("f1", pattern(1, 2<<20+1))

	// A bad copy is told and remembered.
	b, at1, _ := w.placeOf("/f2", 1)
	w.lib.SetUnreadable(b, at1, true)
	logged := w.logged()
	s = w.ends(JobVerify)
	if s.State != "failed" || s.Failed < 1 || !strings.Contains(fmt.Sprint(s.Errors), "/f2, sliver 1, the copy on "+volume) {
		t.Errorf("%+v", s)
	}
	if !logged.has("a copy cannot be read") {
		t.Error("it is not said in the log")
	}
	w.restart()
	if got := w.verifiedXattr("f2"); !strings.HasPrefix(got, "failed: ") || w.volumeInfo(volume).BadCopies != int(s.Failed) {
		t.Errorf("%q, %+v, job %+v", got, w.volumeInfo(volume), s)
	}
	// Readable again, it is good again.
	w.lib.SetUnreadable(b, at1, false)
	s = w.job(JobVerify, "/f2")
	if got := w.verifiedXattr("f2"); strings.HasPrefix(got, "failed") || s.Files != 1 || s.FilesDone != 1 {
		t.Errorf("%q, %+v", got, s)
	}
	w.job(JobVerify, "volume="+volume)
	if v := w.volumeInfo(volume); v.BadCopies != 0 {
		t.Errorf("%+v", v)
	}
	for _, bad := range [][]string{{"volume=NONE"}, {"/none"}} {
		if _, err := w.fs.StartJob(JobVerify, bad); err == nil {
			t.Errorf("verify %v began", bad)
		}
	}
}

func TestVerifyPaths(t *testing.T) {
	w := newWorld(t)
	for i := range 3 {
		w.archived(fmt.Sprintf("f%d", i), pattern(i, 1<<20+5))
	}
	w.put("cached", pattern(7, 100))
	s := w.job(JobVerify, "/f0", "/f1", "/cached")
	if s.Files != 3 || s.FilesDone != 3 || s.Bytes != 2*(1<<20+5) || s.BytesDone != s.Bytes || !slices.Equal(s.Paths, []string{"/f0", "/f1", "/cached"}) {
		t.Errorf("%+v", s)
	}
	for path, never := range map[string]bool{"f0": false, "f1": false, "f2": true, "cached": true} {
		if got := w.verifiedXattr(path); (got == "never") != never {
			t.Errorf("%s: %q", path, got)
		}
	}
	// New content was not verified.
	f, done := w.openFile("f0")
	w.write(f, 0, []byte("new"))
	done()
	w.job(JobArchive, "/")
	if got := w.verifiedXattr("f0"); got != "never" {
		t.Errorf("f0 with new content: %q", got)
	}
	w.job(JobVerify, "volume="+w.ownVolume(), "/")
	if got := w.verifiedXattr("f2"); got != "never" { // perhaps not all of its copies
		t.Errorf("f2, verified on one volume: %q", got)
	}
}

// TestScrubResumes stops a pass in the middle, by an operator who wants the turn and by a
// restart, and looks that it goes on where it was and that each copy is read once.
func TestScrubResumes(t *testing.T) {
	w := newWorld(t, func(o *Options, c *virtual.Config) { o.VerifyEvery, c.ImportExport = 1000*time.Hour, 2 })
	for i := range 6 {
		w.archived(fmt.Sprintf("f%d", i), pattern(i, 1<<20))
	}
	volume := w.ownVolume()
	ctx := context.Background()
	now := time.Now()
	tried := map[catalog.VolumeNo]time.Time{}
	if v, err := w.fs.dueVolume(now, tried); v != nil || err != nil {
		t.Errorf("due: %+v, %v", v, err)
	}
	late := now.Add(1001 * time.Hour)
	v, err := w.fs.dueVolume(late, tried)
	if err != nil || v == nil || v.Barcode != volume {
		t.Fatalf("due: %+v, %v", v, err)
	}
	n := 0
	p := pass{fs: w.fs, vol: *v, look: func(*mover.Check, error) { n++ }, stop: func() bool { return n == 2 }}
	if err := p.run(ctx, false); err != errPassStopped || n != 2 {
		t.Fatalf("%d copies: %v", n, err)
	}
	w.restart()
	if i := w.volumeInfo(volume); i.VerifyingSince.IsZero() || !i.VerifiedAt.IsZero() {
		t.Errorf("%+v", i)
	}
	if w.verifiedXattr("f0") == "never" || w.verifiedXattr("f5") != "never" {
		t.Errorf("f0: %s, f5: %s", w.verifiedXattr("f0"), w.verifiedXattr("f5"))
	}
	read := w.fs.mover.Status().Stats.Verified
	// A pass that was begun is due.
	w.fs.scrubDue(ctx, now, tried)
	if got := w.fs.mover.Status().Stats.Verified - read; got != 5 { // the second one again
		t.Errorf("%d copies were read", got)
	}
	if i := w.volumeInfo(volume); !i.VerifyingSince.IsZero() || i.VerifiedAt.IsZero() || w.verifiedXattr("f5") == "never" {
		t.Errorf("%+v", i)
	}
	// Nothing is due now, and again after its time.
	if v, err := w.fs.dueVolume(now.Add(999*time.Hour), tried); v != nil || err != nil {
		t.Errorf("due: %+v, %v", v, err)
	}
	// A volume that is not there is passed over.
	w.job(JobVolumesExport, volume)
	if v, err := w.fs.dueVolume(late, tried); v != nil || err != nil {
		t.Errorf("due: %+v, %v", v, err)
	}
	if s := w.ends(JobVerify, "volume="+volume); s.State != "failed" {
		t.Errorf("verify of a volume that is away: %+v", s)
	}
}

func TestPassTurn(t *testing.T) {
	p := newPassTurn()
	if !p.try() || p.try() {
		t.Fatal("the turn is had twice, or never")
	}
	got := make(chan error, 2)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { got <- p.take(ctx) }()
	eventually(t, "the turn is wanted", func() bool { return len(p.wanted) > 0 })
	cancel()
	if err := <-got; err == nil {
		t.Error("a cancelled wait got the turn")
	}
	p.give()
	if !p.try() || len(p.wanted) != 0 {
		t.Error("the turn is wanted by nobody")
	}
	go func() { got <- p.take(t.Context()) }()
	eventually(t, "the turn is wanted", func() bool { return len(p.wanted) > 0 })
	p.give()
	if err := <-got; err != nil || len(p.wanted) != 0 {
		t.Error(err)
	}
}

// TestCopiesOn has windows of all sizes over what is on a volume.
func TestCopiesOn(t *testing.T) {
	w := newWorld(t)
	for i := range 7 {
		w.put(fmt.Sprintf("f%d", i), pattern(i, 300_000*(i+1)))
	}
	w.job(JobArchive, "/")
	if err := w.root.UnlinkAt(rootCred, "f3", 0); err != nil {
		t.Fatal(err)
	}
	v, err := w.fs.volume(w.ownVolume())
	if err != nil {
		t.Fatal(err)
	}
	all, bytes, err := w.fs.copiesOn(t.Context(), v.No, place{}, 1000)
	if err != nil || len(all) != 10 || bytes != v.Used-4*300_000 {
		t.Fatalf("%d copies, %d bytes of %d: %v", len(all), bytes, v.Used, err)
	}
	for limit := 1; limit <= 10; limit++ {
		var got []copyAt
		for from := (place{}); ; {
			list, _, err := w.fs.copiesOn(t.Context(), v.No, from, limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(list) == 0 {
				break
			}
			got = append(got, list...)
			from = list[len(list)-1].at
			from.offset++
		}
		if !slices.Equal(got, all) {
			t.Errorf("in windows of %d: %v, not %v", limit, got, all)
		}
	}
	checks, err := w.fs.checksOf(v.No, all)
	if err != nil || len(checks) != len(all) {
		t.Errorf("%d checks: %v", len(checks), err)
	}
}
