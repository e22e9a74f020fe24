package rebuild

import (
	"context"
	"strings"
	"testing"

	"github.com/pkg/errors"

	"sliod/backend"
	"sliod/backend/catalog"
	"sliod/backend/policy"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// locked are pools that encrypt all, with one key; nil: which they do not have.
type locked struct{ key *tape.EncryptionKey }

func (locked) Of(tape.Barcode) string { return "secret" }

func (l locked) Source(string) ltfs.KeySource {
	return func(id string) (*tape.EncryptionKey, error) {
		if id == "" || l.key != nil && id == l.key.ID {
			return l.key, nil
		}
		return nil, errors.Errorf("there is no key %s", id)
	}
}

// TestEncrypted: a rebuild without the key is refused, and goes on with it.
func TestEncrypted(t *testing.T) {
	r := newRig(t, t.TempDir())
	defer r.end()
	pools := locked{&tape.EncryptionKey{ID: "2026-a", Key: [32]byte{1, 2, 3}}}
	r.opts.Mover.Pools = pools
	r.opts.Policy = &policy.Rules{Default: policy.Decision{Copies: []string{"secret"}}}
	r.open()
	r.mkdir("/dir")
	r.write("/dir/one", 0, content(1, 2*mib+17))
	r.write("/two", 0, content(2, 100))
	r.settle()
	r.open()
	r.job(backend.JobEvict, "/")
	want := r.snapshot()
	r.forget()
	for _, none := range []Options{{}, {Pools: locked{}}} {
		o := r.options()
		o.Pools = none.Pools
		_, err := Run(context.Background(), o)
		if err == nil || !strings.Contains(err.Error(), `"2026-a"`) || !strings.Contains(err.Error(), "configure it") {
			t.Fatalf("without the key: %v", err)
		}
		r.atHome()
	}
	o := r.options()
	o.Pools = pools
	rep, err := Run(context.Background(), o)
	r.ok(err)
	r.atHome()
	if rep.LostFiles+rep.LostFound+rep.Renamed+rep.Damaged+rep.Adopted+rep.Foreign != 0 {
		t.Fatalf("%+v", rep)
	}
	r.same(want, r.snapshot())
	keys := 0
	r.catalog(func(tx *catalog.Tx) error {
		return tx.Volumes(func(v catalog.Volume) bool {
			if v.KeyID == "2026-a" && v.Pool == "secret" {
				keys++
			}
			return true
		})
	})
	if keys == 0 { // one, or one for each drive
		t.Error("no volume with the key")
	}
}
