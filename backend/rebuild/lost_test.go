package rebuild

import (
	"bytes"
	"context"
	stderrors "errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend"
	"sliod/backend/catalog"
	"sliod/backend/vfs"
	"sliod/tape"
	"sliod/tape/ltfs"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// twoVolumes makes an archive in which /both has its first sliver on one volume and
// its second, newer one on another, and returns the two barcodes and the second's content.
func (r *rig) twoVolumes() (first, second tape.Barcode, data []byte) {
	r.t.Helper()
	r.opts.Mover.ArchiveDrives = 1 // one volume at a time
	r.open()
	r.mkdir("/dir")
	r.write("/both", 0, content(1, 2*mib))
	r.write("/dir/old", 0, content(2, 1000))
	r.settle()
	r.catalog(func(tx *catalog.Tx) error {
		return tx.Volumes(func(v catalog.Volume) bool {
			if v.UUID != "" {
				first = tape.Barcode(v.Barcode)
			}
			return true
		})
	})
	cat, err := catalog.Open(filepath.Join(r.dir, "catalog"), catalog.Options{Log: r.log})
	r.ok(err)
	r.ok(cat.Update(func(tx *catalog.Tx) error {
		v, err := tx.VolumeByBarcode(string(first))
		if err != nil {
			return err
		}
		v.State = catalog.VolFull
		return tx.PutVolume(&v)
	}))
	r.ok(cat.Close())
	r.open()
	r.job(backend.JobEvict, "/")
	data = content(3, mib)
	r.write("/both", mib, data)
	r.rename("/dir", "/renamed")
	r.write("/new", 0, content(4, 500))
	r.settle()
	r.catalog(func(tx *catalog.Tx) error {
		return tx.Volumes(func(v catalog.Volume) bool {
			if v.UUID != "" && v.Barcode != string(first) {
				second = tape.Barcode(v.Barcode)
			}
			return true
		})
	})
	if first == "" || second == "" {
		r.t.Fatalf("volumes %q and %q", first, second)
	}
	return first, second, data
}

// readAt reads a sliver's worth from off.
func (r *rig) sliverAt(path string, no int) ([]byte, error) {
	r.t.Helper()
	n := r.node(path)
	defer n.Release()
	f, err := n.Open(root, 0)
	r.ok(err)
	defer f.Close()
	for {
		w := newParked()
		d, err := f.ReadAt(uint64(no)*mib, mib, &w.Waiter)
		if err == nil {
			var all []byte
			for s := &d; s != nil; s = s.More {
				all = append(append(all, s.Bytes...), make([]byte, s.Zeros)...)
			}
			d.Release()
			return all, nil
		}
		if err != vfs.ErrParked {
			return nil, err
		}
		<-w.woken
		if w.err != nil {
			return nil, w.err
		}
	}
}

// TestMissingVolume: what only a missing volume has is said, and is EIO, never zeros
// and never older bytes.
func TestMissingVolume(t *testing.T) {
	for _, tc := range []struct {
		name    string
		missing func(first, second tape.Barcode) tape.Barcode
		lose    func(r *rig, b tape.Barcode)
		state   VolumeState
	}{
		{"first unreadable", func(f, _ tape.Barcode) tape.Barcode { return f }, (*rig).spoil, VolumeUnreadable},
		{"second unreadable", func(_, s tape.Barcode) tape.Barcode { return s }, (*rig).spoil, VolumeUnreadable},
		{"first away", func(f, _ tape.Barcode) tape.Barcode { return f }, (*rig).hide, ""},
		{"second away", func(_, s tape.Barcode) tape.Barcode { return s }, (*rig).hide, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, t.TempDir())
			defer r.end()
			first, second, data := r.twoVolumes()
			r.forget()
			b := tc.missing(first, second)
			tc.lose(r, b)
			rep := r.rebuild()
			seen := false
			for _, v := range rep.Volumes {
				if v.Barcode == b {
					seen = true
					if v.State != tc.state || v.Why == "" {
						t.Errorf("volume %s: %+v", b, v)
					}
				}
			}
			if seen != (tc.state != "") {
				t.Errorf("volume %s is in the report: %v", b, seen)
			}
			r.open()
			if b == first {
				if got, err := r.sliverAt("/both", 1); err != nil || !bytes.Equal(got, data) {
					t.Errorf("the sliver on the other volume: %d bytes, %v", len(got), err)
				}
				for range 2 {
					if _, err := r.sliverAt("/both", 0); !stderrors.Is(err, linux.EIO) {
						t.Errorf("a sliver that is missing: %v", err)
					}
				}
				if rep.LostFiles != 1 || rep.LostSlivers != 1 || rep.LostBytes != mib || len(rep.Lost) != 1 || rep.Lost[0].Path != "/both" {
					t.Errorf("%+v", rep)
				}
				// Writing all of it makes it good; attributes can be archived meanwhile, and
				// the sliver stays known as missing.
				r.rename("/both", "/renamed/both")
				r.settle()
				r.forget()
				if rep := r.rebuild(); rep.LostFiles != 1 || rep.LostSlivers != 1 {
					t.Errorf("the second time: %+v", rep)
				}
				r.open()
				if _, err := r.sliverAt("/renamed/both", 0); !stderrors.Is(err, linux.EIO) {
					t.Errorf("a sliver that is missing, after another rebuild: %v", err)
				}
				r.write("/renamed/both", 0, data)
				r.settle()
				r.open()
				if got, err := r.read("/renamed/both"); err != nil || !bytes.Equal(got, append(data, data...)) {
					t.Errorf("after a write over it: %v", err)
				}
				return
			}
			// The older entries are the newest that are left.
			if got, err := r.read("/both"); err != nil || !bytes.Equal(got, content(1, 2*mib)) {
				t.Errorf("the state of the older volume: %v", err)
			}
			if got, err := r.read("/dir/old"); err != nil || !bytes.Equal(got, content(2, 1000)) {
				t.Errorf("the state of the older volume: %v", err)
			}
		})
	}
}

