package ltfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sliod/tape"
	"sliod/tape/ltfs"
	"sliod/tape/ltfs/ltfscheck"
	"sliod/tape/virtual"
)

// shelf is a virtual library with its first cartridge in its only drive.
type shelf struct {
	t       *testing.T
	dir     string
	lib     *virtual.Library
	d       tape.Drive
	barcode tape.Barcode
}

func newShelf(t *testing.T, change ...func(*virtual.Config)) *shelf {
	t.Helper()
	s := &shelf{t: t, dir: t.TempDir()}
	cfg := virtual.Config{Dir: s.dir, Drives: 1, Slots: 2, Capacity: 64 << 20}
	for _, fn := range change {
		fn(&cfg)
	}
	var err error
	s.lib, err = virtual.Open(cfg)
	s.ok(err)
	t.Cleanup(func() { s.ok(s.lib.Close()) })
	l := s.lib.Tape()
	elements, err := l.Changer.Inventory(t.Context())
	s.ok(err)
	var from, to uint16
	for _, e := range elements {
		switch {
		case e.Kind == tape.Slot && e.Full:
			from, s.barcode = e.Address, e.Volume
		case e.Kind == tape.DriveElement:
			to = e.Address
		}
	}
	s.ok(l.Changer.Move(t.Context(), from, to))
	s.d = l.Drives[0]
	s.ok(s.d.Load(t.Context()))
	return s
}

func (s *shelf) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%+v", err)
	}
}

// again unloads and loads: the drive has no key then.
func (s *shelf) again() {
	s.t.Helper()
	s.ok(s.d.Unload(s.t.Context()))
	s.ok(s.d.Load(s.t.Context()))
}

// onTape says whether the cartridges' files have b in them.
func (s *shelf) onTape(b []byte) bool {
	s.t.Helper()
	found := false
	s.ok(filepath.Walk(filepath.Join(s.dir, "volumes"), func(name string, st os.FileInfo, err error) error {
		if err == nil && !st.IsDir() {
			text, err := os.ReadFile(name)
			s.ok(err)
			found = found || bytes.Contains(text, b)
		}
		return err
	}))
	return found
}

func (s *shelf) mount(keys ltfs.KeySource) *ltfs.Volume {
	s.t.Helper()
	v, err := ltfs.Mount(s.t.Context(), s.d, ltfs.MountOptions{Key: keys})
	s.ok(err)
	return v
}

// put appends a file.
func (s *shelf) put(v *ltfs.Volume, name string, content []byte) error {
	ext, err := v.Append(s.t.Context(), content)
	if err != nil {
		return err
	}
	return v.Index().Put(name, &ltfs.File{Node: ltfs.Node{Name: name}, Length: uint64(len(content)), Extents: ext})
}

func (s *shelf) wantFile(v *ltfs.Volume, name string, want []byte) {
	s.t.Helper()
	e, err := v.Index().Lookup(name)
	s.ok(err)
	f := e.(*ltfs.File)
	got := make([]byte, f.Extents[0].ByteCount)
	s.ok(v.ReadExtent(s.t.Context(), f.Extents[0], got))
	if !bytes.Equal(got, want) {
		s.t.Fatalf("%s reads wrong", name)
	}
}

func key(id string, first byte) *tape.EncryptionKey {
	return &tape.EncryptionKey{ID: id, Key: [32]byte{first, 0xC0, 0xFF, 0xEE, 0xC0, 0xFF, 0xEE, 1}}
}

// ring has keys; the first is that of new data, nil if they are in clear.
func ring(current *tape.EncryptionKey, more ...*tape.EncryptionKey) ltfs.KeySource {
	return func(id string) (*tape.EncryptionKey, error) {
		if id == "" {
			return current, nil
		}
		for _, k := range append(more, current) {
			if k != nil && k.ID == id {
				return k, nil
			}
		}
		return nil, fmt.Errorf("put %s into the ring", id)
	}
}

var (
	marker = bytes.Repeat([]byte("the marker of plain text "), 40)
	name   = "a name that nobody may read.txt"
)

