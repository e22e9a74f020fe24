package backend

import (
	"context"
	stderrors "errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"

	"sliod/backend/cache"
	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/backend/policy"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
	"sliod/tape"
)

// Options are what an archive is opened with. Zero values of the durations and
// shares stand for their defaults.
type Options struct {
	Dir     string // state: the catalog and the cache
	Log     *logrus.Entry
	Library *tape.Library // stays the caller's: close it after the archive

	CacheBytes          int64   // size of the page cache, default 4 GiB
	HighWater, LowWater float64 // eviction runs above the one, down to the other
	CachePinned         float64 // share of the cache that pinned files may hold, default 0.5
	CacheStub           int     // bytes of a file's beginning that eviction leaves; one of cache.StubSizes
	// ArchiveIdle is how long a file must be quiet before it is archived without a
	// command; negative: never. ArchiveDirty is the share of the cache that may be
	// dirty before everything is archived at once.
	ArchiveIdle  time.Duration
	ArchiveDirty float64
	// VerifyEvery is how long after its last verification a volume is verified again; 0: only
	// by command.
	VerifyEvery time.Duration
	// ReclaimDead is the share of dead bytes above which a volume is emptied; what is good on suspect volumes
	// is copied away, too. 0: only by command.
	ReclaimDead float64
	// CacheScrub is in what time all of the cache is compared with its checksums once; 0: never.
	CacheScrub time.Duration
	// RunBytes is how much must be due for a pool before it is archived without a command, unless the
	// oldest of it has been due for RunWait, or the cache is short. 0: there need not be anything.
	RunBytes int64
	RunWait  time.Duration
	// Policy says by rules how files are archived; its defaults of idle and dirty are the two above.
	// nil: all files once, to the pool catalog.DefaultPool.
	Policy *policy.Rules
	// SyncInterval is how often data is written back that no fsync asked for.
	SyncInterval time.Duration
	// Look is how often is looked for volumes to empty or to verify, and for bad copies to replace: default a minute.
	Look time.Duration
	// CatalogDisk is what the catalog is on, for tests of what a crash leaves of it; nil: the disk.
	CatalogDisk catalog.Disk
	Mover       mover.Config
	// Import is for what imported volumes say nothing about. Its modes of 0 stand for
	// 0644 and 0755.
	Import ImportDefaults

	Listen  []string // for Status only
	Version string
}

func (o Options) withDefaults() Options {
	if o.CacheBytes == 0 {
		o.CacheBytes = 4 << 30
	}
	if o.HighWater == 0 {
		o.HighWater = 0.95
	}
	if o.LowWater == 0 {
		o.LowWater = 0.90
	}
	if o.ArchiveIdle == 0 {
		o.ArchiveIdle = time.Minute
	}
	if o.ArchiveDirty == 0 {
		o.ArchiveDirty = 0.5
	}
	if o.SyncInterval == 0 {
		o.SyncInterval = 5 * time.Second
	}
	if o.Look == 0 {
		o.Look = time.Minute
	}
	if o.Import.Mode == 0 {
		o.Import.Mode = 0o644
	}
	if o.Import.DirMode == 0 {
		o.Import.DirMode = 0o755
	}
	if o.Mover.ReadAhead == 0 {
		o.Mover.ReadAhead = mover.DefaultReadAhead
	}
	if o.Mover.Log == nil {
		o.Mover.Log = o.Log
	}
	return o
}

