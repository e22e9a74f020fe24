package backend

import (
	"context"
	stderrors "errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/backend/sliver"
	"sliod/tape"
)

// volumeArg begins an argument of a verify job that names a volume; all others are paths.
const volumeArg = "volume="

func init() {
	volumeJobs[JobVerify] = volumeJob{checkVerify, runVerify}
}

// splitVerify takes the arguments of a verify job apart.
func splitVerify(args []string) (volumes, paths []string) {
	for _, a := range args {
		if b, ok := strings.CutPrefix(a, volumeArg); ok {
			volumes = append(volumes, b)
		} else {
			paths = append(paths, a)
		}
	}
	return volumes, paths
}

func checkVerify(fs *FS, args []string) ([]string, error) {
	volumes, paths := splitVerify(args)
	for _, p := range paths {
		n, err := fs.Attach(rootCred, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		n.Release()
	}
	return checkKnown(fs, volumes)
}

// runVerify verifies what is at some paths, or volumes as a whole: those that are named, or all.
func runVerify(ctx context.Context, j *job, args []string) error {
	volumes, paths := splitVerify(args)
	if len(paths) > 0 {
		return j.verifyPaths(ctx, volumes, paths)
	}
	if len(volumes) == 0 {
		var err error
		if volumes, err = j.allVolumes(); err != nil {
			return err
		}
	}
	if len(volumes) == 0 {
		j.note("nothing that could be verified is on tape")
	}
	for _, b := range volumes {
		j.volumeDone(b, j.verifyVolume(ctx, b))
	}
	return nil
}

// allVolumes returns the volumes that can hold data, and notes those that are not there.
func (j *job) allVolumes() (volumes []string, err error) {
	st := j.fs.mover.Status().Volumes
	err = j.fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Volumes(func(v catalog.Volume) bool {
			if v.UUID == "" || v.State == catalog.VolScratch {
				return true
			}
			i := slices.IndexFunc(st, func(s mover.VolumeStatus) bool { return string(s.Barcode) == v.Barcode })
			if i >= 0 && st[i].Readable {
				volumes = append(volumes, v.Barcode)
			} else {
				j.note("%s is not verified: it cannot be fetched", v.Barcode)
			}
			return true
		})
	})
	return volumes, err
}

// verifyVolume goes over a whole volume.
func (j *job) verifyVolume(ctx context.Context, b string) error {
	fs := j.fs
	v, err := fs.volume(b)
	if err != nil {
		return err
	}
	if v.UUID == "" {
		return refusef(linux.EINVAL, "it holds nothing of this archive: there is nothing to verify")
	}
	j.step("waiting for another verification, before that of %s", b)
	if err := fs.passes.take(ctx); err != nil {
		return err
	}
	defer fs.passes.give()
	j.step("verifying %s", b)
	var good, bad int64
	p := pass{fs: fs, vol: v, look: func(c *mover.Check, err error) {
		if err == nil {
			good++
		} else {
			bad++
		}
		j.looked(b, c, err)
	}, found: func(bytes int64) {
		j.mu.Lock()
		j.Bytes += bytes
		j.mu.Unlock()
	}}
	if err := p.run(ctx, true); err != nil {
		now, gone := fs.volume(b)
		if gone == nil && (now.UUID != v.UUID || now.State == catalog.VolScratch) {
			j.note("%s was emptied while it was verified: nothing is on it any longer", b)
			return nil
		}
		return err
	}
	j.note("%s: %d copies are good, %d are bad", b, good, bad)
	return nil
}

