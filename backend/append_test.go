package backend

import (
	"testing"

	"sliod/backend/vfs"
	"sliod/tape/scsi"
)

func (w *world) openAppend(path string) (vfs.File, func()) {
	w.t.Helper()
	n := w.node(path)
	f, err := n.Open(rootCred, openWriteOnly|openAppend)
	if err != nil {
		w.t.Fatal(err)
	}
	return f, func() {
		f.Close()
		n.Release()
	}
}

// Appends that wait for the tape do not overwrite one another, whoever sends them,
// and one that is cancelled leaves no mark when it was the only one.
func TestParkedAppends(t *testing.T) {
	w := newWorld(t, oneDrive)
	content := pattern(1, 3000)
	w.archived("log", content)
	f, done := w.openAppend("/log")
	defer done()
	g, done := w.openAppend("/log")
	defer done()

	gate := w.hold(at(scsi.OpRead6, false))
	if p := w.writeReq(f, 0, pattern(2, 50)).mustPark(); !p.cancel() {
		t.Fatal("a parked append cannot be cancelled")
	}
	a, b, c := pattern(3, 300), pattern(4, 400), pattern(5, 100)
	pa := w.writeReq(f, 0, a).mustPark()
	pb := w.writeReq(g, 0, b).mustPark()
	pc := w.writeReq(f, 7, c).mustPark()
	gate.release()
	pa.wantWrote(len(a))
	pb.wantWrote(len(b))
	pc.wantWrote(len(c))
	d := w.writeReq(g, 0, []byte("end"))
	d.wantWrote(3)
	want := append(append(append(append(content, a...), b...), c...), "end"...)
	w.wantContent("log", want)
	w.quiet()
}

// An append after one that could only keep its first bytes begins behind those.
func TestParkedAppendOfFirstBytes(t *testing.T) {
	w := newWorld(t, oneDrive)
	w.archived("log", pattern(1, 3000))
	plain, done := w.openFile("/log")
	defer done()
	f, done := w.openAppend("/log")
	defer done()
	gate := w.hold(at(scsi.OpRead6, false))
	over := w.writeReq(plain, 2900, pattern(6, 200)).mustPark() // overlaps the appends
	a := w.writeReq(f, 0, pattern(2, 2000)).mustPark()
	b := w.writeReq(f, 0, pattern(3, 100)).mustPark()
	gate.release()
	over.wantWrote(200)
	a.wantWrote(vfs.MaxPrefix)
	b.wantWrote(100)
	want := overlay(pattern(1, 3000), 2900, pattern(6, 200))
	want = overlay(want, 3000, pattern(2, 2000)[:vfs.MaxPrefix])
	want = overlay(want, 3000+vfs.MaxPrefix, pattern(3, 100))
	w.wantContent("log", want)
	if a := w.attr("log"); a.Size != 3000+vfs.MaxPrefix+100 {
		t.Errorf("size %d", a.Size)
	}
	w.quiet()
}
