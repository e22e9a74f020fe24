package rebuild

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// Types of a mode, as in stat(2).
const (
	modeType = 0o170000
	modeDir  = 0o040000
	modeFile = 0o100000
	modeLink = 0o120000
)

// noVolume stands in a copy without pieces for the volume that has the sliver, and
// that nobody knows.
const noVolume catalog.VolumeNo = 0

// Options say what to rebuild.
type Options struct {
	Dir     string // state folder: without catalog and cache, or with the catalog of an interrupted rebuild
	Library *tape.Library
	Log     *logrus.Entry
	// Archive is the identity of the archive to rebuild; "": the only one that is found.
	Archive string
	// Cleaning are patterns (path.Match) of the barcodes of cleaning cartridges.
	Cleaning []string
	// Progress is told how far it is, if not nil; never by two goroutines at a time.
	Progress func(Progress)
	// UID and GID own what tells no owner.
	UID, GID uint32
	// Pools have the volumes' pools and keys; nil: nothing is encrypted. Package pool has the
	// implementation.
	Pools interface {
		Of(tape.Barcode) string
		Source(pool string) ltfs.KeySource
	}

	// batch is how many records a transaction has, 0: the default.
	batch int
	// stop is called before each transaction; an error ends the rebuild there. For tests.
	stop func() error
}

// rebuild is one run.
type rebuild struct {
	o    Options
	log  *logrus.Entry
	cat  *catalog.Catalog
	st   *state
	done map[catalog.VolumeNo]bool // volumes that were read whole

	mu       sync.Mutex // guards st and done while volumes are read, what follows, and calls of o.Progress
	progress Progress
}

// Run rebuilds the catalog in o.Dir from all volumes of the library. It may be
// ended by ctx and called again: then it goes on. Cartridges are back in their slots
// when it returns, if the library lets them go.
//
// It fails if the folder has a catalog that is in use or whole, if no drive works,
// or if the disk does; volumes that cannot be read are in the report instead.
func Run(ctx context.Context, o Options) (_ *Report, err error) {
	if o.batch == 0 {
		o.batch = 1000
	}
	r := &rebuild{o: o, log: o.Log, done: map[catalog.VolumeNo]bool{}}
	dir := filepath.Join(o.Dir, "catalog")
	if err := checkFolder(o.Dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, errors.Wrap(err, "folder of the catalog")
	}
	if r.cat, err = catalog.Open(dir, catalog.Options{Log: o.Log}); err != nil {
		return nil, err
	}
	defer func() {
		if cerr := r.cat.Close(); err == nil {
			err = cerr
		}
	}()
	resumed, err := r.begin()
	if err != nil {
		return nil, err
	}
	// What clients wrote last may be gone with the old catalog: the next run of the archive must not
	// say that it follows the last one.
	if err := os.Remove(filepath.Join(o.Dir, "instance")); err != nil && !os.IsNotExist(err) {
		return nil, errors.Wrap(err, "remove the name of the archive's last run")
	}
	for {
		switch r.st.Step {
		case stepCollect:
			if err = r.collect(ctx); err == nil {
				err = r.choose()
			}
		case stepBuild:
			err = r.build(ctx)
		case stepPlace:
			err = r.place(ctx)
		case stepJoin:
			err = r.join(ctx)
		case stepAdopt:
			err = r.adopt(ctx)
		}
		if err != nil {
			return nil, err
		}
		if r.st.Step == stepAdopt {
			break
		}
		if err := r.nextStep(); err != nil {
			return nil, err
		}
	}
	rep, err := r.report()
	if err != nil {
		return nil, err
	}
	rep.Resumed = resumed
	return rep, r.finish()
}

// checkFolder refuses a state folder with a page cache: it may hold what was never
// on tape.
func checkFolder(dir string) error {
	slots := filepath.Join(dir, "cache", "slots")
	if _, err := os.Stat(slots); err == nil {
		return errors.Errorf("the state folder %s has a page cache, which may hold data that is not on tape yet. If the catalog is whole, start the server instead. To rebuild from tapes alone, move the folders %s and %s away first",
			dir, filepath.Join(dir, "cache"), filepath.Join(dir, "catalog"))
	} else if !os.IsNotExist(err) {
		return errors.Wrap(err, "look for a page cache")
	}
	return nil
}

// begin marks a new catalog as being rebuilt, or finds out where an interrupted
// rebuild was.
func (r *rebuild) begin() (resumed bool, err error) {
	err = r.update(func(tx *catalog.Tx) error {
		var err error
		if r.st, err = loadState(tx); err != nil {
			return err
		}
		if resumed = r.st != nil; resumed {
			return nil
		}
		empty, err := tx.Empty()
		if err != nil {
			return err
		}
		if !empty {
			n, _ := tx.Counter(catalog.CounterFiles)
			return errors.Errorf("the state folder %s has a catalog of %d files: a rebuild is for a folder without one. To serve it, run \"sliod serve\"; to throw it away, move %s away first",
				r.o.Dir, n, filepath.Join(r.o.Dir, "catalog"))
		}
		r.st = &state{Step: stepCollect, Live: map[catalog.VolumeNo]int64{}}
		return r.st.put(tx)
	})
	if err == nil {
		err = r.cat.Sync()
	}
	if err != nil {
		return false, err
	}
	notes, err := r.notes()
	for _, n := range notes {
		if n.State == VolumeRead {
			r.done[n.No] = true
		}
	}
	if resumed {
		if r.st.Step > stepCollect && r.o.Archive != "" && r.o.Archive != r.st.Archive {
			return true, errors.Errorf("the interrupted rebuild is of archive %s: finish it, or move %s away to begin anew with archive %s", r.st.Archive, filepath.Join(r.o.Dir, "catalog"), r.o.Archive)
		}
		r.log.Infof("an interrupted rebuild goes on: %d volumes have been read", len(notes))
	}
	return resumed, err
}

