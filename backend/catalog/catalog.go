package catalog

import (
	stderrors "errors"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
)

// FormatVersion is the version of the keys and records that this package writes.
const FormatVersion = 1

// Errors of a catalog, besides those of its KV.
var (
	// ErrNotFound says that there is no such record.
	ErrNotFound = stderrors.New("not in the catalog")
	// ErrNewer says that a newer sliod wrote the catalog.
	ErrNewer = stderrors.New("catalog format is newer than this sliod")
	// ErrLocked says that another process has the catalog open.
	ErrLocked = stderrors.New("catalog is in use")
	// ErrStopped says that an earlier write failed: see "Failed writes" in the
	// package comment.
	ErrStopped = stderrors.New("catalog accepts no more updates after a failed write")
)

// Disk is the file system that a catalog is on.
type Disk = vfs.FS

// Options says how to open a catalog. The zero value is ready to use.
type Options struct {
	Log *logrus.Entry // nil: a discarding logger
	FS  Disk          // nil: the disk

	CacheBytes    int64 // memory for blocks of tables; 0: 64 MiB
	MemTableBytes int64 // memory that collects updates before they become a table; 0: 32 MiB
}

// Catalog is an open catalog. All methods are safe for concurrent use.
type Catalog struct {
	kv  KV
	ids idRange
	txs sync.Pool // of *Tx
}

// Open opens the catalog in dir, making it if there is none. It fails with
// ErrLocked if another process has it open and with ErrNewer if a newer sliod
// wrote it.
func Open(dir string, opts Options) (*Catalog, error) {
	kv, err := openPebble(dir, opts)
	if err != nil {
		return nil, err
	}
	c, err := openKV(kv)
	if err != nil {
		return nil, errors.WithMessagef(stderrors.Join(err, kv.Close()), "open catalog %s", dir)
	}
	return c, nil
}

// openKV puts the typed layer on a store. The store stays the caller's if it
// fails.
func openKV(kv KV) (*Catalog, error) {
	c := &Catalog{kv: kv}
	c.txs.New = func() any { return &Tx{cat: c} }
	key := []byte{keyFormat}
	made := false
	err := kv.Transact(func(txn Txn) error {
		made = false
		v, found, err := txn.Get(nil, key)
		if err != nil {
			return err
		}
		if found {
			return checkFormat(v)
		}
		empty := true
		if err := txn.Scan(nil, []byte{0xff}, func(_, _ []byte) bool { empty = false; return false }); err != nil {
			return err
		}
		if !empty {
			return corrupt("there are records but no format version: this is not a catalog of sliod; choose another directory")
		}
		made = true
		return txn.Set(key, encodeNumber(nil, FormatVersion))
	})
	if err == nil && made {
		err = kv.Sync()
	}
	if err == nil {
		err = c.identify()
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func checkFormat(record []byte) error {
	v, err := decodeNumber("format version", record)
	switch {
	case err != nil:
		return err
	case v > FormatVersion:
		return errors.Wrapf(ErrNewer, "it has format %d, this sliod knows up to %d: start the sliod that wrote it, or a newer one", v, FormatVersion)
	case v < FormatVersion:
		return corrupt("format version %d was never used", v)
	}
	return nil
}

// Close makes all updates durable and closes the catalog. Transactions that run
// are waited for; later calls return ErrClosed.
func (c *Catalog) Close() error { return c.kv.Close() }

// View runs fn for reading. Each read sees the state committed at its moment,
// so two reads may straddle an Update; a Readdir or other scan sees one state
// from beginning to end. Reads need no lock and do not wait for an Update.
func (c *Catalog) View(fn func(*Tx) error) error {
	t := c.txs.Get().(*Tx)
	t.r = c.kv
	err := fn(t)
	t.r = closedReader{}
	c.txs.Put(t)
	return err
}

// Update runs fn for reading and writing, one Update at a time, and commits
// what it wrote: all of it or, if fn or one of its writes fails, nothing. Reads
// in fn see its own writes. fn may be run again from the start: what it has set
// outside must be set anew. fn must not call Update or Sync.
//
// An Update is not durable before a Sync that begins after it, but a crash keeps
// a prefix of the Updates. ErrStopped means that the outcome is not known.
func (c *Catalog) Update(fn func(*Tx) error) error {
	for {
		if err := c.ids.fill(c.kv); err != nil {
			return err
		}
		t := c.txs.Get().(*Tx)
		err := c.kv.Transact(func(txn Txn) error {
			t.r, t.w, t.err, t.wantIDs = txn, txn, nil, false
			if err := fn(t); err != nil {
				return err
			}
			return t.err
		})
		again := t.wantIDs
		t.r, t.w, t.err, t.wantIDs = closedReader{}, nil, nil, false
		c.txs.Put(t)
		if !again {
			return err
		}
		c.ids.needMore()
	}
}

// Sync returns when all Updates that had returned before are durable. Calls at
// the same time share the writes to disk.
func (c *Catalog) Sync() error { return c.kv.Sync() }

// closedReader is what a Tx reads after its end.
type closedReader struct{}

var errTxDone = stderrors.New("transaction used after its end")

func (closedReader) Get(dst, _ []byte) ([]byte, bool, error) {
	return dst, false, errors.WithStack(errTxDone)
}

func (closedReader) Scan(_, _ []byte, _ func(key, value []byte) bool) error {
	return errors.WithStack(errTxDone)
}