func TestEncryptedVolume(t *testing.T) {
	for _, shape := range []struct {
		name   string
		one    bool
		change func(*virtual.Config)
	}{{"two partitions", false, func(*virtual.Config) {}}, {"one partition", true, func(c *virtual.Config) { c.Cartridge = "LTO-5" }}} {
		t.Run(shape.name, func(t *testing.T) {
			s := newShelf(t, shape.change)
			ctx := t.Context()
			k := key("2026-a", 1)
			s.ok(ltfs.Format(ctx, s.d, ltfs.FormatOptions{Barcode: s.barcode, Key: ring(k), Pool: "secret", OnePartition: shape.one}))
			v := s.mount(ring(k))
			s.ok(s.put(v, name, marker))
			s.ok(v.Close(ctx))
			pool, err := s.d.ReadAttribute(ctx, 0, 0x0808)
			s.ok(err)
			if got := strings.TrimRight(string(pool), "\x00"); got != "secret" {
				t.Errorf("attribute 0808h: %q", got)
			}
			id, err := s.d.ReadAttribute(ctx, 0, 0x1580)
			if s.ok(err); string(id) != v.UUID()+" 2026-a" {
				t.Errorf("attribute 1580h: %q", id)
			}
			if s.onTape(marker[:25]) || s.onTape([]byte(name)) || s.onTape([]byte("ltfsindex")) || s.onTape(k.Key[:]) {
				t.Fatal("the cartridge holds plain text, or the key")
			}
			if !s.onTape([]byte("VOL1")) || !s.onTape([]byte("ltfslabel")) {
				t.Fatal("the labels are not in clear")
			}
			s.again()

			read := func(how string, o ltfs.MountOptions) {
				t.Helper()
				o.Key = ring(k)
				v, err := ltfs.Mount(ctx, s.d, o)
				if err != nil {
					t.Fatalf("%s: %v", how, err)
				}
				if x, _ := v.Index().Root.Xattr("sliod.key"); v.KeyID() != "2026-a" || string(x) != "2026-a" || v.Refusal() != nil {
					t.Fatalf("%s: key %q, in the index %q, %v", how, v.KeyID(), x, v.Refusal())
				}
				s.wantFile(v, name, marker)
				s.again()
			}
			read("by the memory", ltfs.MountOptions{})
			read("by the tape", ltfs.MountOptions{IgnoreMAM: true})
			s.ok(ltfs.Unlock(ctx, s.d, ltfs.MountOptions{Key: ring(k)}))
			if rep, err := ltfscheck.Check(ctx, s.d, ltfscheck.Options{}); err != nil || len(rep.Findings) > 0 && !shape.one {
				t.Errorf("%+v, %v", rep, err)
			}
			s.again()

			// Without the key, and with another one.
			for _, ignore := range []bool{false, true} {
				for what, keys := range map[string]ltfs.KeySource{"no keys": nil, "another": ring(key("2027", 2)), "clear": ring(nil), "wrong": ring(key("2026-a", 7))} {
					_, err := ltfs.Mount(ctx, s.d, ltfs.MountOptions{Key: keys, IgnoreMAM: ignore})
					var ke *ltfs.KeyError
					if !errors.As(err, &ke) || ke.ID != "2026-a" || ke.Wrong != (what == "wrong") || !strings.Contains(err.Error(), `"2026-a"`) {
						t.Fatalf("%s: %v", what, err)
					}
					if text := fmt.Sprintf("%v %+v %#v", err, err, ke); strings.Contains(strings.ToLower(text), "c0ffee") || strings.Contains(text, "0xc0, 0xff") {
						t.Fatalf("the key is in an error: %s", text)
					}
					s.again()
				}
			}
			// After a rotation it is read, and takes no more.
			v = s.mount(ring(key("2027", 2), k))
			s.wantFile(v, name, marker)
			for _, err := range []error{v.Refusal(), s.put(v, "more", marker)} {
				if !errors.Is(err, ltfs.ErrKeyPolicy) {
					t.Fatalf("an old key: %v", err)
				}
			}
			s.ok(v.Close(ctx))
			v = s.mount(ring(nil, k))
			if err := s.put(v, "more", marker); !errors.Is(err, ltfs.ErrKeyPolicy) {
				t.Fatalf("encryption turned off: %v", err)
			}
			// What an earlier volume says of its key is nothing to the next.
			s.ok(ltfs.Format(ctx, s.d, ltfs.FormatOptions{Barcode: s.barcode, OnePartition: shape.one}))
			s.again()
			if v = s.mount(nil); v.KeyID() != "" {
				t.Fatalf("a volume in clear has key %q", v.KeyID())
			}
		})
	}
}

