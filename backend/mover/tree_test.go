package mover

import (
	"bytes"
	stderrors "errors"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pkg/errors"

	"sliod/backend/cache"
	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// tree is a small archive for the tests: the mover's Files and the cache's
// Events, over a real catalog. One lock stands for package backend's inode locks.
type tree struct {
	t     testing.TB
	cat   *catalog.Catalog
	cache *cache.Cache
	m     *Mover
	ahead int   // slivers that Next starts
	to    Place // where archive puts files

	mu       sync.Mutex
	names    map[sliver.FileID][]string
	want     map[sliver.FileID][]byte // what was written
	archived map[sliver.FileID]int    // calls of Archived
	fail     error                    // for Archived
	planned  func(sliver.FileID)      // called once, when a plan has been made
	located  func(sliver.Key)         // called once, when a sliver has been located

	unarchived []sliver.FileID // calls of Unarchived
	bad        []badCopy

	fills   int
	pressed chan struct{}
	ended   chan struct{}
}

func newTree(t testing.TB, cat *catalog.Catalog, c *cache.Cache) *tree {
	return &tree{
		t: t, cat: cat, cache: c, names: map[sliver.FileID][]string{}, want: map[sliver.FileID][]byte{},
		archived: map[sliver.FileID]int{}, pressed: make(chan struct{}, 1), ended: make(chan struct{}),
	}
}

func (tr *tree) Fault(k sliver.Key, seq uint64)    { tr.m.Recall(k, seq) }
func (tr *tree) Unwanted(k sliver.Key, seq uint64) { tr.m.Unwanted(k, seq) }
func (tr *tree) Reclass(k sliver.Key, seq uint64)  { tr.m.Reclass(k, seq) }

// Pressure has what is dirty archived, as package backend does.
func (tr *tree) Pressure() {
	tr.m.Pressure()
	select {
	case tr.pressed <- struct{}{}:
	default:
	}
}

// archiver is a goroutine that archives under pressure.
func (tr *tree) archiver() {
	defer close(tr.ended)
	for range tr.pressed {
		tr.m.Archive(tr.to, tr.cache.DirtyFiles(), nil)
	}
}

func (tr *tree) Merged(k sliver.Key, end int, w *vfs.Waiter, n int) {}

func (tr *tree) rec(k sliver.Key) (r catalog.SliverRec) {
	no, i := k.No.Bmap()
	err := tr.cat.View(func(tx *catalog.Tx) error {
		b, err := tx.Bmap(k.File, no)
		if err == nil {
			r = b.Slivers[i]
		}
		return err
	})
	if err != nil {
		tr.t.Error(err)
	}
	return r
}

func (tr *tree) behind(k sliver.Key) cache.Behind {
	r := tr.rec(k)
	if len(r.Copies) == 0 {
		return cache.Behind{State: sliver.Hole}
	}
	return cache.Behind{State: sliver.Absent, Len: int(r.Len)}
}

func (tr *tree) Locate(k sliver.Key) (Located, error) {
	r := tr.rec(k)
	tr.mu.Lock()
	located := tr.located
	tr.located = nil
	tr.mu.Unlock()
	if located != nil {
		located(k)
	}
	return Located{
		Copies: r.Copies, ArchLen: int(r.ArchLen), ValidLen: int(r.Len), Sum: r.Sum, HasSum: r.HasSum, Version: r.Version,
	}, nil
}

func (tr *tree) Next(k sliver.Key, limit int, class vfs.Class) (ws []Want) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for i := 1; i <= min(limit, tr.ahead); i++ {
		next := keyOf(k.File, k.No+sliver.No(i))
		if b := tr.behind(next); b.State == sliver.Absent {
			if seq, started := tr.cache.Want(next, b, class); started {
				ws = append(ws, Want{next, seq})
			}
		}
	}
	return ws
}

