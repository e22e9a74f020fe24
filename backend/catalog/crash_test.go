package catalog

import (
	stderrors "errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"sliod/backend/sliver"
)

// step is the n-th Update of the crash tests: it writes two records and makes
// the memtable overflow now and then.
func step(c *Catalog, n uint64) error {
	return c.Update(func(t *Tx) error {
		if _, err := t.NextFileID(); err != nil {
			return err
		}
		t.PutXattr(sliver.FileID(n), "x", make([]byte, 8<<10))
		t.PutCounter("a", n)
		return t.PutCounter("b", n)
	})
}

// checkPrefix says how many Updates the catalog holds, all of them whole.
func checkPrefix(t *testing.T, c *Catalog) (n uint64) {
	t.Helper()
	err := c.View(func(tx *Tx) error {
		a, err := tx.Counter("a")
		if err != nil {
			return err
		}
		if b, err := tx.Counter("b"); err != nil || a != b {
			t.Errorf("half an update: a is %d, b is %d: %v", a, b, err)
		}
		for i := uint64(1); i <= a+1; i++ {
			_, err := tx.Xattr(sliver.FileID(i), "x")
			if (i <= a) != (err == nil) {
				t.Errorf("update %d of %d: %v", i, a, err)
			}
		}
		n = a
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return n
}

func TestCrashKeepsPrefix(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 1))
		fs := vfs.NewCrashableMem()
		opts := Options{FS: fs, MemTableBytes: 512 << 10}
		var synced, last uint64
		var lastID sliver.FileID
		for range 3 { // crash after crash
			c, err := Open("cat", opts)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			n := checkPrefix(t, c)
			if n < synced || n > last {
				t.Fatalf("seed %d: %d updates are left of %d, of which %d were synced", seed, n, last, synced)
			}
			for range rng.IntN(150) {
				n++
				if err := step(c, n); err != nil {
					t.Fatal(err)
				}
				if rng.IntN(10) == 0 {
					if err := c.Sync(); err != nil {
						t.Fatal(err)
					}
					synced = n
				}
			}
			last = n
			var id sliver.FileID
			if err := c.Update(func(tx *Tx) (err error) { id, err = tx.NextFileID(); return err }); err != nil || id <= lastID {
				t.Fatalf("seed %d: file number %d after %d: %v", seed, id, lastID, err)
			}
			lastID = id
			crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			fs, opts.FS = crashed, crashed
		}
	}
}

// TestFailEachWrite fails the n-th write to disk, once or from then on, for
// every n, until a run meets no failure. What was said to be durable must be
// there after a crash, and nothing follows a failed update.
func TestFailEachWrite(t *testing.T) {
	for _, forever := range []bool{false, true} {
		for n := int32(0); ; n++ {
			if !failWrite(t, n, forever) {
				if n < 30 {
					t.Errorf("only %d writes were made", n)
				}
				break
			}
			if t.Failed() {
				t.Fatalf("write %d, forever %v", n, forever)
			}
		}
	}
}

func failWrite(t *testing.T, nth int32, forever bool) (failed bool) {
	mem := vfs.NewCrashableMem()
	var left atomic.Int32
	left.Store(nth)
	// Open is left alone: Pebble leaves goroutines behind when it fails in Open,
	// which the leak test would find.
	var hit, armed atomic.Bool
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !armed.Load() || op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose || op.Kind == errorfs.OpFilePreallocate || op.Kind == errorfs.OpRemove {
			return nil
		}
		if i := left.Add(-1); i == -1 || i < -1 && forever {
			hit.Store(true)
			return errorfs.ErrInjected
		}
		return nil
	}))
	c, err := Open("cat", Options{FS: fs, MemTableBytes: 512 << 10})
	var synced, done uint64
	armed.Store(true)
	if err == nil {
		var bad error
		for i := uint64(1); i <= 60; i++ {
			err := step(c, i)
			if bad != nil && !stderrors.Is(err, ErrStopped) {
				t.Errorf("update after %v returned %v", bad, err)
			}
			if err == nil {
				done = i
			} else if bad == nil {
				bad = err
			}
			if i%7 == 0 {
				err := c.Sync()
				if bad != nil && err == nil {
					t.Errorf("Sync succeeded after %v", bad)
				}
				if err == nil {
					synced = i
				} else if bad == nil {
					bad = err
				}
			}
		}
		if bad != nil && !hit.Load() {
			t.Errorf("failed without a failure: %v", bad)
		}
		if bad != nil {
			if got := c.View(func(tx *Tx) error { _, err := tx.Counter("a"); return err }); got != nil {
				t.Errorf("read after a failed write: %v", got)
			}
		}
	} else if !hit.Load() {
		t.Errorf("Open: %v", err)
	}
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	if c != nil {
		if err := c.Close(); err == nil {
			synced = done
			crashed = mem.CrashClone(vfs.CrashCloneCfg{})
		} else if !hit.Load() {
			t.Errorf("Close: %v", err)
		}
	}
	c, err = Open("cat", Options{FS: crashed})
	if err != nil {
		t.Errorf("open after the crash: %v", err)
		return hit.Load()
	}
	if n := checkPrefix(t, c); n < synced || n > done+1 {
		t.Errorf("%d updates are left: %d were durable, %d done", n, synced, done)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	return hit.Load()
}

func TestSyncWithNothingToSync(t *testing.T) {
	var syncs atomic.Int64
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
			syncs.Add(1)
		}
		return nil
	}))
	c, err := Open("cat", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if err := step(c, 1); err != nil {
		t.Fatal(err)
	}
	if err := c.Sync(); err != nil {
		t.Fatal(err)
	}
	syncs.Store(0)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := c.Sync(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := syncs.Load(); n != 0 {
		t.Errorf("%d syncs with nothing to sync", n)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	fs := vfs.NewMem()
	c, err := Open("cat", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	kv := c.kv
	if err := kv.Transact(func(txn Txn) error { return txn.Set([]byte{keyFormat}, encodeNumber(nil, FormatVersion+1)) }); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("cat", Options{FS: fs}); !stderrors.Is(err, ErrNewer) {
		t.Errorf("newer format: %v", err)
	}
	dir := t.TempDir()
	c, err = Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); !stderrors.Is(err, ErrLocked) {
		t.Errorf("locked: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	// A log that needs more room for its tables than any disk of a test has.
	large := filepath.Join(dir, "999999.log")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 1<<43); err != nil {
		t.Skip("no sparse files here: ", err)
	}
	if _, err := Open(dir, Options{}); !stderrors.Is(err, syscall.ENOSPC) {
		t.Errorf("full disk: %v", err)
	}
	if err := os.Remove(large); err != nil {
		t.Fatal(err)
	}
	if c, err = Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}
