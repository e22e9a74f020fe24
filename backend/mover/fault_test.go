package mover

import (
	"bytes"
	stderrors "errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
	"sliod/tape"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// Operation codes.
const (
	opRead      = 0x08
	opWrite     = 0x0a
	opFilemarks = 0x10
	opLoad      = 0x1b
	opMove      = 0xa5
)

func TestVolumeFullInMidFile(t *testing.T) {
	r := newRig(t, setup{capacity: 32 * mib, cache: 64 * mib})
	f := r.create("big", 0)
	p := bytes.Repeat([]byte("0123456789abcdef"), 50*mib/16)
	for i := range 50 {
		p[i*mib] = byte(i)
	}
	if err := r.write(f, 0, p); err != nil {
		t.Fatal(err)
	}
	r.archive(f)
	r.evict(f)
	r.check(f)
	vols := map[catalog.VolumeNo]bool{}
	for no := range sliver.No(50) {
		vols[r.rec(keyOf(f, no)).Copies[0].Volume] = true
	}
	if len(vols) < 2 {
		t.Errorf("50 MiB are on %d volumes of 32 MiB", len(vols))
	}
}

func TestNoTapeSpace(t *testing.T) {
	r := newRig(t, setup{capacity: 24 * mib, slots: 1, cache: 64 * mib})
	files := r.fill(20, 2*mib)
	err := r.archiveErr(files...)
	if !stderrors.Is(err, errTapeSpace) {
		t.Fatalf("archive: %v", err)
	}
	if !r.m.Status().NoTapeSpace {
		t.Error("the status does not say so")
	}
	if err := r.archiveErr(files[len(files)-1]); !stderrors.Is(err, errTapeSpace) {
		t.Errorf("archive again: %v", err)
	}
	for _, f := range files {
		r.check(f)
	}
}

// TestNoTapeSpaceAfterTheBatch: while the batch that has filled the last volume is on its way, nobody is told that
// there is no space: it is about to make room in the cache.
func TestNoTapeSpaceAfterTheBatch(t *testing.T) {
	r := newRig(t, setup{drives: 2, capacity: 24 * mib, slots: 1, cache: 64 * mib})
	files := r.fill(20, 2*mib)
	stands, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.lib.Hook(func(e virtual.Event) {
		if e.Opcode == opFilemarks && !e.After && r.volumeOf("A00001L9").rec().State == catalog.VolFull {
			once.Do(func() {
				close(stands)
				<-goOn
			})
		}
	})
	ended := make(chan error, len(files))
	r.m.Archive(r.to, files, func(_ sliver.FileID, err error) { ended <- err })
	select {
	case <-stands:
	case <-time.After(patience):
		t.Fatal("the volume does not become full")
	}
	if err := r.archiveErr(files[len(files)-1]); !stderrors.Is(err, errTapeSpace) {
		t.Errorf("archive: %v", err)
	}
	if r.m.Status().NoTapeSpace {
		t.Error("no tape space while a batch is on its way")
	}
	close(goOn)
	kept := 0
	for range files {
		if err := <-ended; err == nil {
			kept++
		} else if !stderrors.Is(err, errTapeSpace) {
			t.Error(err)
		}
	}
	if kept == 0 {
		t.Error("nothing is on tape")
	}
	r.eventually("no tape space", func(s Status) bool { return s.NoTapeSpace })
	for _, f := range files {
		r.check(f)
	}
}

// TestWriteFails fails the n-th write and the n-th flush in each way, and looks
// that nothing is lost: what was in doubt is archived again.
func TestWriteFails(t *testing.T) {
	senses := map[string]scsi.Sense{
		"medium":   {Key: scsi.MediumErrorKey, Code: scsi.CodeWriteError},
		"hardware": {Key: scsi.HardwareKey, Code: scsi.CodeInternalFailure},
		"lost":     {},
		"deferred": {Key: scsi.MediumErrorKey, Code: scsi.CodeWriteError, Deferred: true},
	}
	for name, sense := range senses {
		for _, op := range []byte{opWrite, opFilemarks} {
			for _, nth := range []int{1, 2, 5, 9, 14} {
				if testing.Short() && nth%5 != 0 {
					continue
				}
				t.Run(fmt.Sprintf("%s/%02x/%d", name, op, nth), func(t *testing.T) {
					r := newRig(t, setup{drives: 2, slots: 5, capacity: 64 * mib, cfg: Config{BatchBytes: 3 * mib}})
					remove := r.lib.SetFault(virtual.Fault{Device: virtual.AnyDrive, Opcode: op, Nth: nth, Sense: sense, Lost: name == "lost"})
					files := r.fill(6, mib+100)
					r.archive(files...)
					r.evict(files...)
					for _, f := range files {
						r.check(f)
					}
					remove()
				})
			}
		}
	}
}

func TestReadErrorThenNextAccessWorks(t *testing.T) {
	r := newRig(t, setup{})
	f := r.fill(1, 3*mib)[0]
	r.archive(f)
	r.evict(f)
	v, at := r.placeOfSliver(keyOf(f, 1))
	r.lib.SetUnreadable(v, at, true)
	_, err := r.read(keyOf(f, 1), mib)
	var te *tape.Error
	if !stderrors.As(err, &te) || te.Kind != tape.MediumError {
		t.Fatalf("read of an unreadable block: %v", err)
	}
	serial := r.lib.Tape().Drives[0].Serial()
	for _, want := range []string{string(v), serial, at.String()} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error %q does not name %q", err, want)
		}
	}
	es := r.m.Status().Errors
	if len(es) != 1 || es[0].Volume != v || es[0].Drive != serial || es[0].Position != at.String() {
		t.Errorf("errors of the status: %+v", es)
	}
	r.lib.SetUnreadable(v, at, false)
	r.check(f)
}