// hide takes a volume out of the library.
func (r *rig) hide(b tape.Barcode) { r.hidden = b }

// without is a changer that does not see a cartridge.
type without struct {
	tape.Changer
	barcode tape.Barcode
}

func (c without) Inventory(ctx context.Context) ([]tape.Element, error) {
	list, err := c.Changer.Inventory(ctx)
	for i := range list {
		if list[i].Volume == c.barcode {
			list[i].Volume, list[i].Full = "", false
		}
	}
	return list, err
}

// spoil makes a volume's labels unreadable.
func (r *rig) spoil(b tape.Barcode) {
	for p := range 2 {
		r.lib.SetUnreadable(b, tape.Position{Partition: tape.Partition(p)}, true)
	}
}

// TestUnreadableIndex: both indexes of a volume are bad.
func TestUnreadableIndex(t *testing.T) {
	r := newRig(t, t.TempDir())
	defer r.end()
	r.open()
	r.write("/x", 0, content(1, 100))
	r.settle()
	var b tape.Barcode
	r.catalog(func(tx *catalog.Tx) error {
		return tx.Volumes(func(v catalog.Volume) bool {
			if v.UUID != "" {
				b = tape.Barcode(v.Barcode)
			}
			return true
		})
	})
	r.forget()
	for p := range 2 {
		for n := range 40 {
			r.lib.SetUnreadable(b, tape.Position{Partition: tape.Partition(p), Block: tape.BlockNo(n + 5)}, true)
		}
	}
	rep := r.rebuild()
	if rep.Files != 0 {
		t.Errorf("%+v", rep)
	}
	for _, v := range rep.Volumes {
		if (v.State == VolumeUnreadable) != (v.Barcode == b) {
			t.Errorf("%+v", v)
		}
	}
	r.snapshot()
}

// load puts a cartridge into the first drive, and returns how to bring it home.
func (r *rig) load(b tape.Barcode) (tape.Drive, func()) {
	r.t.Helper()
	ctx := context.Background()
	lib := r.lib.Tape()
	list, err := lib.Changer.Inventory(ctx)
	r.ok(err)
	var from, to uint16
	d := lib.Drives[0]
	for _, e := range list {
		if e.Volume == b {
			from = e.Address
		}
		if e.Kind == tape.DriveElement && e.Drive == d.Serial() {
			to = e.Address
		}
	}
	r.ok(lib.Changer.Move(ctx, from, to))
	r.ok(d.Load(ctx))
	return d, func() {
		r.ok(d.Unload(ctx))
		r.ok(lib.Changer.Move(ctx, to, from))
	}
}