// notes returns the volumes that were looked at.
func (r *rebuild) notes() (notes []volumeNote, err error) {
	var bad error
	err = r.cat.View(func(tx *catalog.Tx) error {
		return tx.Stages([]byte{keyVolume}, nil, func(_, value []byte) bool {
			var n volumeNote
			bad = json.Unmarshal(value, &n)
			notes = append(notes, n)
			return bad == nil
		})
	})
	if err == nil {
		err = errors.Wrap(bad, "the rebuild's record of a volume")
	}
	return notes, err
}

// update is Catalog.Update with the tests' stop before it.
func (r *rebuild) update(fn func(*catalog.Tx) error) error {
	if r.o.stop != nil {
		if err := r.o.stop(); err != nil {
			return err
		}
	}
	return r.cat.Update(fn)
}

// change is update for what changes the state as well: both or neither.
func (r *rebuild) change(fn func(*catalog.Tx, *state) error) error {
	var next *state
	err := r.update(func(tx *catalog.Tx) error {
		var err error
		if next, err = loadState(tx); err != nil {
			return err
		}
		if err := fn(tx, next); err != nil {
			return err
		}
		return next.put(tx)
	})
	if err == nil {
		r.mu.Lock()
		r.st = next
		r.mu.Unlock()
	}
	return err
}

// nextStep ends a step.
func (r *rebuild) nextStep() error {
	notes, err := r.notes()
	if err != nil {
		return err
	}
	err = r.change(func(_ *catalog.Tx, s *state) error {
		if s.Step == stepCollect {
			last := uint64(sliver.RootID)
			for _, n := range notes {
				if n.State == VolumeOther {
					continue
				}
				last = max(last, n.MaxFile)
				s.MaxVersion = max(s.MaxVersion, n.MaxVersion)
			}
			s.NextFile, s.MaxVersion = last+1+gapFiles, s.MaxVersion+gapVersions
		}
		s.Step++
		return nil
	})
	if err != nil {
		return err
	}
	return r.cat.Sync()
}

// say tells how far it is.
func (r *rebuild) say(change func(*Progress)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.progress)
	if r.o.Progress != nil {
		r.o.Progress(r.progress)
	}
}

// report puts the outcome together.
func (r *rebuild) report() (*Report, error) {
	rep := &Report{Totals: r.st.Totals, Archive: r.st.Archive, Missing: r.st.Missing}
	notes, err := r.notes()
	if err != nil {
		return nil, err
	}
	for _, n := range notes {
		rep.Volumes = append(rep.Volumes, n.VolumeReport)
	}
	slices.SortFunc(rep.Volumes, func(a, b VolumeReport) int { return cmp.Compare(a.Barcode, b.Barcode) })
	err = r.cat.View(func(tx *catalog.Tx) error {
		for _, id := range r.st.LostFilesList {
			path, err := pathOf(tx, id)
			if err != nil {
				return err
			}
			rep.Lost = append(rep.Lost, LostFile{path})
		}
		return nil
	})
	return rep, err
}

// pathOf returns a path of a file, from its first name.
func pathOf(tx *catalog.Tx, id sliver.FileID) (string, error) {
	var path []string
	for id != sliver.RootID {
		var up sliver.FileID
		err := tx.Names(id, func(dir sliver.FileID, name string) bool {
			path, up = append(path, name), dir
			return false
		})
		if err != nil {
			return "", err
		}
		if up == 0 {
			break
		}
		id = up
	}
	slices.Reverse(path)
	return "/" + strings.Join(path, "/"), nil
}

// finish makes the catalog one that can be served.
func (r *rebuild) finish() error {
	for {
		var keys [][]byte
		err := r.cat.View(func(tx *catalog.Tx) error {
			return tx.Stages(nil, nil, func(key, _ []byte) bool {
				// The volumes' notes are needed for the report of a run that is cut off here.
				if key[0] != keyMark && key[0] != keyVolume {
					keys = append(keys, slices.Clone(key))
				}
				return len(keys) < 10*r.o.batch
			})
		})
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			break
		}
		err = r.update(func(tx *catalog.Tx) error {
			for _, k := range keys {
				if err := tx.DeleteStage(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	err := r.update(func(tx *catalog.Tx) error {
		s, err := loadState(tx)
		if err != nil || s == nil {
			return err
		}
		for no, live := range s.Live {
			v, err := tx.Volume(no)
			if err != nil {
				return err
			}
			v.Used = max(v.Used, live)
			v.Dead = v.Used - live
			if err := tx.PutVolume(&v); err != nil {
				return err
			}
		}
		if err := tx.PutCounter(catalog.CounterFiles, uint64(s.Files+s.Dirs)); err != nil {
			return err
		}
		if err := tx.PutCounter(catalog.CounterVersion, s.MaxVersion); err != nil {
			return err
		}
		if err := tx.ReserveFileIDs(s.NextFile); err != nil {
			return err
		}
		var notes [][]byte
		err = tx.Stages([]byte{keyVolume}, nil, func(key, _ []byte) bool {
			notes = append(notes, slices.Clone(key))
			return true
		})
		for _, k := range notes {
			err = cmp.Or(err, tx.DeleteStage(k))
		}
		return cmp.Or(err, tx.DeleteStage([]byte{keyMark}))
	})
	if err != nil {
		return err
	}
	return r.cat.Sync()
}