// TestReadFails fails the n-th read or locate once in each way: the reader gets
// the data or an error, and the next access the data.
func TestReadFails(t *testing.T) {
	faults := map[string]virtual.Fault{
		"medium":    {Sense: scsi.Sense{Key: scsi.MediumErrorKey, Code: scsi.CodeReadError}},
		"hardware":  {Sense: scsi.Sense{Key: scsi.HardwareKey, Code: scsi.CodeInternalFailure}},
		"attention": {Sense: scsi.Sense{Key: scsi.AttentionKey, Code: scsi.CodeReset}},
		"lost":      {Lost: true},
	}
	for name, fault := range faults {
		for _, nth := range []int{1, 2, 4} {
			t.Run(fmt.Sprintf("%s/%d", name, nth), func(t *testing.T) {
				r := newRig(t, setup{drives: 2})
				f := r.fill(1, 3*mib)[0]
				r.archive(f)
				r.evict(f)
				fault.Device, fault.Opcode, fault.Nth = virtual.AnyDrive, opRead, nth
				remove := r.lib.SetFault(fault)
				failed := 0
				for no := range sliver.No(3) {
					if _, err := r.read(keyOf(f, no), mib); err != nil {
						failed++
					}
				}
				if failed > 1 {
					t.Errorf("one fault made %d reads fail", failed)
				}
				r.check(f)
				remove()
			})
		}
	}
}

func TestAnotherDriveReads(t *testing.T) {
	r := newRig(t, setup{drives: 2})
	f := r.fill(1, 3*mib)[0]
	r.archive(f)
	r.evict(f)
	// The drive that holds the volume fails for good.
	for i, d := range r.m.Status().Drives {
		if d.Volume != "" {
			r.lib.SetFault(virtual.Fault{Device: i, Opcode: opRead, Times: -1, Sense: scsi.Sense{Key: scsi.HardwareKey, Code: scsi.CodeInternalFailure}})
		}
	}
	r.check(f)
}

// TestAnotherCopyIsRead has two copies of a sliver on two volumes, of which one
// cannot be read.
func TestAnotherCopyIsRead(t *testing.T) {
	r := newRig(t, setup{cache: 64 * mib})
	f := r.fill(1, 1000)[0]
	r.archive(f)
	first := r.rec(keyOf(f, 0)).Copies[0]
	r.m.setState(r.m.volumes[first.Volume], catalog.VolFull, "test")
	// The same content again, from a second file, and so on another volume.
	g := r.create("copy", 0)
	if err := r.write(g, 0, r.want[f]); err != nil {
		t.Fatal(err)
	}
	r.archive(g)
	second := r.rec(keyOf(g, 0)).Copies[0]
	if second.Volume == first.Volume {
		t.Fatal("a full volume was appended to")
	}
	r.stop() // else the mounted copy is preferred
	r.start()
	err := r.cat.Update(func(tx *catalog.Tx) error {
		b, err := tx.Bmap(f, 0)
		if err != nil {
			return err
		}
		b.Slivers[0].Copies = []catalog.Copy{first, second}
		return tx.PutBmap(f, 0, b)
	})
	if err != nil {
		t.Fatal(err)
	}
	r.lib.SetUnreadable(r.barcode(first.Volume), placeOf(first).Position, true)
	r.check(f)
	es := r.m.Status().Errors
	if len(es) != 1 || es[0].Volume != r.barcode(first.Volume) {
		t.Errorf("errors: %+v", es)
	}
}