// TestForeign: an LTFS volume of another program is said and not touched, and a tape
// that holds something else too. What another program has put on a volume of ours
// is taken over.
func TestForeign(t *testing.T) {
	r := newRig(t, t.TempDir())
	defer r.end()
	ctx := context.Background()
	r.open()
	r.mkdir("/d")
	r.write("/d/mine", 0, content(1, 10))
	r.write("/changed", 0, content(2, 30))
	r.settle()
	want := r.snapshot()
	var ours tape.Barcode
	r.catalog(func(tx *catalog.Tx) error {
		return tx.Volumes(func(v catalog.Volume) bool {
			if v.UUID != "" {
				ours = tape.Barcode(v.Barcode)
			}
			return true
		})
	})
	r.forget()

	put := func(lv *ltfs.Volume, path string, data []byte) {
		t.Helper()
		x, err := lv.Append(ctx, data)
		r.ok(err)
		r.ok(lv.Flush(ctx))
		x[0].FileOffset = 100
		f := &ltfs.File{Length: 100 + uint64(len(data)) + 7, Extents: x}
		f.SetXattr("note", []byte("n"))
		r.ok(lv.Index().Put(path, f))
	}
	const foreign, other = tape.Barcode("A00006L9"), tape.Barcode("A00007L9")
	d, home := r.load(foreign)
	r.ok(ltfs.Format(ctx, d, ltfs.FormatOptions{Barcode: foreign, BlockSize: 65536, UUID: "01234567-89ab-4def-8123-456789abcdef", Creator: "Another 1.0", Log: r.log}))
	lv, err := ltfs.Mount(ctx, d, ltfs.MountOptions{Log: r.log, Creator: "Another 1.0"})
	r.ok(err)
	put(lv, "theirs", content(3, 300))
	r.ok(lv.WriteIndex(ctx))
	home()
	d, home = r.load(other)
	r.ok(d.WriteBlock(ctx, []byte("a tar archive")))
	r.ok(d.WriteFilemarks(ctx, 1))
	home()

	rep := r.rebuild()
	for _, v := range rep.Volumes {
		state := VolumeBlank
		switch v.Barcode {
		case ours:
			state = VolumeRead
		case foreign, other:
			state = VolumeForeign
		}
		if v.State != state {
			t.Errorf("volume %s is %s (%s), want %s", v.Barcode, v.State, v.Why, state)
		}
	}
	r.same(want, r.snapshot())
	for _, v := range r.fs.Volumes() {
		if b := tape.Barcode(v.Barcode); b == foreign || b == other {
			if v.State != "foreign" {
				t.Errorf("volume %s is %s", b, v.State)
			}
		}
	}
	r.forget()

	d, home = r.load(ours)
	lv, err = ltfs.Mount(ctx, d, ltfs.MountOptions{Log: r.log})
	r.ok(err)
	put(lv, "added/file", content(5, 2*mib))
	_, err = lv.Index().Mkdir("added/empty", ltfs.Time{Sec: 5})
	r.ok(err)
	e, err := lv.Index().Lookup("changed")
	r.ok(err)
	f := e.(*ltfs.File)
	f.Extents, err = lv.Append(ctx, content(6, 31))
	r.ok(err)
	f.Length = 31
	r.ok(lv.Flush(ctx))
	lv.Index().MarkDirty()
	r.ok(lv.WriteIndex(ctx))
	home()
	rep = r.rebuild()
	if rep.Adopted != 2 || rep.Foreign != 1 || rep.LostFiles != 0 {
		t.Errorf("%+v", rep)
	}
	r.open()
	if got, err := r.read("/added/file"); err != nil || !bytes.Equal(got, append(append(make([]byte, 100), content(5, 2*mib)...), make([]byte, 7)...)) {
		t.Errorf("a file of another program: %d bytes, %v", len(got), err)
	}
	if got, err := r.read("/changed"); err != nil || !bytes.Equal(got, content(6, 31)) {
		t.Errorf("a file that another program has changed: %d bytes, %v", len(got), err)
	}
	n := r.node("/added/empty")
	n.Release()
	if v, err := func() ([]byte, error) {
		n := r.node("/added/file")
		defer n.Release()
		return n.Xattr(root, "user.note")
	}(); err != nil || string(v) != "n" {
		t.Errorf("its xattr: %q %v", v, err)
	}
}

// TestRefused: a folder that holds something is not touched.
func TestRefused(t *testing.T) {
	r := newRig(t, t.TempDir())
	defer r.end()
	r.open()
	r.write("/x", 0, content(1, 10))
	r.close()
	_, err := Run(context.Background(), r.options())
	if err == nil || !strings.Contains(err.Error(), "page cache") {
		t.Errorf("with a cache: %v", err)
	}
	r.ok(os.RemoveAll(filepath.Join(r.dir, "cache")))
	_, err = Run(context.Background(), r.options())
	if err == nil || !strings.Contains(err.Error(), "has a catalog of 1 files") {
		t.Errorf("with a catalog: %v", err)
	}
	r.catalog(func(tx *catalog.Tx) error {
		if _, err := tx.Lookup(1, "x"); err != nil {
			t.Errorf("the catalog was changed: %v", err)
		}
		return nil
	})
}