func (tr *tree) Plan(f sliver.FileID) (*Plan, error) {
	tr.mu.Lock()
	names, ok := tr.names[f]
	tr.mu.Unlock()
	if !ok {
		return nil, nil
	}
	p := &Plan{File: f, Names: names, Dirty: tr.cache.DirtySlivers(f)}
	err := tr.cat.View(func(tx *catalog.Tx) (err error) {
		p.Inode, err = tx.Inode(f)
		return err
	})
	p.Target = p.Inode.Target
	p.Slivers = func(v catalog.VolumeNo, fn func(OnTape) bool) error {
		return tr.cat.View(func(tx *catalog.Tx) error {
			return tx.Bmaps(f, 0, func(no sliver.BmapNo, b *catalog.Bmap) bool {
				for i := range b.Slivers {
					r := &b.Slivers[i]
					if r.Hole() {
						continue
					}
					s := OnTape{
						No: no.First() + sliver.No(i), Len: int(r.Len), ArchLen: int(r.ArchLen),
						Version: r.Version, Sum: r.Sum, HasSum: r.HasSum,
					}
					for _, c := range r.Copies {
						if c.Volume == v {
							s.Pieces = c.Pieces
						}
					}
					if !fn(s) {
						return false
					}
				}
				return true
			})
		})
	}
	tr.mu.Lock()
	planned := tr.planned
	tr.planned = nil
	tr.mu.Unlock()
	if planned != nil {
		planned(f)
	}
	return p, err
}

func (tr *tree) Archived(f sliver.FileID, md uint64, done []Done) ([]bool, uint64, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.fail != nil {
		return nil, 0, tr.fail
	}
	tr.archived[f]++
	var now uint64
	err := tr.cat.Update(func(tx *catalog.Tx) error {
		ino, err := tx.Inode(f)
		if err != nil {
			return err
		}
		now = ino.DataVersion
		if ino.DataVersion == md {
			ino.Flags &^= catalog.FlagMetaDirty
		}
		for _, d := range done {
			if !tr.cache.ArchiveIs(keyOf(f, d.No), d.Version) {
				continue
			}
			no, i := d.No.Bmap()
			b, err := tx.Bmap(f, no)
			if err != nil {
				return err
			}
			b.Slivers[i] = catalog.SliverRec{
				Len: uint32(d.Len), ArchLen: uint32(d.Len), Version: d.Version, Sum: d.Sum, HasSum: true,
				Copies: []catalog.Copy{d.Copy},
			}
			if err := tx.PutBmap(f, no, b); err != nil {
				return err
			}
		}
		return tx.PutInode(&ino)
	})
	if err == nil {
		err = tr.cat.Sync()
	}
	if err != nil {
		return nil, 0, err
	}
	kept := make([]bool, len(done))
	for i, d := range done {
		kept[i] = tr.cache.EndArchive(keyOf(f, d.No), d.Version, d.Sum, true)
	}
	return kept, now, nil
}

func (tr *tree) Lacking(f sliver.FileID, o CopyOptions) (lacks []Lack, err error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	err = tr.cat.View(func(tx *catalog.Tx) error {
		var bad error
		err := tx.Bmaps(f, 0, func(no sliver.BmapNo, b *catalog.Bmap) bool {
			for i := range b.Slivers {
				r := &b.Slivers[i]
				l := Lack{No: no.First() + sliver.No(i), Version: r.Version}
				n := 0
				for _, c := range r.Copies {
					v, err := tx.Volume(c.Volume)
					bad = stderrors.Join(bad, err)
					if l.On = append(l.On, c.Volume); catalog.PoolName(v.Pool) == catalog.PoolName(o.Pool) && !slices.Contains(o.Not, c.Volume) {
						n++
					}
				}
				if len(l.On) > 0 && n < max(o.Copies, 1) {
					lacks = append(lacks, l)
				}
			}
			return bad == nil
		})
		return stderrors.Join(err, bad)
	})
	return lacks, err
}

func (tr *tree) Copied(f sliver.FileID, done []Done) ([]bool, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.fail != nil {
		return nil, tr.fail
	}
	kept := make([]bool, len(done))
	err := tr.cat.Update(func(tx *catalog.Tx) error {
		for i, d := range done {
			no, j := d.No.Bmap()
			b, err := tx.Bmap(f, no)
			if err != nil {
				return err
			}
			r := &b.Slivers[j]
			if kept[i] = r.Version == d.Version; !kept[i] {
				continue
			}
			for _, c := range r.Copies {
				if c.Volume == d.Copy.Volume {
					tr.t.Errorf("sliver %d of file %d is on volume %d twice", d.No, f, c.Volume)
				}
			}
			r.Copies = append(r.Copies, d.Copy)
			if err := tx.PutBmap(f, no, b); err != nil {
				return err
			}
		}
		return nil
	})
	return kept, stderrors.Join(err, tr.cat.Sync())
}

