package catalog

import (
	stderrors "errors"
	"io"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

const (
	defaultCacheBytes    = 64 << 20
	defaultMemTableBytes = 32 << 20
	// maxMemTables is how many full memtables may wait for the disk before an
	// Update waits, too; firstMemTable is the size of Pebble's first one, each
	// later one is twice as large up to MemTableBytes.
	maxMemTables  = 4
	firstMemTable = 256 << 10
	// diskSlow is how long a write may take before a warning.
	diskSlow = 5 * time.Second
	// pebbleFormat is Pebble's own format version of the files.
	pebbleFormat = pebble.FormatTableFormatV6
)

// pebbleKV is a KV on a Pebble database.
type pebbleKV struct {
	db   *pebble.DB
	stop *stopper
	dir  string
	// health watches for writes that hang; it is closed after db.
	health io.Closer

	// Calls that run, and whether Close has begun: bit 0 is set by Close, and each
	// call counts 2.
	users atomic.Int64
	idle  chan struct{} // closed when Close has begun and the last call has ended

	// Lock order: txnMu, memMu. Pebble's locks come after both.
	txnMu sync.Mutex // held by the transaction that runs

	memMu    sync.Mutex // guards memCount
	memFree  *sync.Cond // memCount fell, or the store stopped
	memCount int        // full memtables that are not yet tables
	memMax   int        // above this an Update waits

	// Transactions are counted as they commit. durable is a count that a Sync has
	// made durable.
	committed, durable atomic.Uint64
}

var _ KV = (*pebbleKV)(nil)

func openPebble(dir string, opts Options) (kv *pebbleKV, err error) {
	log := opts.Log
	if log == nil {
		l := logrus.New()
		l.SetOutput(io.Discard)
		log = logrus.NewEntry(l)
	}
	if opts.FS == nil {
		if err := checkSpace(dir); err != nil {
			return nil, err
		}
	}
	k := &pebbleKV{dir: dir, stop: newStopper(log), idle: make(chan struct{})}
	k.memFree = sync.NewCond(&k.memMu)
	k.stop.onStop = func() { k.memChanged(0) }
	cacheBytes, memBytes := opts.CacheBytes, opts.MemTableBytes
	if cacheBytes <= 0 {
		cacheBytes = defaultCacheBytes
	}
	if memBytes <= 0 {
		memBytes = defaultMemTableBytes
	}
	// Pebble does not write the first, small memtables before they are half of a
	// large one together: so many more must be allowed, or a wait would not end.
	k.memMax = maxMemTables + bits.Len64(uint64(memBytes)/firstMemTable)
	events := k.events(log)
	po := &pebble.Options{
		FS:                 opts.FS,
		CacheSize:          cacheBytes,
		MemTableSize:       uint64(memBytes),
		FormatMajorVersion: pebbleFormat,
		Logger:             pebbleLog{log: log, stop: k.stop},
		EventListener:      &events,
		// Pebble would make a commit wait with its locks held for a disk that has
		// failed. throttle does the waiting instead.
		MemTableStopWritesThreshold: 16 * maxMemTables,
		L0StopWritesThreshold:       math.MaxInt32,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
	}
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	if po.FS == nil {
		po.FS = vfs.Default
	}
	po.FS, k.health = vfs.WithDiskHealthChecks(po.FS, diskSlow, nil, events.DiskSlow)
	po.FS = stopFS{FS: po.FS, s: k.stop}
	defer func() {
		if kv == nil {
			k.stop.closeFiles()
			_ = k.health.Close() // ends goroutines; it has no error of its own
		}
	}()
	defer func() {
		if r := recover(); r != nil {
			kv, err = nil, errors.Errorf("open catalog %s: %v", dir, r)
		}
	}()
	k.db, err = pebble.Open(dir, po)
	if err != nil {
		return nil, openError(dir, err)
	}
	k.stop.arm()
	return k, nil
}

// startBytes is what a catalog needs on disk to start, beside room for the tables
// that are made of its logs.
const startBytes = 1 << 20

// checkSpace refuses to open a catalog on a disk that is full: Pebble would try to
// write its tables for ever. Nothing has been changed then.
func checkSpace(dir string) error {
	need := int64(startBytes)
	logs, _ := filepath.Glob(filepath.Join(dir, "*.log")) // the pattern is right
	for _, name := range logs {
		if fi, err := os.Stat(name); err == nil {
			need += fi.Size()
		}
	}
	var st unix.Statfs_t
	at := dir
	if err := unix.Statfs(at, &st); err != nil {
		at = filepath.Dir(dir)
		if err := unix.Statfs(at, &st); err != nil {
			return nil // making the folder will tell
		}
	}
	if free := int64(st.Bavail) * st.Bsize; free < need {
		return errors.Wrapf(unix.ENOSPC, "open catalog %s: it needs %d KiB of the disk to start, and %d KiB are free: make room and start again",
			dir, need>>10, free>>10)
	}
	return nil
}

// openError says what can be done about an error of pebble.Open.
func openError(dir string, err error) error {
	var no syscall.Errno
	var path *os.PathError
	locked := strings.Contains(err.Error(), "lock held by current process") ||
		stderrors.As(err, &no) && !stderrors.As(err, &path) && (no == syscall.EAGAIN || no == syscall.EACCES)
	switch {
	case locked:
		return errors.Wrapf(ErrLocked, "open catalog %s: another sliod has it open: stop that one, or choose another directory", dir)
	case strings.Contains(err.Error(), "unknown format major version"):
		return errors.Wrapf(ErrNewer, "open catalog %s: %v: start the sliod that wrote it, or a newer one", dir, err)
	}
	return errors.Wrapf(err, "open catalog %s", dir)
}

// enter begins a call; leave ends it.
func (k *pebbleKV) enter() error {
	if k.users.Add(2)&1 != 0 {
		k.leave()
		return errors.WithStack(ErrClosed)
	}
	return nil
}

func (k *pebbleKV) leave() {
	if k.users.Add(-2) == 1 {
		k.closeIdle()
	}
}

// closeIdle may be called more than once: late calls come and go after Close.
func (k *pebbleKV) closeIdle() {
	k.memMu.Lock()
	defer k.memMu.Unlock()
	select {
	case <-k.idle:
	default:
		close(k.idle)
	}
}

// Get implements Reader.
func (k *pebbleKV) Get(dst, key []byte) ([]byte, bool, error) {
	if err := k.enter(); err != nil {
		return dst, false, err
	}
	defer k.leave()
	v, done, err := k.db.Get(key)
	return got(dst, v, done, err)
}

// got finishes a Get of Pebble.
func got(dst, v []byte, done interface{ Close() error }, err error) ([]byte, bool, error) {
	if err != nil {
		if err == pebble.ErrNotFound || stderrors.Is(err, pebble.ErrNotFound) {
			return dst, false, nil
		}
		return dst, false, errors.Wrap(err, "read catalog")
	}
	dst = append(dst, v...)
	if err := done.Close(); err != nil {
		return dst[:len(dst)-len(v)], false, errors.Wrap(err, "read catalog")
	}
	return dst, true, nil
}

// Scan implements Reader.
func (k *pebbleKV) Scan(from, to []byte, fn func(key, value []byte) bool) error {
	if err := k.enter(); err != nil {
		return err
	}
	defer k.leave()
	return scan(k.db, from, to, fn)
}

func scan(r pebble.Reader, from, to []byte, fn func(key, value []byte) bool) (err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return errors.Wrap(err, "scan catalog")
	}
	defer func() {
		if cerr := it.Close(); err == nil && cerr != nil {
			err = errors.Wrap(cerr, "scan catalog")
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Wrap(err, "scan catalog")
		}
		if !fn(it.Key(), v) {
			return nil
		}
	}
	return errors.Wrap(it.Error(), "scan catalog")
}

