package rebuild

import (
	"context"
	stderrors "errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// homeTimeout bounds how long a cartridge is given to go home when the rebuild has
// been interrupted.
const homeTimeout = 10 * time.Minute

// shelf is what is left to read, and where the cartridges are.
type shelf struct {
	mu    sync.Mutex
	todo  []*cartridge
	slots map[uint16]bool // full
	tried map[*cartridge]int
	works int // drives in service
}

type cartridge struct {
	no      catalog.VolumeNo
	barcode tape.Barcode
	at      uint16 // element
	home    uint16
	hasHome bool
	inDrive bool
}

// station is a drive and its place in the library.
type station struct {
	drive   tape.Drive
	element uint16
}

// collect reads the index of every cartridge that has not been read yet.
func (r *rebuild) collect(ctx context.Context) error {
	elements, err := r.o.Library.Changer.Inventory(ctx)
	if err != nil {
		return errors.WithMessage(err, "inventory of the library")
	}
	sh, stations, err := r.look(elements)
	if err != nil {
		return err
	}
	if len(sh.todo) == 0 {
		return nil
	}
	if len(stations) == 0 {
		return errors.New("the library has no drive that could be found by its serial number: see \"sliod discover\"")
	}
	sh.works = len(stations)
	r.say(func(p *Progress) { p.Step = "reading volumes" })
	errs := make([]error, len(stations))
	for left := -1; left != len(sh.todo); {
		left = len(sh.todo)
		var wg sync.WaitGroup
		for i, s := range stations {
			if errs[i] == nil {
				wg.Go(func() { errs[i] = r.work(ctx, sh, s) })
			}
		}
		wg.Wait()
		if len(sh.todo) == 0 || ctx.Err() != nil {
			break
		}
		// A drive that failed has left something for those that had nothing to do any
		// more.
	}
	if err := ctx.Err(); err != nil {
		return errors.WithStack(err)
	}
	var failed error
	for _, err := range errs {
		var de *driveError
		if err != nil && failed == nil && !stderrors.As(err, &de) {
			failed = err // other drives may have failed by the same
		}
	}
	if failed == nil && len(sh.todo) > 0 {
		failed = stderrors.Join(errs...)
	}
	return errors.WithMessage(failed, "put it right, and run the rebuild again, which goes on")
}

// look records the library's cartridges in the catalog, and returns those that are
// still to be read.
func (r *rebuild) look(elements []tape.Element) (*shelf, []station, error) {
	notes, err := r.notes()
	if err != nil {
		return nil, nil, err
	}
	done := map[tape.Barcode]bool{}
	for _, n := range notes {
		done[n.Barcode] = n.State != VolumeUnreadable
	}
	sh := &shelf{slots: map[uint16]bool{}, tried: map[*cartridge]int{}}
	var stations []station
	for _, e := range elements {
		switch e.Kind {
		case tape.Slot:
			sh.slots[e.Address] = e.Full
		case tape.DriveElement:
			for _, d := range r.o.Library.Drives {
				if d.Serial() == e.Drive {
					stations = append(stations, station{d, e.Address})
				}
			}
		}
	}
	volumes, read := 0, 0
	err = r.update(func(tx *catalog.Tx) error {
		sh.todo, volumes, read = nil, 0, 0
		seen := map[tape.Barcode]uint16{}
		for _, e := range elements {
			if !e.Full || e.Kind == tape.Arm || e.Volume == "" && e.Kind != tape.DriveElement {
				continue
			}
			c := &cartridge{barcode: e.Volume, at: e.Address, home: e.Address, hasHome: true, inDrive: e.Kind == tape.DriveElement}
			if c.inDrive {
				c.home, c.hasHome = e.Source, e.SourceValid && !sh.slots[e.Source]
			}
			if e.Volume != "" {
				if at, twice := seen[e.Volume]; twice {
					return errors.Errorf("two cartridges have the barcode %s, in the elements %d and %d: one may be an older copy. Take one out, and run the rebuild again: it goes on", e.Volume, at, e.Address)
				}
				seen[e.Volume] = e.Address
				volumes++
				v, err := tx.VolumeByBarcode(string(e.Volume))
				if stderrors.Is(err, catalog.ErrNotFound) {
					v = catalog.Volume{Barcode: string(e.Volume), State: catalog.VolScratch}
					if v.No, err = tx.NextVolumeNo(); err == nil {
						err = tx.PutVolume(&v)
					}
				}
				if err != nil {
					return err
				}
				c.no = v.No
			}
			switch {
			case done[e.Volume] && e.Volume != "":
				read++
				if !c.inDrive {
					continue
				}
				c.no = 0 // it is only brought home
			case r.isCleaning(e.Volume):
				read++
				n := &volumeNote{No: c.no, VolumeReport: VolumeReport{Barcode: e.Volume, State: VolumeCleaning}}
				if err := putJSON(tx, append([]byte{keyVolume}, e.Volume...), n); err != nil {
					return err
				}
				if !c.inDrive {
					continue
				}
				c.no = 0
			}
			sh.todo = append(sh.todo, c)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for _, c := range sh.todo {
		if c.inDrive && c.hasHome {
			sh.slots[c.home] = true // reserved
		}
	}
	r.say(func(p *Progress) { p.Volumes, p.Read = volumes, read })
	return sh, stations, nil
}

// isCleaning knows cleaning cartridges by their barcodes.
func (r *rebuild) isCleaning(b tape.Barcode) bool {
	return slices.ContainsFunc(r.o.Cleaning, func(pattern string) bool {
		ok, err := path.Match(pattern, string(b))
		return ok && err == nil
	})
}

// take returns the next cartridge for a drive: first the one that lies in it.
func (sh *shelf) take(s station) *cartridge {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	best := -1
	for i, c := range sh.todo {
		if c.inDrive && c.at == s.element {
			best = i
			break
		}
		if !c.inDrive && best < 0 {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	c := sh.todo[best]
	sh.todo = append(sh.todo[:best:best], sh.todo[best+1:]...)
	return c
}

func (sh *shelf) giveBack(c *cartridge) {
	sh.mu.Lock()
	sh.todo = append(sh.todo, c)
	sh.mu.Unlock()
}

// free takes a slot for a cartridge that has none.
func (sh *shelf) free() (uint16, bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	best, ok := uint16(0), false
	for a, full := range sh.slots {
		if !full && (!ok || a < best) {
			best, ok = a, true
		}
	}
	if ok {
		sh.slots[best] = true
	}
	return best, ok
}

// driveError takes a drive out of the work; others go on.
type driveError struct {
	serial string
	err    error
}

func (e *driveError) Error() string { return fmt.Sprintf("drive %s: %v", e.serial, e.err) }
func (e *driveError) Unwrap() error { return e.err }

// work is the goroutine of one drive.
func (r *rebuild) work(ctx context.Context, sh *shelf, s station) error {
	for ctx.Err() == nil {
		c := sh.take(s)
		if c == nil {
			return nil
		}
		f, err := r.readCartridge(ctx, s, c)
		var broken *driveError
		if herr := r.bringHome(ctx, sh, s, c); herr != nil {
			r.log.WithField("volume", c.barcode).WithField("drive", s.drive.Serial()).WithError(herr).
				Error("the cartridge could not be brought home; the drive is not used any more")
			broken = &driveError{s.drive.Serial(), herr}
		}
		switch {
		case err != nil:
			sh.giveBack(c)
			return err
		case f != nil && broken == nil && r.again(sh, s, c, f):
			if f.dismissed {
				return &driveError{s.drive.Serial(), f.err}
			}
		case f != nil:
			if err := r.recordVolume(f); err != nil {
				return err
			}
		}
		if broken != nil {
			sh.mu.Lock()
			sh.works--
			sh.mu.Unlock()
			return broken
		}
	}
	return nil
}

// again says whether a cartridge that could not be read is tried again, as the drive
// or a reset may be the reason, and then puts it back on the shelf.
func (r *rebuild) again(sh *shelf, s station, c *cartridge, f *found) bool {
	if f.err == nil || !blamesDrive(f.err) {
		return false
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if tape.KindOf(f.err) != tape.UnitAttention && sh.works > 1 {
		// Another drive may read it, and this one might spoil the rest.
		sh.works--
		f.dismissed = true
		sh.todo = append(sh.todo, c)
		r.log.WithField("volume", c.barcode).WithField("drive", s.drive.Serial()).WithError(f.err).Error("the drive is not used any more; another one tries the volume")
		return true
	}
	sh.tried[c]++
	if sh.tried[c] > 2 {
		return false
	}
	r.log.WithField("volume", c.barcode).WithField("drive", s.drive.Serial()).WithError(f.err).Warn("tried again")
	sh.todo = append(sh.todo, c)
	return true
}

func blamesDrive(err error) bool {
	switch tape.KindOf(err) {
	case tape.HardwareError, tape.NotReady, tape.Disconnected, tape.UnitAttention, tape.ProtectionError, tape.CleaningNeeded:
		return true
	}
	return false
}

// found is what readCartridge has found.
type found struct {
	*volumeNote
	err       error
	dismissed bool // the drive
	rec       func(*catalog.Volume)
}

// readCartridge fetches a cartridge and reads its index. An error ends the work of
// the drive; what is wrong with the volume is in found.
func (r *rebuild) readCartridge(ctx context.Context, s station, c *cartridge) (*found, error) {
	if !c.inDrive {
		if err := r.o.Library.Changer.Move(ctx, c.at, s.element); err != nil {
			return nil, &driveError{s.drive.Serial(), errors.WithMessagef(err, "fetch cartridge %s from element %d", c.barcode, c.at)}
		}
		c.at, c.inDrive = s.element, true
	}
	if c.no == 0 {
		return nil, nil // it only lies in the way
	}
	note := &volumeNote{No: c.no, VolumeReport: VolumeReport{Barcode: c.barcode, State: VolumeRead}}
	f := &found{volumeNote: note, rec: func(*catalog.Volume) {}}
	r.log.WithField("volume", c.barcode).WithField("drive", s.drive.Serial()).Info("reading the index")
	err := r.readIndex(ctx, s, c, f)
	if ke := (*ltfs.KeyError)(nil); stderrors.As(err, &ke) {
		// A catalog without what is on it would look whole.
		return nil, errors.WithMessagef(err, "volume %s cannot be read without its key: configure it (docs/encryption.md), or take the cartridge out of the library", c.barcode)
	}
	if err != nil && (ctx.Err() != nil || !volumesFault(err)) {
		return nil, err
	}
	var not *ltfs.NotLTFSError
	switch {
	case err == nil:
	case stderrors.As(err, &not) && not.Blank:
		note.State = VolumeBlank
	case stderrors.As(err, &not):
		note.State, note.Why = VolumeForeign, not.Found
		f.rec = func(v *catalog.Volume) { v.State = catalog.VolReadOnly }
	case stderrors.Is(err, errForeign):
		note.State, note.Why = VolumeForeign, err.Error()
		f.rec = func(v *catalog.Volume) { v.State = catalog.VolReadOnly }
	default:
		note.State, note.Why, f.err = VolumeUnreadable, err.Error(), err
		f.rec = func(v *catalog.Volume) { v.State = catalog.VolSuspect }
		r.log.WithField("volume", c.barcode).WithError(err).Error("the volume cannot be read; what only it has is missing")
	}
	return f, nil
}

// volumesFault says whether err is about tape or what is on it, and not about the
// disk.
func volumesFault(err error) bool {
	var te *tape.Error
	var not *ltfs.NotLTFSError
	return stderrors.As(err, &te) || stderrors.As(err, &not) || stderrors.Is(err, errForeign) ||
		stderrors.Is(err, ltfs.ErrCorrupt) || stderrors.Is(err, ltfs.ErrInconsistent) || stderrors.Is(err, ltfs.ErrNotLTFS)
}

// readIndex mounts the loaded volume, and collects what its index says.
func (r *rebuild) readIndex(ctx context.Context, s station, c *cartridge, f *found) error {
	if err := s.drive.Load(ctx); err != nil {
		return err
	}
	o := ltfs.MountOptions{Log: r.log}
	pool := ""
	if r.o.Pools != nil {
		pool = r.o.Pools.Of(c.barcode)
		o.Key, o.Pool = r.o.Pools.Source(pool), pool
	}
	lv, err := ltfs.Mount(ctx, s.drive, o)
	if err != nil {
		return err
	}
	limits := s.drive.Limits()
	note := f.volumeNote
	if rep := lv.Repair(); rep != nil {
		note.Unknown = int64(rep.To-rep.From) * int64(lv.BlockSize())
	}
	col := &collector{r: r, ctx: ctx, lv: lv, no: c.no, note: note, seen: map[uint64]bool{}}
	if err := col.volume(); err != nil {
		return err
	}
	r.say(func(p *Progress) { p.Files += note.Files - col.told })
	uuid, bs, gen, end, label := lv.UUID(), lv.BlockSize(), lv.Generation(), lv.EndOfData(), lv.Label()
	remaining, keyID := lv.Remaining(), lv.KeyID()
	noted, taken := lv.Index().Pool(), uint32(0)
	if catalog.PoolName(pool) == catalog.ScratchPool && noted != "" {
		pool, taken = noted, catalog.VolTaken
	}
	f.rec = func(v *catalog.Volume) {
		v.UUID, v.BlockSize, v.Generation = uuid, uint32(bs), gen
		v.Pool, v.KeyID = pool, keyID
		v.State, v.Flags = catalog.VolAppend, taken
		switch {
		case limits.WriteProtected:
			v.State, v.Flags = catalog.VolReadOnly, taken|catalog.VolProtected
		case remaining == 0:
			v.State = catalog.VolFull
		}
		v.Capacity = limits.CapacityBytes
		v.Used = int64(end.Block) * int64(bs)
		if v.Capacity > 0 {
			v.Used = min(v.Used, v.Capacity)
		}
		v.Formatted = catalog.Time(label.FormatTime)
		v.EndOfData = catalog.VolPos{Partition: uint8(end.Partition), Block: uint64(end.Block)}
	}
	return nil
}

// recordVolume notes that a cartridge has been looked at.
func (r *rebuild) recordVolume(f *found) error {
	err := r.change(func(tx *catalog.Tx, st *state) error {
		v, err := tx.Volume(f.No)
		if err != nil {
			return err
		}
		f.rec(&v)
		if err := tx.PutVolume(&v); err != nil {
			return err
		}
		if f.State == VolumeRead {
			st.Live[f.No] = 0
			st.Damaged += f.Damaged
		}
		return putJSON(tx, append([]byte{keyVolume}, f.Barcode...), f.volumeNote)
	})
	if err == nil {
		err = r.cat.Sync()
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.done[f.No] = f.State == VolumeRead
	r.mu.Unlock()
	r.say(func(p *Progress) { p.Read++ })
	return nil
}

// bringHome unloads the cartridge, if it is in the drive, and carries it to its slot,
// even if ctx has ended.
func (r *rebuild) bringHome(ctx context.Context, sh *shelf, s station, c *cartridge) error {
	if !c.inDrive {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), homeTimeout)
	defer cancel()
	if err := s.drive.Unload(ctx); err != nil && tape.KindOf(err) != tape.NotReady {
		return errors.WithMessagef(err, "unload cartridge %s", c.barcode)
	}
	if !c.hasHome {
		slot, ok := sh.free()
		if !ok {
			return errors.Errorf("there is no free slot for cartridge %s", c.barcode)
		}
		c.home, c.hasHome = slot, true
	}
	err := r.o.Library.Changer.Move(ctx, s.element, c.home)
	if err != nil {
		return errors.WithMessagef(err, "bring cartridge %s home to element %d", c.barcode, c.home)
	}
	c.at, c.inDrive = c.home, false
	return nil
}
