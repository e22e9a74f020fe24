package backend

import (
	"bytes"
	stderrors "errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/catalog"
)

// damageRecord changes one byte of content on the cartridges' files, where it
// lies as it was written.
func (w *world) damageRecord(content []byte) {
	w.t.Helper()
	found := 0
	err := filepath.WalkDir(w.opts.Dir+"/library", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		i := bytes.Index(b, content)
		if i < 0 {
			return nil
		}
		found++
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt([]byte{b[i] ^ 1}, int64(i))
		return err
	})
	if err != nil || found != 1 {
		w.t.Fatalf("the content is in %d files of the library, %v", found, err)
	}
}

// What is on tape is not what was written: the drive may notice, or not. A reader
// gets EIO, never the wrong bytes, and a write that would merge with them gets EIO
// too. Once the right bytes are there, they are read.
func TestDamagedOnTape(t *testing.T) {
	content := pattern(1, 3*mib)
	cases := map[string]struct{ harm, heal func(*world) }{
		"byte on the medium": {
			func(w *world) { w.damageRecord(content[mib+1000 : mib+1100]) },
			func(w *world) {
				bad := bytes.Clone(content[mib+1000 : mib+1100])
				bad[0] ^= 1
				w.damageRecord(bad)
			},
		},
		"another sum": {
			func(w *world) { w.changeRecord("f", 1, func(r *catalog.SliverRec) { r.Sum++ }) },
			func(w *world) { w.changeRecord("f", 1, func(r *catalog.SliverRec) { r.Sum-- }) },
		},
		"record is shorter": { // the last one: the extent goes on where the tape's record ends
			func(w *world) {
				w.changeRecord("f", 1, func(r *catalog.SliverRec) { r.Copies[0].Pieces[0].Len -= 100 })
			},
			func(w *world) {
				w.changeRecord("f", 1, func(r *catalog.SliverRec) { r.Copies[0].Pieces[0].Len += 100 })
			},
		},
		"record is another": {
			func(w *world) { w.changeRecord("f", 1, func(r *catalog.SliverRec) { r.Copies[0].Pieces[0].Block++ }) },
			func(w *world) { w.changeRecord("f", 1, func(r *catalog.SliverRec) { r.Copies[0].Pieces[0].Block-- }) },
		},
		"record is past the end of data": {
			func(w *world) {
				w.changeRecord("f", 1, func(r *catalog.SliverRec) { r.Copies[0].Pieces[0].Block += 1000 })
			},
			func(w *world) {
				w.changeRecord("f", 1, func(r *catalog.SliverRec) { r.Copies[0].Pieces[0].Block -= 1000 })
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, oneDrive)
			w.archived("f", content)
			w.relaunch(c.harm)
			f, done := w.openFile("f")
			rd := w.readReq(f, mib, mib).mustPark()
			wr := w.writeReq(f, mib+500, pattern(2, 2000)).mustPark()
			if _, err := rd.read(); !stderrors.Is(err, linux.EIO) {
				t.Errorf("the read gets %v", err)
			}
			if _, err := wr.wrote(); !stderrors.Is(err, linux.EIO) {
				t.Errorf("the write gets %v", err)
			}
			if es := w.fs.Queue().Errors; len(es) == 0 || es[0].Volume == "" || es[0].Drive == "" || es[0].Position == "" {
				t.Errorf("the queue shows %+v", es)
			}
			// The neighbours are as good as ever, and a write over all needs no tape.
			if !bytes.Equal(w.read(f, 0, mib), content[:mib]) || !bytes.Equal(w.read(f, 2*mib, mib), content[2*mib:]) {
				t.Error("the neighbours differ")
			}
			w.quiet()
			done()
			w.job(JobEvict, "/")
			w.relaunch(c.heal)
			w.wantContent("f", content)
		})
	}
}

// relaunch makes a change behind the archive's back: what it has in memory goes
// with a restart.
func (w *world) relaunch(change func(*world)) {
	w.t.Helper()
	change(w)
	w.restart()
}

// changeRecord changes the catalog's record of a sliver.
func (w *world) changeRecord(path string, no int, fn func(*catalog.SliverRec)) {
	w.t.Helper()
	n := w.node(path).(*node)
	defer n.Release()
	err := w.fs.cat.Update(func(tx *catalog.Tx) error {
		b, err := tx.Bmap(n.ino.id, 0)
		if err != nil {
			return err
		}
		fn(&b.Slivers[no])
		return tx.PutBmap(n.ino.id, 0, b)
	})
	if err != nil {
		w.t.Fatal(err)
	}
}
