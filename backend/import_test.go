package backend

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/md5"
	"encoding/hex"
	stderrors "errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// cartridge lends the cartridge with a barcode, in a drive, to fn. The archive must be closed.
func (w *world) cartridge(barcode string, fn func(context.Context, tape.Drive)) {
	w.t.Helper()
	ctx := context.Background()
	l := w.lib.Tape()
	elements, err := l.Changer.Inventory(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	var from, to uint16
	for _, e := range elements {
		switch {
		case e.Full && string(e.Volume) == barcode:
			from = e.Address
		case e.Kind == tape.DriveElement && e.Drive == l.Drives[0].Serial():
			to = e.Address
		}
	}
	d := l.Drives[0]
	steps := []func() error{
		func() error { return l.Changer.Move(ctx, from, to) },
		func() error { return d.Load(ctx) },
		func() error { fn(ctx, d); return nil },
		func() error { return d.Unload(ctx) },
		func() error { return l.Changer.Move(ctx, to, from) },
	}
	for _, s := range steps {
		if err := s(); err != nil {
			w.t.Fatalf("%+v", err)
		}
	}
}

// foreign makes a volume as another program would. The archive is closed meanwhile.
func (w *world) foreign(barcode string, blockSize int, fill func(context.Context, *ltfs.Volume)) {
	w.t.Helper()
	w.foreignOpen(barcode, blockSize, func(ctx context.Context, lv *ltfs.Volume) {
		fill(ctx, lv)
		if err := lv.Close(ctx); err != nil {
			w.t.Fatalf("%+v", err)
		}
	})
}

// foreignOpen is foreign for a volume that fill closes, or not.
func (w *world) foreignOpen(barcode string, blockSize int, fill func(context.Context, *ltfs.Volume)) {
	w.t.Helper()
	w.close()
	w.cartridge(barcode, func(ctx context.Context, d tape.Drive) {
		err := ltfs.Format(ctx, d, ltfs.FormatOptions{Barcode: tape.Barcode(barcode), BlockSize: blockSize, Creator: "another program"})
		if err != nil {
			w.t.Fatalf("%+v", err)
		}
		lv, err := ltfs.Mount(ctx, d, ltfs.MountOptions{Creator: "another program"})
		if err != nil {
			w.t.Fatalf("%+v", err)
		}
		fill(ctx, lv)
	})
	w.open()
}

// fingerprint hashes all that is on the cartridges.
func (w *world) fingerprint(barcode string) string {
	w.t.Helper()
	h := md5.New()
	err := filepath.Walk(filepath.Join(w.opts.Dir, "library"), func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() || !strings.Contains(path, barcode) || filepath.Base(path) == "memory" {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintf(h, "%s %x\n", path, md5.Sum(b))
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// goldenVolume puts the reference implementation's volume on a cartridge.
func (w *world) goldenVolume(barcode string) {
	w.t.Helper()
	f, err := os.Open("../tape/ltfs/testdata/volume.tar.gz")
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		w.t.Fatal(err)
	}
	blocks := [2]map[int][]byte{{}, {}}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		data, rerr := io.ReadAll(r)
		if err != nil || rerr != nil {
			w.t.Fatal(err, rerr)
		}
		var p, n int
		var kind string
		if c, _ := fmt.Sscanf(strings.TrimPrefix(h.Name, "./"), "%d_%d_%1s", &p, &n, &kind); c != 3 || kind == "E" {
			continue
		}
		if blocks[p][n] = nil; kind == "R" {
			blocks[p][n] = data
		}
	}
	w.close()
	w.cartridge(barcode, func(ctx context.Context, d tape.Drive) {
		if err := d.Format(ctx, 2); err != nil {
			w.t.Fatal(err)
		}
		for p := range blocks {
			if err := d.Locate(ctx, tape.Position{Partition: tape.Partition(p)}); err != nil {
				w.t.Fatal(err)
			}
			for n := range len(blocks[p]) {
				var err error
				if rec := blocks[p][n]; rec != nil {
					err = d.WriteBlock(ctx, rec)
				} else {
					err = d.WriteFilemarks(ctx, 1)
				}
				if err != nil {
					w.t.Fatal(err)
				}
			}
		}
	})
	w.open()
}

// importError runs an import that is refused, and says why.
func (w *world) importError(args ...string) string {
	w.t.Helper()
	id, err := w.fs.StartJob(JobImport, args)
	if err != nil {
		if errno := linux.Errno(0); !stderrors.As(err, &errno) {
			w.t.Errorf("import %v: the refusal has no errno: the server would call it a fault of its own: %v", args, err)
		}
		return err.Error()
	}
	w.fs.jobs.mu.Lock()
	j := w.fs.jobs.m[id]
	w.fs.jobs.mu.Unlock()
	<-j.finished
	s := j.status()
	if s.State == "done" {
		w.t.Fatalf("import %v was not refused", args)
	}
	return strings.Join(s.Errors, "; ")
}

func (w *world) stat(path string) p9.Attr {
	w.t.Helper()
	n := w.node(path)
	defer n.Release()
	a, err := n.Getattr(rootCred)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) xattrOf(path, name string) string {
	w.t.Helper()
	n := w.node(path)
	defer n.Release()
	v, err := n.Xattr(rootCred, name)
	if err != nil {
		w.t.Fatalf("%s: %s: %v", path, name, err)
	}
	return string(v)
}

// counts is the number of records of each kind that imports make.
func (w *world) counts() string {
	w.t.Helper()
	inodes, jobs := 0, 0
	var files uint64
	err := w.fs.cat.View(func(tx *catalog.Tx) (err error) {
		if err := tx.Inodes(0, func(catalog.Inode) bool { inodes++; return true }); err != nil {
			return err
		}
		if err := tx.Jobs(func(catalog.Job) bool { jobs++; return true }); err != nil {
			return err
		}
		files, err = tx.Counter(catalog.CounterFiles)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprintf("%d inodes, %d jobs, %d files counted, %d in memory", inodes, jobs, files, w.fs.files.Load())
}

const foreignBarcode = "A00001L9"

var goldenSums = map[string]string{
	"hello.txt":              "28b76cca262c65a4e541b36a44019916",
	"dir/a:b%c":              "9dd4e461268c8034f5c8564e155c67a6",
	"dir/five-thousand.bin":  "48a29bb422cbbe41ed791644688c14e0",
	"dir/sub dir/ümläut.txt": "",
	"empty":                  "d41d8cd98f00b204e9800998ecf8427e",
	"sparse":                 "ceaf45fe4f8bddb37eb3e615e374e448",
	"two-blocks.bin":         "350112fac7f22527d78308b5449d1f01",
}

// The volume of the reference implementation: seen, read, evicted, read again, and
// never written.
func TestImportGolden(t *testing.T) {
	w := newWorld(t)
	w.goldenVolume(foreignBarcode)
	before := w.fingerprint(foreignBarcode)
	if s := w.job(JobImport, foreignBarcode, "/golden", "uid=7", "gid=8", "mode=640"); s.Files != 11 || s.FilesDone != 11 || len(s.Notes) != 1 {
		t.Errorf("%+v", s)
	}
	check := func() {
		t.Helper()
		for path, sum := range goldenSums {
			got := md5.Sum(w.content("golden/" + path))
			if sum != "" && hex.EncodeToString(got[:]) != sum {
				t.Errorf("%s: MD5 %x, want %s", path, got, sum)
			}
		}
	}
	for _, name := range []string{"hello.txt", "sparse", "empty"} {
		if got := w.state("golden/" + name); got != "migrated" {
			t.Errorf("%s is %s", name, got)
		}
	}
	if got := w.xattrOf("golden/hello.txt", "user.sliod.checksum"); got != "" {
		t.Errorf("checksums before the first recall: %s", got)
	}
	check()
	if got := w.xattrOf("golden/hello.txt", "user.sliod.checksum"); !strings.HasPrefix(got, "0:") {
		t.Errorf("no checksum after the first recall: %q", got)
	}
	if a := w.stat("golden/dir/five-thousand.bin"); a.Mode != 0o100440 || a.UID != 7 || a.GID != 8 || a.Size != 5000 || a.NLink != 1 {
		t.Errorf("%+v", a)
	}
	if a := w.stat("golden/dir"); a.Mode != 0o040755 || a.NLink != 3 {
		t.Errorf("%+v", a)
	}
	if got := w.xattrOf("golden/hello.txt", "user.note") + w.xattrOf("golden/hello.txt", "user.binary"); got != "plain text\x00\x01\x02\x03\x04\x05\x06\a\b\t\n\v\f\r\x0e\x0f" {
		t.Errorf("xattrs %q", got)
	}
	n := w.node("golden/dir/link")
	if target, err := n.Readlink(rootCred); target != "../hello.txt" || err != nil {
		t.Errorf("%q %v", target, err)
	}
	n.Release()
	w.job(JobArchive, "/")
	w.job(JobEvict, "/")
	w.restart()
	if got := w.state("golden/two-blocks.bin"); got != "migrated" {
		t.Errorf("two-blocks.bin is %s after evict", got)
	}
	w.job(JobRecall, "/golden")
	if got := w.state("golden/two-blocks.bin"); got != "premigrated" {
		t.Errorf("two-blocks.bin is %s after recall", got)
	}
	check()
	for _, v := range w.fs.Volumes() {
		if v.Barcode == foreignBarcode && (v.State != "read-only" || !v.Imported || v.UUID == "") {
			t.Errorf("%+v", v)
		}
		if v.Barcode != foreignBarcode && v.UsedBytes != 0 { // one has the index with the attributes of "/"
			t.Errorf("content came to another volume: %+v", v)
		}
	}
	if got := w.importError(foreignBarcode, "/again"); !strings.Contains(got, "imported already") {
		t.Error(got)
	}
	// The tree forgets; the volume stays as it is, and may come again.
	w.removeTree("golden")
	w.job(JobArchive, "/")
	w.job(JobImport, foreignBarcode, "/again")
	w.restart()
	if got := md5.Sum(w.content("again/sparse")); hex.EncodeToString(got[:]) != goldenSums["sparse"] {
		t.Error("sparse differs after it was imported again")
	}
	w.close()
	if after := w.fingerprint(foreignBarcode); after != before {
		t.Error("the foreign volume was written")
	}
	w.open()
}

// remove removes a tree.
func (w *world) removeTree(path string) {
	w.t.Helper()
	n := w.node(path)
	f, err := n.Open(rootCred, 0)
	if err == nil {
		var names []p9.Dirent
		if a := w.stat(path); a.Mode.IsDir() {
			err = f.Readdir(0, func(e p9.Dirent) bool { names = append(names, e); return true })
			for _, e := range names {
				if e.Name != "." && e.Name != ".." {
					w.removeTree(path + "/" + e.Name)
				}
			}
		}
		f.Close()
	} else if a := w.stat(path); a.Mode&p9.ModeSymlink == p9.ModeSymlink {
		err = nil
	}
	if err == nil {
		err = n.Remove(rootCred)
	}
	n.Release()
	if err != nil {
		w.t.Fatalf("%s: %v", path, err)
	}
}

func TestImportRefused(t *testing.T) {
	w := newWorld(t)
	w.foreign(foreignBarcode, 0, func(_ context.Context, lv *ltfs.Volume) {
		if _, err := lv.Index().Mkdir("d/e", ltfs.Time{}); err != nil {
			t.Fatal(err)
		}
	})
	w.foreign("A00003L9", 65536, func(ctx context.Context, lv *ltfs.Volume) {
		e, err := lv.Append(ctx, []byte("broken"))
		if err == nil {
			e[0].StartBlock = 2
			err = lv.Index().Put("a/bad", &ltfs.File{Length: 6, Extents: e})
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	w.close()
	w.cartridge("A00004L9", func(ctx context.Context, d tape.Drive) {
		if err := d.WriteBlock(ctx, []byte("a tar archive, say")); err != nil {
			t.Fatal(err)
		}
	})
	w.open()
	w.foreignOpen("A00005L9", 0, func(ctx context.Context, lv *ltfs.Volume) {
		if _, err := lv.Append(ctx, []byte("behind the index")); err != nil {
			t.Fatal(err)
		}
		if err := lv.Index().Put("f", &ltfs.File{}); err != nil {
			t.Fatal(err)
		}
		if err := lv.WriteIndex(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := lv.Append(ctx, []byte("behind the index")); err == nil {
			err = lv.Flush(ctx)
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	w.put("file", []byte("x"))
	mkdir := func(name string) {
		if _, err := w.root.Mkdir(rootCred, name, 0o700, 0); err != nil {
			t.Fatal(err)
		}
	}
	mkdir("full")
	mkdir("empty")
	n, f, err := w.node("full").Create(rootCred, "inside", openReadWrite, 0o600, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	n.Release()
	w.job(JobArchive, "/")
	own := w.ownVolume()
	before := w.counts()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"NOSUCH"}, "there is no volume NOSUCH"},
		{[]string{foreignBarcode, "/"}, "cannot take the place of the root"},
		{[]string{foreignBarcode, "/file"}, "not an empty directory"},
		{[]string{foreignBarcode, "/full"}, "not an empty directory"},
		{[]string{foreignBarcode, "/no/such/place"}, "/no/such/"},
		{[]string{foreignBarcode, "/file/x"}, "not a directory"},
		{[]string{foreignBarcode, "/x", "mode=999"}, "base 8"},
		{[]string{foreignBarcode, "/x", "colour=red"}, "the keys are"},
		{[]string{foreignBarcode, "/" + strings.Repeat("n", 256)}, "name too long"},
		{[]string{own, "/x"}, "of this very archive"},
		{[]string{"A00008L9"}, "is blank"},
		{[]string{"A00004L9"}, "holds no LTFS volume"},
		{[]string{"A00003L9"}, `"/a/bad"`},
		{[]string{"A00005L9"}, "inconsistent"},
		{[]string{"A00005L9", "grow=yes"}, "must be repaired"},
	} {
		if got := w.importError(c.args...); !strings.Contains(got, c.want) {
			t.Errorf("%v: %q lacks %q", c.args, got, c.want)
		}
		if after := w.counts(); after != before {
			t.Errorf("%v: %s, there were %s", c.args, after, before)
		}
	}
	// With --as-is what can be read is.
	if s := w.job(JobImport, "A00003L9", "as-is=yes"); len(s.Notes) != 2 {
		t.Errorf("%+v", s)
	}
	bad, done := w.openFile("A00003L9/a/bad")
	if _, err := readOnce(bad, 0, 10); err == nil {
		t.Error("a broken extent was read")
	}
	done()
	w.job(JobImport, "A00005L9", "as-is=yes")
	if a := w.stat("A00005L9/f"); a.Size != 0 {
		t.Errorf("%+v", a)
	}
	// An empty directory is taken, with its owner and mode.
	w.job(JobImport, foreignBarcode, "/empty")
	if a := w.stat("empty"); a.Mode != 0o040700 || a.NLink != 3 {
		t.Errorf("%+v", a)
	}
	if a := w.stat("empty/d/e"); a.Mode != 0o040755 || a.NLink != 2 {
		t.Errorf("%+v", a)
	}
	w.restart()
	w.node("empty/d").Release()
}

// TestImportChangesItsDirectory: the directory that gets the imported tree has new attributes, which go to tape.
func TestImportChangesItsDirectory(t *testing.T) {
	w := newWorld(t)
	w.foreign(foreignBarcode, 0, func(_ context.Context, lv *ltfs.Volume) {
		if _, err := lv.Index().Mkdir("d/e", ltfs.Time{}); err != nil {
			t.Fatal(err)
		}
	})
	w.put("f", []byte("has a volume made"))
	w.job(JobArchive, "/")
	root := w.root.(*node).ino
	w.fs.archive([]sliver.FileID{root.id}, func(sliver.FileID, error) {})
	eventually(t, "the root's attributes are on tape", func() bool { return !w.fs.pending.has(root.id) })
	w.job(JobImport, foreignBarcode, "/in")
	if !w.fs.pending.has(root.id) || !w.catalogPending(root.id) {
		t.Error("the attributes of the directory are not going to be archived")
	}
}