// FS is an archive: the file tree, its page cache, and the way to tape. It
// implements vfs.FS and Admin.
type FS struct {
	opts     Options
	log      *logrus.Entry
	cat      *catalog.Catalog
	cache    *cache.Cache
	mover    *mover.Mover
	started  time.Time
	instance instance

	// ns makes a change of the tree (names, links, directories) one step. It is
	// taken before any inode's mu, and never held while waiting for a disk sync.
	ns sync.Mutex

	itab     inodeTable
	unsynced inodeSet
	pending  pendingSet
	rules    rules
	copier   *copier
	countMu  sync.Mutex   // held by the update that changes files
	files    atomic.Int64 // files and directories, without the root, as the catalog has it
	jobs     jobTable
	passes   passTurn // to verify a volume
	reclaims passTurn // to empty a volume
	bad      badCopies
	// pinMu makes a change of a file's pins one step, in the catalog and the cache. It is
	// taken after an inode's mu.
	pinMu  sync.Mutex
	pinned chan struct{} // a job with pins has begun
	space  struct {      // the library's, for statfs
		mu   sync.Mutex
		at   time.Time
		info TapeInfo
	}

	// archiveWarned is why a file could last not be archived, nil after a success.
	archiveWarned atomic.Pointer[string]

	pressed chan struct{}      // the cache is short of slots
	cancel  context.CancelFunc // of the workers
	// stopMover cuts the mover's work short, without indexes on tape.
	stopMover context.CancelFunc
	wg        sync.WaitGroup
}

var (
	_ vfs.FS = (*FS)(nil)
	_ Admin  = (*FS)(nil)
)