// looked counts a copy that was looked at.
func (j *job) looked(b string, c *mover.Check, bad error) {
	j.moved(int64(c.ArchLen))
	if bad == nil {
		return
	}
	path := fmt.Sprintf("file %d", c.Key.File)
	if paths, err := j.fs.paths(c.Key.File); err == nil && len(paths) > 0 {
		path = "/" + paths[0]
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.Failed++
	if len(j.Errors) < keptJobErrors {
		j.Errors = append(j.Errors, fmt.Sprintf("%s, sliver %d, the copy on %s: %v", path, c.Key.No, b, bad))
	}
}

// verifyFile is a file that a job verifies by itself.
type verifyFile struct {
	begun  catalog.Time
	left   int // copies that were not looked at
	bad    int
	copies uint64
	newest sliver.Version
}

// verifyWindow is the copies that are verified together, volume by volume, in the order of the tape.
type verifyWindow struct {
	j       *job
	only    map[catalog.VolumeNo]bool // nil: all volumes
	volumes map[catalog.VolumeNo][]copyAt
	files   map[sliver.FileID]*verifyFile
	n       int
	none    int // files without such copies, of all windows
}

// verifyPaths verifies all copies of what is at some paths, or those on some volumes.
func (j *job) verifyPaths(ctx context.Context, volumes, paths []string) error {
	fs := j.fs
	w := &verifyWindow{j: j}
	j.mu.Lock()
	j.Paths = paths
	j.mu.Unlock()
	for _, b := range volumes {
		v, err := fs.volume(b)
		if err != nil {
			return err
		}
		if w.only == nil {
			w.only = map[catalog.VolumeNo]bool{}
		}
		w.only[v.No] = true
	}
	w.reset()
	for _, p := range paths {
		n, err := fs.Attach(rootCred, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		id := n.(*node).ino.id
		n.Release()
		err = fs.walk(ctx, id, func(ino *inode) error {
			if a := ino.attr(); isFile(&a) {
				return w.add(ctx, ino.id)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := w.flush(ctx); err != nil {
		return err
	}
	if w.none > 0 {
		j.note("%d of these files have nothing on tape there that could be verified", w.none)
	}
	return nil
}

func (w *verifyWindow) reset() {
	w.volumes, w.files, w.n = map[catalog.VolumeNo][]copyAt{}, map[sliver.FileID]*verifyFile{}, 0
}

// add takes the copies of a file in; a window that is full is verified first.
func (w *verifyWindow) add(ctx context.Context, id sliver.FileID) error {
	f := &verifyFile{begun: w.j.fs.now()}
	var bytes int64
	err := w.j.fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Bmaps(id, 0, func(no sliver.BmapNo, b *catalog.Bmap) bool {
			for i := range b.Slivers {
				r := &b.Slivers[i]
				if r.Dirty {
					continue
				}
				for k := range r.Copies {
					pos, offset, ok := r.Copies[k].Place()
					if !ok {
						continue
					}
					f.copies++
					f.newest = max(f.newest, r.Version)
					if v := r.Copies[k].Volume; w.only == nil || w.only[v] {
						w.volumes[v] = append(w.volumes[v], copyAt{sliver.Key{File: id, No: no.First() + sliver.No(i)}, place{pos, offset}})
						f.left++
						bytes += int64(r.ArchLen)
					}
				}
			}
			return true
		})
	})
	if err != nil {
		return err
	}
	w.j.found(bytes)
	if f.left == 0 {
		w.none++
	}
	w.n += f.left
	w.files[id] = f
	if w.only != nil {
		f.copies = 0 // not all are looked at
	}
	if w.n >= copyWindow {
		return w.flush(ctx)
	}
	return nil
}

// flush verifies what is in the window.
func (w *verifyWindow) flush(ctx context.Context) error {
	fs := w.j.fs
	for no, list := range w.volumes {
		slices.SortFunc(list, func(a, b copyAt) int { return a.at.compare(b.at) })
		for len(list) > 0 {
			n := min(len(list), copyBatch)
			if err := w.batch(ctx, no, list[:n]); err != nil {
				if ctx.Err() != nil {
					return err
				}
				var v catalog.Volume
				_ = fs.cat.View(func(tx *catalog.Tx) (err error) { v, err = tx.Volume(no); return err })
				w.j.volumeDone(v.Barcode, err)
				break
			}
			list = list[n:]
		}
	}
	err := w.finish()
	w.reset()
	return err
}

func (w *verifyWindow) batch(ctx context.Context, no catalog.VolumeNo, list []copyAt) error {
	fs := w.j.fs
	var v catalog.Volume
	err := fs.cat.View(func(tx *catalog.Tx) (err error) { v, err = tx.Volume(no); return err })
	if err != nil {
		return err
	}
	w.j.step("verifying on %s", v.Barcode)
	checks, err := fs.checksOf(no, list)
	if err != nil {
		return err
	}
	err = fs.mover.Verify(ctx, tape.Barcode(v.Barcode), v.UUID, checks, func(c *mover.Check, bad error) error {
		if err := fs.verified(c, bad); err != nil {
			return err
		}
		w.j.looked(v.Barcode, c, bad)
		f := w.files[c.Key.File]
		f.left--
		if bad != nil {
			f.bad++
		}
		return nil
	})
	return err
}

// finish counts the files as done, and notes which ones are good.
func (w *verifyWindow) finish() error {
	j := w.j
	j.mu.Lock()
	j.FilesDone += int64(len(w.files))
	j.mu.Unlock()
	return j.fs.cat.Update(func(tx *catalog.Tx) error {
		for id, f := range w.files {
			if f.left > 0 || f.bad > 0 || f.copies == 0 {
				continue
			}
			switch _, err := tx.Inode(id); {
			case stderrors.Is(err, catalog.ErrNotFound):
				continue // gone meanwhile
			case err != nil:
				return err
			}
			if err := tx.PutVerified(&catalog.Verified{File: id, At: f.begun, Version: f.newest, Copies: f.copies}); err != nil {
				return err
			}
		}
		return nil
	})
}
