package ltfs_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"sliod/tape"
	"sliod/tape/ltfs"
	"sliod/tape/virtual"
)

// TestOverSCSI runs the format over the real driver and the emulated library.
func TestOverSCSI(t *testing.T) {
	for _, c := range []struct{ cartridge, profile string }{{"LTO-5", ""}, {"LTO-9", ""}, {"LTO-5", virtual.ProfileOld}, {"LTO-5", virtual.ProfileSSC2}} {
		t.Run(c.cartridge+c.profile, func(t *testing.T) { overSCSI(t, c.cartridge, c.profile) })
	}
}

func overSCSI(t *testing.T, cartridge, profile string) {
	ctx := context.Background()
	lib, err := virtual.Open(virtual.Config{Dir: t.TempDir(), Drives: 1, Slots: 2, Cartridge: cartridge, Capacity: 64 << 20, Profile: profile})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer func() {
		if err := lib.Close(); err != nil {
			t.Error(err)
		}
	}()
	l := lib.Tape()
	elements, err := l.Changer.Inventory(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var from, to uint16
	var barcode tape.Barcode
	for _, e := range elements {
		switch {
		case e.Kind == tape.Slot && e.Full:
			from, barcode = e.Address, e.Volume
		case e.Kind == tape.DriveElement:
			to = e.Address
		}
	}
	if err := l.Changer.Move(ctx, from, to); err != nil {
		t.Fatal(err)
	}
	d := l.Drives[0]
	if err := d.Load(ctx); err != nil {
		t.Fatalf("%+v", err)
	}
	if _, err := ltfs.Mount(ctx, d, ltfs.MountOptions{}); err == nil {
		t.Fatal("mounted a blank cartridge")
	} else {
		t.Log(err)
	}
	if err := ltfs.Format(ctx, d, ltfs.FormatOptions{Barcode: barcode}); err != nil {
		t.Fatalf("%+v", err)
	}
	want := barcode
	if !d.Limits().HasMAM { // the label has only the volume serial
		want = barcode[:6]
	}
	files := 0
	data := func(i int) []byte { return bytes.Repeat([]byte{byte(i), byte(i >> 8), 3}, 100+i*7919%400000) }
	check := func(ignore bool) *ltfs.Volume {
		t.Helper()
		v, err := ltfs.Mount(ctx, d, ltfs.MountOptions{IgnoreMAM: ignore})
		if err != nil {
			t.Fatalf("%+v", err)
		}
		if v.Barcode() != want || v.Repair() != nil || v.Index().Files() != files || v.BlockSize() != ltfs.DefaultBlockSize {
			t.Fatalf("%s, %v, %d files of %d", v.Barcode(), v.Repair(), v.Index().Files(), files)
		}
		for i := range files {
			e, err := v.Index().Lookup(fmt.Sprintf("dir/f%d", i))
			if err != nil {
				t.Fatal(err)
			}
			f := e.(*ltfs.File)
			got := make([]byte, f.Length)
			if err := v.ReadExtent(ctx, f.Extents[0], got); err != nil || !bytes.Equal(got, data(i)) {
				t.Fatalf("file %d: %+v", i, err)
			}
		}
		return v
	}
	for range 2 {
		v := check(false)
		t.Log("room", v.Remaining())
		for range 12 {
			p := data(files)
			ext, err := v.Append(ctx, p)
			if err == nil {
				err = v.Index().Put(fmt.Sprintf("dir/f%d", files), &ltfs.File{Length: uint64(len(p)), Extents: ext})
			}
			if err != nil {
				t.Fatalf("%+v", err)
			}
			files++
		}
		if err := v.Close(ctx); err != nil {
			t.Fatalf("%+v", err)
		}
		check(true)
	}
	// The cartridge leaves the drive and comes back: the memory is still valid.
	if err := d.Unload(ctx); err != nil {
		t.Fatal(err)
	}
	if err := d.Load(ctx); err != nil {
		t.Fatalf("%+v", err)
	}
	v := check(false)
	// Cut off without an index: what was flushed is reported.
	ext, err := v.Append(ctx, []byte("lost and found"))
	if err == nil {
		err = v.Flush(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	if v, err = ltfs.Mount(ctx, d, ltfs.MountOptions{}); err != nil || v.Repair() == nil {
		t.Fatalf("no repair reported: %+v", err)
	}
	got := make([]byte, ext[0].ByteCount)
	if err := v.ReadExtent(ctx, ext[0], got); err != nil || string(got) != "lost and found" {
		t.Fatalf("%q %+v", got, err)
	}
	v.Adopt()
	if err := v.Close(ctx); err != nil {
		t.Fatalf("%+v", err)
	}
	check(false)
	// Until it is full.
	v = check(false)
	p := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	n := 0
	for ; ; n++ {
		if _, err = v.Append(ctx, p); err != nil {
			break
		}
	}
	t.Logf("full after %d MiB: %v", n, err)
	if err := v.Flush(ctx); err != nil {
		t.Fatalf("%+v", err)
	}
	if err := v.Close(ctx); err != nil {
		t.Fatalf("%+v", err)
	}
	check(true)
	if err := d.Unload(ctx); err != nil {
		t.Fatal(err)
	}
	if profile != "" {
		return
	}
	// The same on a WORM cartridge: it can be read, and nothing else.
	if err := lib.SetWORM(barcode, true); err != nil {
		t.Fatal(err)
	}
	if err := d.Load(ctx); err != nil {
		t.Fatalf("%+v", err)
	}
	if l := d.Limits(); !l.WORM || !l.WriteProtected {
		t.Fatalf("%+v", l)
	}
	v = check(false)
	_, err = v.Append(ctx, p)
	if err == nil {
		err = v.Flush(ctx)
	}
	if tape.KindOf(err) != tape.WriteProtected {
		t.Fatalf("written to a WORM cartridge: %v", err)
	}
	if err := ltfs.Format(ctx, d, ltfs.FormatOptions{Barcode: barcode}); tape.KindOf(err) != tape.WriteProtected {
		t.Fatalf("formatted a WORM cartridge: %v", err)
	}
	check(true)
	if err := d.Unload(ctx); err != nil {
		t.Fatal(err)
	}
}