// TestInterrupted: the rebuild ends before any of its transactions, and is run again
// until it is done; in between the archive is not served.
func TestInterrupted(t *testing.T) {
	r := newRig(t, t.TempDir(), func(c *virtual.Config) { c.Slots = 3 })
	defer r.end()
	r.twoVolumes()
	r.open()
	for i := range 12 {
		r.write("/f"+string(rune('a'+i)), 0, content(uint64(i), 10))
	}
	r.remove("/new")
	r.settle()
	want := r.snapshot()
	r.forget()
	stopped := stderrors.New("stopped")
	runs := 0
	for n := 1; ; n++ {
		o := r.options()
		o.batch = 2
		left := n
		o.stop = func() error {
			if left--; left < 0 {
				return stopped
			}
			return nil
		}
		o.Library = oneDrive(r.lib.Tape())
		rep, err := Run(context.Background(), o)
		r.atHome()
		if err == nil {
			if len(rep.Volumes) != 3 || rep.Volumes[0].State != VolumeRead {
				t.Errorf("the report of the last run: %+v", rep.Volumes)
			}
			break
		}
		if !stderrors.Is(err, stopped) {
			t.Fatalf("run %d: %+v", n, err)
		}
		runs++
		if n > 2 {
			bo := r.opts
			bo.Library = r.lib.Tape()
			if _, err := backend.Open(bo); err == nil || !strings.Contains(err.Error(), "sliod rebuild") {
				t.Fatalf("an unfinished catalog is served: %v", err)
			}
		}
		if n > 60 {
			t.Fatal("it does not come to an end")
		}
	}
	if runs < 5 {
		t.Errorf("it was stopped %d times only", runs)
	}
	r.same(want, r.snapshot())
}

// TestInterruptedAtTheEnd: the last transactions of a rebuild take its own records away. The run that goes on behind
// any of them reports all the same.
func TestInterruptedAtTheEnd(t *testing.T) {
	r := newRig(t, t.TempDir(), func(c *virtual.Config) { c.Slots = 3 })
	defer r.end()
	r.twoVolumes()
	stopped := stderrors.New("stopped")
	run := func(limit int) (rep *Report, n int, err error) {
		o := r.options()
		o.batch = 1
		o.Library = oneDrive(r.lib.Tape())
		o.stop = func() error {
			if n++; n > limit {
				return stopped
			}
			return nil
		}
		rep, err = Run(context.Background(), o)
		return rep, n, err
	}
	r.forget()
	want, all, err := run(1 << 30)
	if err != nil {
		t.Fatal(err)
	}
	for k := 1; k <= 4; k++ {
		r.forget()
		if _, _, err := run(all - k); !stderrors.Is(err, stopped) {
			t.Fatal(err)
		}
		got, _, err := run(1 << 30)
		if err != nil {
			t.Fatal(err)
		}
		if want.Resumed = true; !reflect.DeepEqual(got, want) {
			t.Errorf("%d before the end: %+v, want %+v", k, got, want)
		}
	}
}

// oneDrive leaves a library one drive, so that what happens is in one order.
func oneDrive(l *tape.Library) *tape.Library {
	c := *l
	c.Drives = l.Drives[:1]
	return &c
}

// TestCancelled: the context ends at each command of the library.
func TestCancelled(t *testing.T) {
	r := newRig(t, t.TempDir(), func(c *virtual.Config) { c.Slots = 3 })
	defer r.end()
	r.twoVolumes()
	want := r.snapshot()
	r.forget()
	for n := 1; ; n += 3 {
		ctx, cancel := context.WithCancel(context.Background())
		left := n
		r.lib.Hook(func(e virtual.Event) {
			if left--; left == 0 {
				cancel()
			}
		})
		o := r.options()
		o.Library = oneDrive(r.lib.Tape())
		_, err := Run(ctx, o)
		cancel()
		r.lib.Hook(nil)
		r.atHome()
		if err == nil {
			break
		}
		if !stderrors.Is(err, context.Canceled) {
			t.Fatalf("command %d: %+v", n, err)
		}
	}
	r.same(want, r.snapshot())
}

// TestDriveFails: one of two drives dies while it reads; the other goes on.
func TestDriveFails(t *testing.T) {
	r := newRig(t, t.TempDir())
	defer r.end()
	r.twoVolumes()
	want := r.snapshot()
	r.forget()
	remove := r.lib.SetFault(virtual.Fault{Device: 1, Opcode: 0x08, Times: -1, Sense: scsi.Sense{Key: scsi.HardwareKey, Code: 0x4400}})
	defer remove()
	r.rebuild()
	remove()
	r.same(want, r.snapshot())
}