// copyErr has files copied and returns the first error.
func (tr *tree) copyErr(o CopyOptions, files ...sliver.FileID) error {
	errs := make(chan error, len(files))
	tr.m.Copy(files, o, func(_ sliver.FileID, err error) { errs <- err })
	var first error
	for range files {
		select {
		case err := <-errs:
			if first == nil {
				first = err
			}
		case <-time.After(patience):
			return errors.Errorf("copy: no answer in %v; mover: %+v", patience, tr.m.Status())
		}
	}
	return first
}

// copies are the volumes of a sliver's copies.
func (tr *tree) copies(k sliver.Key) (vs []catalog.VolumeNo) {
	for _, c := range tr.rec(k).Copies {
		vs = append(vs, c.Volume)
	}
	return vs
}

func (tr *tree) Removed(sliver.FileID) error { return nil }

func (tr *tree) Unarchived(f sliver.FileID) error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.unarchived = append(tr.unarchived, f)
	return nil
}

func (tr *tree) Bad(k sliver.Key, _ sliver.Version, on catalog.VolumeNo, _ error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.bad = append(tr.bad, badCopy{k, on})
}

// badCopy is a call of Bad.
type badCopy struct {
	k  sliver.Key
	on catalog.VolumeNo
}

func (tr *tree) Summed(k sliver.Key, v sliver.Version, sum uint64) error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.cat.Update(func(tx *catalog.Tx) error {
		no, i := k.No.Bmap()
		b, err := tx.Bmap(k.File, no)
		if err != nil || b.Slivers[i].Version != v {
			return err
		}
		b.Slivers[i].Sum, b.Slivers[i].HasSum = sum, true
		return tx.PutBmap(k.File, no, b)
	})
}

func (tr *tree) OnVolume(v catalog.VolumeNo, fn func(sliver.FileID) bool) error {
	tr.mu.Lock()
	files := map[sliver.FileID]bool{}
	for f := range tr.names {
		files[f] = true
	}
	tr.mu.Unlock()
	for f := range files {
		p, err := tr.Plan(f)
		if err != nil {
			return err
		}
		on := false
		if err := p.Slivers(v, func(s OnTape) bool { on = len(s.Pieces) > 0; return !on }); err != nil {
			return err
		}
		if on && !fn(f) {
			return nil
		}
	}
	return nil
}

// create makes a file with a name; mode 0 is a regular file.
func (tr *tree) create(name string, mode uint32) sliver.FileID {
	tr.t.Helper()
	if mode == 0 {
		mode = 0o100644
	}
	var f sliver.FileID
	err := tr.cat.Update(func(tx *catalog.Tx) (err error) {
		if f, err = tx.NextFileID(); err != nil {
			return err
		}
		return tx.PutInode(&catalog.Inode{ID: f, Mode: mode, NLink: 1, DataVersion: 1, Flags: catalog.FlagMetaDirty})
	})
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.mu.Lock()
	tr.names[f] = []string{name}
	tr.mu.Unlock()
	return f
}

type answer struct {
	n   int
	err error
}

type waker chan answer

func (w waker) Wake(n int, err error) { w <- answer{n, err} }

// write writes p at off of f. It waits for faults and space.
func (tr *tree) write(f sliver.FileID, off int, p []byte) error {
	data := p
	for at := off; len(p) > 0; {
		no, in := sliver.At(uint64(at))
		k := keyOf(f, no)
		n := min(len(p), sliver.Size-in)
		ch := make(waker, 1)
		tr.mu.Lock()
		got, err := tr.cache.Write(k, tr.behind(k), in, p[:n], &vfs.Waiter{Waker: ch})
		tr.mu.Unlock()
		if stderrors.Is(err, vfs.ErrParked) {
			a := <-ch
			got, err = a.n, a.err
		}
		if err != nil {
			return err
		}
		p, at = p[got:], at+got
	}
	tr.mu.Lock()
	w := tr.want[f]
	if len(w) < off+len(data) {
		w = append(w, make([]byte, off+len(data)-len(w))...)
	}
	copy(w[off:], data)
	tr.want[f] = w
	size := uint64(len(w))
	tr.mu.Unlock()
	return tr.cat.Update(func(tx *catalog.Tx) error {
		ino, err := tx.Inode(f)
		if err != nil {
			return err
		}
		ino.Size = size
		ino.DataVersion++
		ino.Flags |= catalog.FlagMetaDirty
		return tx.PutInode(&ino)
	})
}

