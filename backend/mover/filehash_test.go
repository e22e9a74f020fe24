package mover

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// hashes looks at the SHA-256 of all entries on a volume of a stopped rig: a value
// that is there must be right. It returns the files that have one.
func (r *rig) hashes(v tape.Barcode) map[sliver.FileID]bool {
	r.t.Helper()
	has := map[sliver.FileID]bool{}
	r.onTape(v, func(lv *ltfs.Volume) {
		err := lv.Index().Walk(func(path string, e ltfs.Entry) error {
			file, ok := e.(*ltfs.File)
			f, ours := fileOf(e)
			if !ok || !ours {
				return nil
			}
			sum, ok := file.Xattr(ltfs.KeySHA256)
			if !ok {
				return nil
			}
			has[f] = true
			got := make([]byte, file.Length)
			for _, x := range file.Extents {
				if err := lv.ReadExtent(r.t.Context(), x, got[x.FileOffset:][:x.ByteCount]); err != nil {
					return err
				}
			}
			want := sha256.Sum256(got)
			if hex.EncodeToString(want[:]) != string(sum) {
				r.t.Errorf("%s: SHA-256 %s, the content has %x", path, sum, want)
			}
			return nil
		})
		if err != nil {
			r.t.Error(err)
		}
	})
	return has
}

// touch changes a file's attributes.
func (r *rig) touch(f sliver.FileID) {
	r.t.Helper()
	err := r.cat.Update(func(tx *catalog.Tx) error {
		ino, err := tx.Inode(f)
		if err != nil {
			return err
		}
		ino.DataVersion++
		ino.Mode ^= 0o20
		ino.Flags |= catalog.FlagMetaDirty
		return tx.PutInode(&ino)
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestFileHash(t *testing.T) {
	r := newRig(t, setup{cfg: Config{SHA256: true, BatchBytes: 3 * mib}})
	small, odd, large := r.fill(2, 77), r.fill(2, mib+77), r.fill(2, 10*mib)
	empty, sparse, partial, again, kept := r.create("empty", 0), r.create("sparse", 0), large[0], odd[0], []sliver.FileID{small[0], small[1], odd[1], large[1]}
	write := func(f sliver.FileID, off int, p []byte) {
		t.Helper()
		if err := r.write(f, off, p); err != nil {
			t.Fatal(err)
		}
	}
	write(sparse, 3*mib, []byte("behind a hole"))
	all := append([]sliver.FileID{empty, sparse, partial, again}, kept...)
	r.archive(all...)
	v := r.onlyVolume()
	r.stop()
	has := r.hashes(v)
	for _, f := range append(kept, partial, again) {
		if !has[f] {
			t.Errorf("file %d was archived whole and has no SHA-256", f)
		}
	}
	if has[empty] || has[sparse] {
		t.Error("a file that was not archived whole has a SHA-256")
	}

	// New attributes and a new name keep it, a partial change drops it, and when all is
	// written again there is a new one.
	r.start()
	write(partial, 5*mib+3, []byte("changed"))
	write(again, 0, bytes.Repeat([]byte{7}, mib+77))
	for _, f := range kept {
		r.touch(f)
	}
	r.mu.Lock()
	r.names[kept[0]] = []string{"another/name"}
	r.mu.Unlock()
	r.archive(all...)
	r.stop()
	has = r.hashes(v)
	for _, f := range append(kept, again) {
		if !has[f] {
			t.Errorf("file %d has no SHA-256 any more", f)
		}
	}
	if has[partial] {
		t.Error("a partial change left a SHA-256")
	}
}

// TestFileHashOverVolumes: a file that goes on on another volume has none on either.
func TestFileHashOverVolumes(t *testing.T) {
	r := newRig(t, setup{capacity: 24 * mib, cache: 64 * mib, cfg: Config{SHA256: true}})
	files := r.fill(6, 5*mib)
	r.archive(files...)
	var volumes []tape.Barcode
	for _, v := range r.m.Status().Volumes {
		if v.UUID != "" {
			volumes = append(volumes, v.Barcode)
		}
	}
	if len(volumes) < 2 {
		t.Fatalf("all went to %v", volumes)
	}
	r.stop()
	n := 0
	for _, v := range volumes {
		n += len(r.hashes(v))
	}
	if n == 0 || n >= len(files) {
		t.Errorf("%d of %d files over %d volumes have a SHA-256", n, len(files), len(volumes))
	}
}
