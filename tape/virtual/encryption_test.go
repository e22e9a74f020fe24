package virtual

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"sliod/tape"
	"sliod/tape/tapetest"
)

func keyOf(id string, first byte) *tape.EncryptionKey {
	return &tape.EncryptionKey{ID: id, Key: [32]byte{first, 1, 2, 3}}
}

// onDisk says whether a cartridge's files have b in them.
func onDisk(t *testing.T, l *Library, b []byte) bool {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(l.cfg.Dir, "volumes", "*", "*"))
	noError(t, err)
	if len(names) == 0 {
		t.Fatal("no cartridge files")
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		noError(t, err)
		if bytes.Contains(text, b) {
			return true
		}
	}
	return false
}

func TestEncryption(t *testing.T) {
	for _, generation := range []string{"LTO-5", "LTO-9"} { // without and with protection of records
		l := open(t, t.TempDir(), func(c *Config) { c.Cartridge = generation })
		d := mount(t, l)
		ctx := t.Context()
		if !d.Limits().HasEncryption {
			t.Fatalf("%+v", d.Limits())
		}
		clear, secret := []byte("a label that everybody reads"), bytes.Repeat([]byte("a secret record "), 50)
		k := keyOf("key-1", 1)
		noError(t, d.WriteBlock(ctx, clear))
		noError(t, d.SetKey(ctx, k))
		noError(t, d.WriteBlock(ctx, secret))
		noError(t, d.WriteFilemarks(ctx, 1))
		read := func(at int, want []byte) {
			t.Helper()
			noError(t, d.Locate(ctx, positionOf(at)))
			buf := make([]byte, 4096)
			n, err := d.ReadBlock(ctx, buf)
			noError(t, err)
			if !bytes.Equal(buf[:n], want) {
				t.Fatalf("record %d reads as %q", at, buf[:n])
			}
		}
		locked := func(id string) {
			t.Helper()
			noError(t, d.Locate(ctx, positionOf(1)))
			_, err := d.ReadBlock(ctx, make([]byte, 4096))
			wantKind(t, err, tape.WrongKey)
			at, err := d.Position(ctx)
			noError(t, err)
			if at != positionOf(1) {
				t.Fatalf("the head went on to %v", at)
			}
			if got, encrypted, err := d.BlockKey(ctx); err != nil || !encrypted || got != id {
				t.Fatalf("next block: %q, %v, %v", got, encrypted, err)
			}
		}
		read(0, clear)
		if _, encrypted, err := d.BlockKey(ctx); err != nil || !encrypted {
			t.Fatal(encrypted, err)
		}
		read(1, secret)
		if _, encrypted, err := d.BlockKey(ctx); err != nil || encrypted {
			t.Fatal("a filemark is encrypted", err)
		}
		// A buffer that is too short, and one that is just right.
		noError(t, d.Locate(ctx, positionOf(1)))
		_, err := d.ReadBlock(ctx, make([]byte, 10))
		wantKind(t, err, tape.BadBlockLength)
		noError(t, d.Locate(ctx, positionOf(1)))
		if n, err := d.ReadBlock(ctx, make([]byte, len(secret))); err != nil || n != len(secret) {
			t.Fatal(n, err)
		}

		noError(t, d.SetKey(ctx, nil))
		read(0, clear)
		locked("key-1")
		noError(t, d.SetKey(ctx, keyOf("key-1", 9)))
		locked("key-1")
		noError(t, d.SetKey(ctx, k))
		read(1, secret)

		// A reset takes the key; the driver gives it again, and before anything is written.
		noError(t, d.LocateEnd(ctx, 0))
		l.Reset(0)
		if _, err := d.Position(ctx); err != nil {
			t.Fatal(err)
		}
		read(1, secret)
		noError(t, d.LocateEnd(ctx, 0))
		more := tapetest.Record(7, 3000)
		noError(t, d.WriteBlock(ctx, more))
		l.Reset(0)
		wantKind(t, d.WriteBlock(ctx, more), tape.Deferred)
		noError(t, d.LocateEnd(ctx, 0))
		noError(t, d.WriteBlock(ctx, more))
		noError(t, d.WriteFilemarks(ctx, 0))
		if onDisk(t, l, secret[:16]) || onDisk(t, l, more[8:40]) || onDisk(t, l, k.Key[:]) {
			t.Fatal("the cartridge holds plain text, or the key")
		}
		if !onDisk(t, l, clear) {
			t.Fatal("the scan finds nothing")
		}

		// So does an unload, and nobody gives it again.
		noError(t, d.Unload(ctx))
		if l.drives[0].crypt.aead != nil {
			t.Fatal("the key is in the drive after the unload")
		}
		noError(t, d.Load(ctx))
		locked("key-1")
	}
}

// TestResetsAndKey has the drive reset before each command that follows, one after the
// other: whatever is hit, no record goes on tape in clear.
func TestResetsAndKey(t *testing.T) {
	secret := []byte("0123456789 a secret that must not be on tape 9876543210")
	for nth := 1; ; nth++ {
		l := open(t, t.TempDir())
		d := mount(t, l)
		ctx := t.Context()
		noError(t, d.SetKey(ctx, keyOf("k", 1)))
		n, hit := 0, 0
		l.Hook(func(e Event) {
			if e.After {
				return
			}
			// The second reset comes while the driver sets up what the first has undone.
			if n++; n == nth || n == nth+1+nth%17 {
				hit++
				l.Reset(0)
			}
		})
		atEnd := func() {
			t.Helper()
			err := d.LocateEnd(ctx, 0)
			if err != nil { // the second reset
				err = d.LocateEnd(ctx, 0)
			}
			noError(t, err)
		}
		for range 6 {
			if err := d.WriteBlock(ctx, secret); err != nil {
				if k := tape.KindOf(err); k != tape.Deferred && k != tape.UnitAttention && k != tape.KindOther {
					t.Fatalf("reset before command %d: %v", nth, err)
				}
				atEnd()
			}
		}
		err := d.WriteFilemarks(ctx, 0)
		if hit == 0 {
			noError(t, err)
			if nth < 7 {
				t.Fatalf("%d commands only", nth)
			}
			return
		}
		l.Hook(nil)
		if err != nil {
			atEnd()
		}
		atEnd()
		noError(t, d.WriteBlock(ctx, secret))
		noError(t, d.WriteFilemarks(ctx, 0))
		if onDisk(t, l, secret[:20]) {
			t.Fatalf("reset before command %d: the cartridge holds plain text", nth)
		}
	}
}

func TestNoEncryption(t *testing.T) {
	for _, profile := range []func(*Config){
		func(c *Config) { c.NoEncryption = true },
		func(c *Config) { c.Profile = ProfileOld },
		func(c *Config) { c.Profile = ProfileSSC2 },
	} {
		l := open(t, t.TempDir(), profile)
		d := mount(t, l)
		if d.Limits().HasEncryption {
			t.Fatal("it claims to encrypt")
		}
		wantKind(t, d.SetKey(t.Context(), keyOf("k", 1)), tape.IllegalRequest)
		noError(t, d.SetKey(t.Context(), nil))
		_, _, err := d.BlockKey(t.Context())
		wantKind(t, err, tape.IllegalRequest)
	}
}

func FuzzSealed(f *testing.F) {
	f.Add([]byte("123456789012\x02\x01ABC1234567890123456"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseSealed(b); err == nil && len(s.nonce)+2+len(s.text) > len(b) {
			t.Fatalf("%+v of % x", s, b)
		}
	})
}