// read reads one sliver, waiting for tape.
func (tr *tree) read(k sliver.Key, n int) ([]byte, error) {
	for {
		ch := make(waker, 1)
		tr.mu.Lock()
		d, err := tr.cache.Read(k, tr.behind(k), 0, n, &vfs.Waiter{Waker: ch})
		tr.mu.Unlock()
		if stderrors.Is(err, vfs.ErrParked) {
			select {
			case a := <-ch:
				if a.err != nil {
					return nil, a.err
				}
				continue
			case <-time.After(patience):
				return nil, errors.Errorf("sliver %v: no answer in %v; mover: %+v", k, patience, tr.m.Status())
			}
		}
		if err != nil {
			return nil, err
		}
		p := append(bytes.Clone(d.Bytes), make([]byte, d.Zeros)...)
		d.Release()
		return p, nil
	}
}

// check reads the whole of f and compares.
func (tr *tree) check(f sliver.FileID) {
	tr.t.Helper()
	tr.mu.Lock()
	want := tr.want[f]
	tr.mu.Unlock()
	for no := sliver.No(0); no < sliver.Count(uint64(len(want))); no++ {
		n := sliver.LenIn(uint64(len(want)), no)
		got, err := tr.read(keyOf(f, no), n)
		if err != nil {
			tr.t.Fatalf("read sliver %d of file %d: %v", no, f, err)
		}
		if !bytes.Equal(got, want[no.Start():][:n]) {
			tr.t.Fatalf("sliver %d of file %d differs", no, f)
		}
	}
}

func (tr *tree) evict(files ...sliver.FileID) {
	tr.t.Helper()
	for _, f := range files {
		tr.mu.Lock()
		_, dirty := tr.cache.EvictFile(f)
		tr.mu.Unlock()
		if dirty > 0 {
			tr.t.Fatalf("%d slivers of file %d are dirty", dirty, f)
		}
	}
}

// archiveErr archives files and returns the first error.
func (tr *tree) archiveErr(files ...sliver.FileID) error { return tr.archiveTo(tr.to, files...) }

func (tr *tree) archiveTo(to Place, files ...sliver.FileID) error {
	errs := make(chan error, len(files))
	tr.m.Archive(to, files, func(_ sliver.FileID, err error) { errs <- err })
	var first error
	for range files {
		select {
		case err := <-errs:
			if first == nil {
				first = err
			}
		case <-tr.m.ctx.Done():
			return errClosed
		case <-time.After(patience):
			return errors.Errorf("archive: no answer in %v; mover: %+v", patience, tr.m.Status())
		}
	}
	return first
}

func (tr *tree) archive(files ...sliver.FileID) {
	tr.t.Helper()
	if err := tr.archiveErr(files...); err != nil {
		tr.t.Fatal(err)
	}
}

// fill makes n files of random content, size bytes each.
func (tr *tree) fill(n, size int) []sliver.FileID {
	tr.t.Helper()
	files := make([]sliver.FileID, n)
	prefix := ""
	if tr.fills++; tr.fills > 1 {
		prefix = fmt.Sprintf("fill%d/", tr.fills)
	}
	rnd := rand.New(rand.NewSource(int64(size)))
	for i := range files {
		files[i] = tr.create(fmt.Sprintf("%sdir%d/file%d", prefix, i%7, i), 0)
		p := make([]byte, size)
		rnd.Read(p)
		if err := tr.write(files[i], 0, p); err != nil {
			tr.t.Fatal(err)
		}
	}
	return files
}

// like takes over what another tree knows: after a restart.
func (tr *tree) like(old *tree) {
	maps.Copy(tr.names, old.names)
	maps.Copy(tr.want, old.want)
	tr.fills = old.fills
}