// Open opens the archive in o.Dir, or makes an empty one, and starts its
// workers. Everything that the last run confirmed is there, however it ended.
func Open(o Options) (_ *FS, err error) {
	o = o.withDefaults()
	fs := &FS{opts: o, log: o.Log, started: time.Now(), pressed: make(chan struct{}, 1), pinned: make(chan struct{}, 1),
		passes: newPassTurn(), reclaims: newPassTurn()}
	fs.itab.m = make(map[sliver.FileID]*inode)
	fs.rules.Rules, fs.copier = o.withPolicy(), newCopier(fs)
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, errors.Wrap(err, "state folder")
	}
	// Others may pass through the state folder to the server's socket, and no further.
	if err := os.MkdirAll(filepath.Join(o.Dir, "catalog"), 0o700); err != nil {
		return nil, errors.Wrap(err, "folder of the catalog")
	}
	fs.cat, err = catalog.Open(filepath.Join(o.Dir, "catalog"), catalog.Options{Log: o.Log, FS: o.CatalogDisk})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = fs.cat.Close()
		}
	}()
	minVersion, err := fs.checkRebuilt()
	if err != nil {
		return nil, err
	}
	fs.cache, err = cache.Open(cache.Config{Dir: filepath.Join(o.Dir, "cache"), SizeBytes: o.CacheBytes,
		HighWater: o.HighWater, LowWater: o.LowWater, Pinned: o.CachePinned, Stub: o.CacheStub, MinVersion: minVersion, Log: o.Log})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = fs.cache.Close()
		}
	}()
	fs.mover = mover.New(o.Mover, o.Library, fs.cat, fs.cache, files{fs})
	fs.cache.SetEvents(events{fs})
	fs.cache.OnSpaceFreed(fs.mover.SpaceFreed)
	for _, step := range []func() error{fs.makeRoot, fs.removeImports, fs.countFiles, fs.recoverOrphans, fs.recoverCache, fs.loadJobs, fs.loadPins, fs.loadPending, fs.loadBad} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	moving, stopMover := context.WithCancel(context.Background())
	if err := fs.mover.Start(moving); err != nil {
		stopMover()
		return nil, err
	}
	if fs.instance, err = beginInstance(o.Dir); err != nil {
		stopMover()
		return nil, firstError(err, fs.mover.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	fs.cancel, fs.stopMover = cancel, stopMover
	fs.jobs.ctx = ctx
	fs.wg.Go(func() { fs.syncer(ctx) })
	fs.wg.Go(func() { fs.copier.run(ctx) })
	fs.upkeep(ctx)
	fs.resumeJobs()
	return fs, nil
}

// Close ends the archive: parked requests get EIO, jobs end, what is unsynced is
// synced, volumes get their indexes and go home. The server must have been
// stopped before. When ctx ends first, the library's work is cut short: that
// costs nothing but a repair of the volumes at their next mount. An error of the
// library loses nothing either: the run has ended cleanly if all is on disk.
func (fs *FS) Close(ctx context.Context) error {
	fs.cancel() // before the waiters of jobs are woken: they have not failed
	fs.cache.WakeAll(errors.WithMessage(linux.EIO, "the server is stopping"))
	err := fs.syncAll()
	stop := context.AfterFunc(ctx, fs.stopMover)
	tapeErr := fs.mover.Close()
	stop()
	fs.stopMover()
	fs.wg.Wait()
	err = firstError(err, fs.syncAll(), fs.cache.Close(), fs.cat.Close())
	if err == nil {
		err = fs.instance.end()
	}
	return firstError(err, tapeErr)
}

// checkRebuilt refuses a catalog whose rebuilding from tapes was not finished, and
// returns the highest version of a sliver that the tapes name.
func (fs *FS) checkRebuilt() (sliver.Version, error) {
	var last uint64
	err := fs.cat.View(func(tx *catalog.Tx) error {
		unfinished, err := tx.Rebuilding()
		if err != nil {
			return err
		}
		if unfinished {
			return errors.New("the catalog is being rebuilt from tapes, and that was interrupted: finish it with \"sliod rebuild\", or, to begin anew, remove the folders catalog and cache")
		}
		last, err = tx.Counter(catalog.CounterVersion)
		return err
	})
	return sliver.Version(last), err
}

// makeRoot makes the root directory of a new archive.
func (fs *FS) makeRoot() error {
	err := fs.cat.View(func(tx *catalog.Tx) error {
		_, err := tx.Inode(sliver.RootID)
		return err
	})
	if !stderrors.Is(err, catalog.ErrNotFound) {
		return err
	}
	now := fs.now()
	err = fs.cat.Update(func(tx *catalog.Tx) error {
		return tx.PutInode(&catalog.Inode{ID: sliver.RootID, Generation: 1, Mode: modeDir | 0o755, NLink: 2, DataVersion: 1,
			UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Atime: now, Mtime: now, Ctime: now, Btime: now,
			Parent: sliver.RootID, NextCookie: catalog.FirstCookie})
	})
	return firstError(err, fs.cat.Sync())
}

// updateCount is an update of the catalog that makes files, or removes them if more is
// negative. Their number is not read back from the catalog each time.
func (fs *FS) updateCount(more int64, fn func(*catalog.Tx) error) error {
	if more == 0 {
		return fs.cat.Update(fn)
	}
	fs.countMu.Lock()
	defer fs.countMu.Unlock()
	files := fs.files.Load() + more
	err := fs.cat.Update(func(tx *catalog.Tx) error {
		return firstError(fn(tx), tx.PutCounter(catalog.CounterFiles, uint64(files)))
	})
	if err == nil {
		fs.files.Store(files)
	}
	return err
}

// countFiles reads how many files there are, at start.
func (fs *FS) countFiles() error {
	return fs.cat.View(func(tx *catalog.Tx) error {
		n, err := tx.Counter(catalog.CounterFiles)
		fs.files.Store(int64(n))
		return err
	})
}

// statfs shows the library's space: what is on the volumes, and what they hold.
func (fs *FS) statfs() p9.FSStat {
	const block = 4096
	t := fs.tapeSpace()
	files := uint64(fs.files.Load())
	return p9.FSStat{
		Type:            0x01021997, // V9FS_MAGIC
		BlockSize:       block,
		Blocks:          uint64(t.CapacityBytes) / block,
		BlocksFree:      uint64(t.FreeBytes) / block,
		BlocksAvailable: uint64(t.FreeBytes) / block,
		Files:           files + 1<<32,
		FilesFree:       1 << 32,
		FSID:            0x51d0,
		NameLength:      catalog.MaxName,
	}
}