// Transact implements KV. Transactions run one after the other, so fn is run
// once.
func (k *pebbleKV) Transact(fn func(Txn) error) error {
	if err := k.enter(); err != nil {
		return err
	}
	defer k.leave()
	k.txnMu.Lock()
	defer k.txnMu.Unlock()
	if err := k.throttle(); err != nil {
		return err
	}
	b := k.db.NewIndexedBatch()
	defer b.Close()
	if err := fn(pebbleTxn{b}); err != nil {
		return err
	}
	if b.Empty() {
		return nil
	}
	if err := k.stop.failure(); err != nil {
		return err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return errors.Wrap(err, "commit to catalog")
	}
	// Before the look at the failure: a Sync that counts this one was called
	// after Transact returned.
	k.committed.Add(1)
	return k.stop.failure()
}

// Sync implements KV. Pebble writes the log and syncs it once for all that wait.
func (k *pebbleKV) Sync() error {
	if err := k.enter(); err != nil {
		return err
	}
	defer k.leave()
	want := k.committed.Load()
	if k.durable.Load() < want {
		if err := k.stop.failure(); err != nil {
			return err
		}
		if err := k.db.LogData(nil, pebble.Sync); err != nil {
			return errors.Wrap(err, "sync catalog")
		}
	}
	if err := k.stop.failure(); err != nil {
		return err
	}
	for was := k.durable.Load(); was < want && !k.durable.CompareAndSwap(was, want); was = k.durable.Load() {
	}
	return nil
}

// Close implements KV.
func (k *pebbleKV) Close() (err error) {
	if k.users.Or(1)&1 != 0 {
		return errors.WithStack(ErrClosed)
	}
	if k.users.Load() == 1 {
		k.closeIdle()
	}
	<-k.idle
	k.stop.open()
	defer func() {
		if r := recover(); r != nil {
			err = errors.Errorf("close catalog %s: %v", k.dir, r)
		}
	}()
	err = k.db.Close()
	k.stop.closeFiles()
	err = stderrors.Join(err, k.health.Close())
	if stopped := k.stop.failure(); stopped != nil {
		return stopped
	}
	return errors.Wrapf(err, "close catalog %s", k.dir)
}

// pebbleTxn is a Txn on an indexed batch.
type pebbleTxn struct{ b *pebble.Batch }

func (t pebbleTxn) Get(dst, key []byte) ([]byte, bool, error) {
	v, done, err := t.b.Get(key)
	return got(dst, v, done, err)
}

func (t pebbleTxn) Scan(from, to []byte, fn func(key, value []byte) bool) error {
	return scan(t.b, from, to, fn)
}

func (t pebbleTxn) Set(key, value []byte) error { return t.b.Set(key, value, nil) }
func (t pebbleTxn) Delete(key []byte) error     { return t.b.Delete(key, nil) }