func TestClearVolumeInEncryptedPool(t *testing.T) {
	s := newShelf(t)
	ctx := t.Context()
	s.ok(ltfs.Format(ctx, s.d, ltfs.FormatOptions{Barcode: s.barcode}))
	v := s.mount(nil)
	s.ok(s.put(v, "old", []byte("old content")))
	s.ok(v.Close(ctx))
	v = s.mount(ring(key("k", 1)))
	s.wantFile(v, "old", []byte("old content"))
	if err := s.put(v, "new", marker); !errors.Is(err, ltfs.ErrKeyPolicy) {
		t.Fatal(err)
	}
	v.Index().MarkDirty()
	if err := v.WriteIndex(ctx); !errors.Is(err, ltfs.ErrKeyPolicy) {
		t.Fatal(err)
	}
	if s.onTape(marker[:25]) {
		t.Fatal("data went to tape in clear")
	}
	// A source that fails for new data does not keep old data from being read.
	v = s.mount(func(id string) (*tape.EncryptionKey, error) { return nil, errors.New("the key server is away") })
	s.wantFile(v, "old", []byte("old content"))
	if err := s.put(v, "new", marker); !errors.Is(err, ltfs.ErrKeyPolicy) || !strings.Contains(err.Error(), "the key server is away") {
		t.Fatal(err)
	}
}

func TestFormatWithoutEncryption(t *testing.T) {
	s := newShelf(t, func(c *virtual.Config) { c.NoEncryption = true })
	err := ltfs.Format(t.Context(), s.d, ltfs.FormatOptions{Barcode: s.barcode, Key: ring(key("k", 1)), Pool: "secret"})
	if !errors.Is(err, ltfs.ErrCannotEncrypt) || tape.KindOf(err) != tape.IllegalRequest || !strings.Contains(err.Error(), `cannot encrypt; pool "secret" wants it`) {
		t.Fatal(err)
	}
	s.ok(ltfs.Format(t.Context(), s.d, ltfs.FormatOptions{Barcode: s.barcode, Key: ring(nil)}))
	_ = s.mount(ring(nil))
}

// TestResetWhileWriting has the drive reset before the n-th command of a format, and of
// a batch, for every third n (package virtual has a test of each command): whatever fails, no plain record is on tape, and the volume can be
// written again.
func TestResetWhileWriting(t *testing.T) {
	k := key("k", 1)
	for _, phase := range []string{"format", "batch"} {
		for nth := 1; ; nth += 3 {
			s := newShelf(t)
			ctx := context.Background()
			n := 0
			arm := func() {
				s.lib.Hook(func(e virtual.Event) {
					if !e.After {
						if n++; n == nth {
							s.lib.Reset(0)
						}
					}
				})
			}
			if phase == "format" {
				arm()
			}
			err := ltfs.Format(ctx, s.d, ltfs.FormatOptions{Barcode: s.barcode, Key: ring(k), UUID: "01234567-89ab-4def-8123-456789abcdef"})
			var v *ltfs.Volume
			if err == nil {
				v, err = ltfs.Mount(ctx, s.d, ltfs.MountOptions{Key: ring(k)})
			}
			if phase == "batch" {
				s.ok(err)
				arm()
			}
			for i := range 2 {
				if err == nil {
					err = s.put(v, fmt.Sprint(name, i), bytes.Repeat(marker, 60))
				}
				if err == nil {
					err = v.Flush(ctx)
				}
			}
			if err == nil {
				err = v.Close(ctx)
			}
			done := n < nth
			s.lib.Hook(nil)
			if s.onTape(marker[:25]) || s.onTape([]byte(name)) || s.onTape([]byte("<ltfsindex")) {
				t.Fatalf("%s: a reset before command %d puts plain text on tape", phase, nth)
			}
			if done {
				if s.ok(err); nth < 20 {
					t.Fatalf("%s has %d commands only", phase, nth)
				}
				break
			}
			if phase == "batch" { // the volume can be written again
				v, err = ltfs.Mount(ctx, s.d, ltfs.MountOptions{Key: ring(k)})
				s.ok(err)
				s.ok(v.CutOff())
				s.ok(s.put(v, "after", marker))
				s.ok(v.Close(ctx))
				s.again()
				s.wantFile(s.mount(ring(k)), "after", marker)
			}
			if s.onTape(marker[:25]) {
				t.Fatalf("%s: after a reset before command %d plain text goes to tape", phase, nth)
			}
		}
	}
}