// TestReclaimed fills the only volume, and gives it back to the scratch volumes.
func TestReclaimed(t *testing.T) {
	r := newRig(t, setup{capacity: 24 * mib, slots: 1, cache: 64 * mib})
	files := r.fill(20, 2*mib)
	if err := r.archiveErr(files...); !stderrors.Is(err, errTapeSpace) {
		t.Fatalf("archive: %v", err)
	}
	r.stop()
	r.start()
	for _, f := range files {
		for no := range sliver.No(2) {
			r.dropCopy(keyOf(f, no), 1)
		}
	}
	err := r.cat.Update(func(tx *catalog.Tx) error {
		var vs []catalog.Volume
		if err := tx.Volumes(func(v catalog.Volume) bool { vs = append(vs, v); return true }); err != nil {
			return err
		}
		vs[0].State = catalog.VolScratch
		return tx.PutVolume(&vs[0])
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.m.Rescan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.m.Status().NoTapeSpace {
		t.Error("still no tape space")
	}
	g := r.create("new", 0)
	if err := r.write(g, 0, []byte("a new file")); err != nil {
		t.Fatal(err)
	}
	r.archive(g)
	r.evict(g)
	r.check(g)
}

// TestStopCutShort ends the context of Start while a drive hangs: Close returns.
func TestStopCutShort(t *testing.T) {
	r := newRig(t, setup{})
	f := r.fill(1, 3*mib)[0]
	r.archive(f)
	r.evict(f)
	release := r.lib.Hang(0)
	defer release()
	k := keyOf(f, 0)
	r.cache.Want(k, r.behind(k), vfs.Client)
	r.eventually("the drive reads", func(s Status) bool { return s.Drives[0].State == "reading" })
	r.crash()
	if err := r.archiveErr(f); !stderrors.Is(err, errClosed) {
		t.Errorf("archive after Close: %v", err)
	}
}

// TestStream writes, archives, evicts and reads at the same time.
func TestStream(t *testing.T) {
	r := newRig(t, setup{drives: 2, slots: 6, capacity: 96 * mib, cache: 24 * mib, ahead: 4, cfg: Config{BatchBytes: 8 * mib}})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 6 {
				f := r.create(fmt.Sprintf("g%d/%d", g, i), 0)
				p := bytes.Repeat([]byte{byte(g), byte(i), 7}, mib/2+g*1000)
				if err := r.write(f, 0, p); err != nil {
					t.Error(err)
					return
				}
				if err := r.archiveErr(f); err != nil {
					t.Error(err)
					return
				}
				r.mu.Lock()
				r.cache.EvictFile(f)
				r.mu.Unlock()
				for no := range sliver.Count(uint64(len(p))) {
					n := sliver.LenIn(uint64(len(p)), no)
					got, err := r.read(keyOf(f, no), n)
					if err != nil || !bytes.Equal(got, p[no.Start():][:n]) {
						t.Errorf("file %d, sliver %d: %v", f, no, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestChecksumMismatch(t *testing.T) {
	r := newRig(t, setup{})
	f := r.fill(1, 5000)[0]
	r.archive(f)
	err := r.cat.Update(func(tx *catalog.Tx) error {
		b, err := tx.Bmap(f, 0)
		if err != nil {
			return err
		}
		b.Slivers[0].Sum++
		return tx.PutBmap(f, 0, b)
	})
	if err != nil {
		t.Fatal(err)
	}
	r.evict(f)
	if _, err := r.read(keyOf(f, 0), 5000); !stderrors.Is(err, errChecksum) {
		t.Fatalf("read: %v", err)
	}
	if es := r.m.Status().Errors; len(es) != 1 || es[0].Kind != "checksum mismatch" {
		t.Errorf("errors: %+v", es)
	}
}

// TestCancelled parks reads while the drive hangs, cancels all but one, and
// counts what is read.
func TestCancelled(t *testing.T) {
	r := newRig(t, setup{})
	f := r.fill(1, 10*mib)[0]
	r.archive(f)
	r.evict(f)
	release := r.lib.Hang(0)
	ws := make([]*vfs.Waiter, 10)
	answers := make(waker, 10)
	for i := range ws {
		ws[i] = &vfs.Waiter{Waker: answers}
		k := keyOf(f, sliver.No(i))
		if _, err := r.cache.Read(k, r.behind(k), 0, 100, ws[i]); !stderrors.Is(err, vfs.ErrParked) {
			t.Fatal(err)
		}
	}
	r.eventually("one sliver is being read", func(s Status) bool { return s.Drives[0].State == "reading" })
	for _, w := range ws[1:] {
		if !r.cache.Cancel(w) {
			t.Fatal("a parked read could not be cancelled")
		}
	}
	r.eventually("the queue is empty", func(s Status) bool { return len(s.Recalls) <= 1 })
	release()
	<-answers
	r.eventually("no recall is left", func(s Status) bool { return len(s.Recalls) == 0 })
	if n := r.m.Status().Stats.Recalled; n > 2 {
		t.Errorf("%d slivers were read, for one that was wanted", n)
	}
}

// TestOrder asks for slivers in disorder while the drive hangs, and compares the
// order in which they are read with the order on tape.
func TestOrder(t *testing.T) {
	r := newRig(t, setup{cache: 64 * mib})
	f := r.fill(1, 30*mib)[0]
	r.archive(f)
	r.evict(f)
	var mu sync.Mutex
	var order []tape.BlockNo
	release := r.lib.Hang(0)
	r.lib.Hook(func(e virtual.Event) {
		if e.Device == 0 && e.Opcode == opRead && !e.After {
			mu.Lock()
			order = append(order, e.Position.Block)
			mu.Unlock()
		}
	})
	answers := make(waker, 30)
	for i := range 30 {
		k := keyOf(f, sliver.No(i*7%30))
		if _, err := r.cache.Read(k, r.behind(k), 0, 100, &vfs.Waiter{Waker: answers}); !stderrors.Is(err, vfs.ErrParked) {
			t.Fatal(err)
		}
	}
	r.eventually("all are queued", func(s Status) bool { return len(s.Recalls) == 1 && s.Recalls[0].Slivers == 30 })
	release()
	for range 30 {
		if a := <-answers; a.err != nil {
			t.Fatal(a.err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(order) > 1 && order[0] > order[1] {
		order = order[2:] // the drive had begun with another
	}
	if turns := countTurns(order); turns > 1 {
		t.Errorf("the head turned %d times: %v", turns, order)
	}
}

func countTurns(order []tape.BlockNo) (n int) {
	for i := 1; i < len(order); i++ {
		if order[i] < order[i-1] {
			n++
		}
	}
	return n
}

// TestFullCacheOneDrive fills the cache with dirty data and then asks for
// archived slivers, with one drive only: both must come to an end.
func TestFullCacheOneDrive(t *testing.T) {
	r := newRig(t, setup{cache: 16 * mib, slots: 6})
	old := r.fill(4, 3*mib)
	r.archive(old...)
	r.evict(old...)
	fresh := make([]sliver.FileID, 20)
	for i := range fresh {
		fresh[i] = r.create(fmt.Sprintf("fresh%d", i), 0)
		if err := r.write(fresh[i], 0, bytes.Repeat([]byte{byte(i + 1)}, 2*mib)); err != nil {
			t.Fatal(err)
		}
		// Reads that need a slot come while the cache is full of dirty data.
		if i%5 == 4 {
			r.check(old[i/5])
		}
	}
	for _, f := range append(fresh, old...) {
		r.check(f)
	}
}

func TestTwoDrives(t *testing.T) {
	r := newRig(t, setup{drives: 2, slots: 6, capacity: 40 * mib, cache: 48 * mib})
	var files []sliver.FileID
	for i := range 4 {
		fs := r.fill(6, 3*mib+i)
		r.archive(fs...)
		r.evict(fs...)
		files = append(files, fs...)
	}
	var wg sync.WaitGroup
	errs := make(chan error, len(files))
	for _, f := range files {
		wg.Go(func() {
			_, err := r.read(keyOf(f, 1), mib)
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range files {
		r.check(f)
	}
}

func TestCoalesce(t *testing.T) {
	r := newRig(t, setup{})
	f := r.fill(1, mib)[0]
	r.archive(f)
	r.evict(f)
	release := r.lib.Hang(0)
	k := keyOf(f, 0)
	seq, started := r.cache.Want(k, r.behind(k), vfs.Client)
	if !started {
		t.Fatal("no fault was started")
	}
	for range 100 {
		r.m.Recall(k, seq)
	}
	release()
	r.check(f)
	r.eventually("no recall is left", func(s Status) bool { return len(s.Recalls) == 0 })
	if n := r.m.Status().Stats.Recalled; n != 1 {
		t.Errorf("%d slivers were read", n)
	}
}

func TestReadAhead(t *testing.T) {
	r := newRig(t, setup{ahead: 8, cache: 64 * mib})
	f := r.fill(1, 30*mib)[0]
	r.archive(f)
	r.evict(f)
	if _, err := r.read(keyOf(f, 3), mib); err != nil {
		t.Fatal(err)
	}
	r.eventually("8 more slivers", func(s Status) bool { return s.Stats.Recalled == 9 && len(s.Recalls) == 0 })
}

func TestArchivedFails(t *testing.T) {
	r := newRig(t, setup{})
	files := r.fill(3, mib)
	r.mu.Lock()
	r.fail = stderrors.New("no catalog today")
	r.mu.Unlock()
	if err := r.archiveErr(files...); !stderrors.Is(err, r.fail) {
		t.Fatalf("archive: %v", err)
	}
	for _, f := range files {
		if n := len(r.cache.DirtySlivers(f)); n != 1 {
			t.Fatalf("file %d has %d dirty slivers", f, n)
		}
	}
	r.mu.Lock()
	r.fail = nil
	r.mu.Unlock()
	r.archive(files...)
	r.evict(files...)
	for _, f := range files {
		r.check(f)
	}
}

func TestForeignCartridgeIsLeftAlone(t *testing.T) {
	r := newRig(t, setup{slots: 2})
	r.stop()
	// Another program writes on a cartridge.
	lib, err := virtual.Open(virtual.Config{Dir: r.dir + "/library", Drives: 1, Slots: 2, Capacity: r.s.capacity})
	if err != nil {
		t.Fatal(err)
	}
	es, err := lib.Tape().Changer.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var slot, drive uint16
	var foreignTape tape.Barcode
	for _, e := range es {
		switch {
		case e.Kind == tape.DriveElement:
			drive = e.Address
		case e.Full && (foreignTape == "" || e.Volume < foreignTape):
			slot, foreignTape = e.Address, e.Volume
		}
	}
	d := lib.Tape().Drives[0]
	steps := []error{
		lib.Tape().Changer.Move(t.Context(), slot, drive), d.Load(t.Context()),
		d.WriteBlock(t.Context(), []byte("precious")), d.WriteFilemarks(t.Context(), 1),
	}
	// It is left in the drive.
	for _, err := range append(steps, lib.Close()) {
		if err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	files := r.fill(3, mib)
	r.archive(files...)
	for _, v := range r.m.Status().Volumes {
		if want := map[bool]string{true: "foreign", false: "append"}[v.Barcode == foreignTape]; v.State != want {
			t.Errorf("volume %s is %s, want %s", v.Barcode, v.State, want)
		}
	}
	r.evict(files...)
	for _, f := range files {
		r.check(f)
	}
}

func TestMountFails(t *testing.T) {
	for _, op := range []byte{opLoad, opMove} {
		t.Run(fmt.Sprintf("%02x", op), func(t *testing.T) {
			r := newRig(t, setup{drives: 2, slots: 4})
			device := virtual.AnyDrive
			if op == opMove {
				device = virtual.Changer
			}
			remove := r.lib.SetFault(virtual.Fault{Device: device, Opcode: op, Sense: scsi.Sense{Key: scsi.HardwareKey, Code: scsi.CodeLoadEjectFailed}})
			files := r.fill(2, mib)
			r.archive(files...)
			r.evict(files...)
			for _, f := range files {
				r.check(f)
			}
			remove()
		})
	}
}

func TestLinger(t *testing.T) {
	r := newRig(t, setup{cfg: Config{Linger: time.Nanosecond}})
	f := r.fill(1, mib)[0]
	r.archive(f)
	r.eventually("the volume is home", func(s Status) bool {
		return s.Drives[0].Volume == "" && s.Drives[0].State == "empty" && !slices.ContainsFunc(s.Volumes, func(v VolumeStatus) bool {
			return strings.HasPrefix(v.Where, "drive")
		})
	})
	r.evict(f)
	r.check(f)
}
