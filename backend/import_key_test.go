package backend

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"sliod/backend/policy"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// pooled are pools that write with one key and have others.
type pooled struct {
	current *tape.EncryptionKey
	old     *tape.EncryptionKey
}

func (pooled) Of(tape.Barcode) string { return "vault" }

func (p pooled) Source(string) ltfs.KeySource {
	return func(id string) (*tape.EncryptionKey, error) {
		switch {
		case id == "":
			return p.current, nil
		case p.old != nil && p.old.ID == id:
			return p.old, nil
		}
		return nil, fmt.Errorf("no key %s here", id)
	}
}

// TestImportEncrypted: a volume that others have encrypted is imported if its key is
// configured, and does not grow if the pool's data have another key.
func TestImportEncrypted(t *testing.T) {
	w := newWorld(t)
	w.close()
	theirs := &tape.EncryptionKey{ID: "theirs", Key: [32]byte{9, 8, 7}}
	source := func(string) (*tape.EncryptionKey, error) { return theirs, nil }
	w.cartridge(foreignBarcode, func(ctx context.Context, d tape.Drive) {
		err := ltfs.Format(ctx, d, ltfs.FormatOptions{Barcode: foreignBarcode, Creator: "another program", Key: source})
		var lv *ltfs.Volume
		if err == nil {
			lv, err = ltfs.Mount(ctx, d, ltfs.MountOptions{Creator: "another program", Key: source})
		}
		var e []ltfs.Extent
		if err == nil {
			e, err = lv.Append(ctx, []byte("their content"))
		}
		if err == nil {
			err = lv.Index().Put("f", &ltfs.File{Length: 13, Extents: e})
		}
		if err == nil {
			err = lv.Close(ctx)
		}
		if err != nil {
			t.Fatalf("%+v", err)
		}
	})
	w.opts.Mover.Pools = pooled{}
	w.opts.Policy = &policy.Rules{Default: policy.Decision{Copies: []string{"vault"}}}
	w.open()
	if text := w.importError(foreignBarcode); !strings.Contains(text, `key "theirs"`) || !strings.Contains(text, "no key theirs here") {
		t.Error(text)
	}
	w.close()
	w.opts.Mover.Pools = pooled{current: &tape.EncryptionKey{ID: "ours"}, old: theirs}
	w.open()
	if text := w.importError(foreignBarcode, "/theirs", "grow=yes"); !strings.Contains(text, "cannot grow") || !strings.Contains(text, `"ours"`) {
		t.Error(text)
	}
	if j := w.ends(JobImport, foreignBarcode, "/theirs"); j.State != "done" {
		t.Fatalf("%+v", j)
	}
	if got := string(w.content("/theirs/f")); got != "their content" {
		t.Errorf("it reads as %q", got)
	}
	for _, v := range w.fs.Volumes() {
		if v.Barcode == foreignBarcode && (v.KeyID != "theirs" || v.Encryption != "on" || v.Pool != "vault") {
			t.Errorf("%+v", v)
		}
	}
}
