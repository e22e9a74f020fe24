package cache

import (
	stderrors "errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// Config says where the cache is and how large.
type Config struct {
	Dir       string
	SizeBytes int64 // of the arena; rounded down to MiB; at least MinSizeBytes
	// HighWater and LowWater are shares of the arena in use: above the first,
	// eviction runs ahead of need until the second. 0 means 0.95 and 0.90.
	HighWater, LowWater float64
	// Pinned is the share of the arena that pinned files may hold. 0 means 0.5.
	Pinned float64
	// Stub is how many bytes of a file's first sliver are kept as its head; one of
	// StubSizes. See head.go.
	Stub int
	// MinVersion is a version that others know: NextVersion goes on above it.
	MinVersion sliver.Version
	Log        *logrus.Entry
	Events     Events
}

// Events is what the cache tells its owner. But for Merged it is called with no
// cache lock held; the caller of Read, Write, Drop and so on may hold its own
// locks, and the call may come from within that call: so a method must not take a
// lock that callers of the cache hold, must not block, and must not call back into
// the cache.
type Events interface {
	// Fault says that k is wanted from tape, as fault seq.
	Fault(k sliver.Key, seq uint64)
	// Unwanted says that nobody waits for fault seq any longer, or that it is over.
	Unwanted(k sliver.Key, seq uint64)
	// Reclass says that the class of the most urgent request that waits for fault seq
	// has changed; FaultWanted tells it.
	Reclass(k sliver.Key, seq uint64)
	// Merged says that a parked write of n bytes is now in the sliver, which is
	// Dirty; it ended at byte end of the sliver. It comes before w is woken, and in
	// the same critical section as the change of the sliver: the cache's lock is
	// held, so that no Truncate or Drop comes between the data and the new size.
	Merged(k sliver.Key, end int, w *vfs.Waiter, n int)
	// Pressure says that there is no free slot, and will be none without archiving
	// or without releasing quarantined slots.
	Pressure()
}

type noEvents struct{}

func (noEvents) Fault(sliver.Key, uint64)                 {}
func (noEvents) Unwanted(sliver.Key, uint64)              {}
func (noEvents) Reclass(sliver.Key, uint64)               {}
func (noEvents) Merged(sliver.Key, int, *vfs.Waiter, int) {}
func (noEvents) Pressure()                                {}

// Behind is what lies behind a sliver that is not in the cache: the catalog's
// word. The caller must read it, and call, under a lock of the file that EndArchive,
// Truncate and Drop of that file are called under as well; else it could be old.
// It is ignored for a resident or faulting sliver.
type Behind struct {
	State sliver.State // Hole or Absent
	Len   int          // valid bytes if Absent; zeros follow
}

// Errors. Those of fault and archive calls are for the mover; ErrNoSpace is ENOSPC.
var (
	ErrStale    = stderrors.New("cache: the fault is over")
	ErrFull     = stderrors.New("cache: no free slot")
	ErrShort    = stderrors.New("cache: fewer bytes were delivered than the sliver has")
	ErrBusy     = stderrors.New("cache: the sliver is being archived")
	ErrNotDirty = stderrors.New("cache: the sliver is not dirty")
	ErrNotClean = stderrors.New("cache: the sliver is not clean")
	ErrClosed   = stderrors.New("cache: closed")

	ErrNoSpace error = fmt.Errorf("cache: full of data that is not on tape, and no tape space is left: %w", linux.ENOSPC)
)

// Field keys of log entries.
const (
	fieldSliver = "sliver"
	fieldSlot   = "slot"
)

// Cache is the page cache. Its methods are safe for concurrent use.
type Cache struct {
	log    *logrus.Entry
	st     *store
	ev     Events
	count  atomic.Uint64 // the low 40 bits of the last Version or Seq
	bufs   sync.Pool     // of *[sliver.Size]byte
	opened time.Time

	// recMu orders the writes of the records of one chunk (striped by chunk).
	// It is taken before mu.
	recMu [64]sync.Mutex

	// spaceLen is the length of space, to be read without mu by Unpin.
	spaceLen atomic.Int32
	// refused: a fault was told ErrFull and wants to hear of space.
	refused    atomic.Bool
	spaceFreed func()

	// mu guards all below, and every entry, file, slot and chunk. No I/O and no
	// copying happens under it.
	mu      sync.Mutex
	ready   bool // Recover was called, or there was nothing to recover
	closed  bool
	stopErr error // WakeAll was called: nothing parks any more

	files    map[sliver.FileID]*file
	dirty    map[sliver.FileID]struct{} // files with dirty slivers
	parked   map[*vfs.Waiter]*place
	space    vfs.WaitList       // writes that wait for a slot
	wanted   map[sliver.Key]int // the keys of those, counted
	retrying []*place           // parked writes that are being tried again
	noTape   bool

	chunks    []chunk
	free      []*chunk             // whole chunks
	partial   [classWhole][]*chunk // cut chunks with a free slot
	cut       map[*chunk]struct{}  // all cut chunks
	policy    policy               // the clean slivers, in order of eviction
	dueEnd    time.Duration        // the latest of all entries
	dueTimer  *time.Timer          // of awaitDue, nil: nobody waits for that
	draining  bool                 // between high and low water
	high, low int64                // bytes
	pins      pins
	heads     heads
	quar      []quarantined
	quarSeq   uint64
	syncErrs  uint64 // how many syncs have failed
	stats     Stats
}

type quarantined struct {
	s   *slot
	seq uint64
}

// Open creates or opens the cache in cfg.Dir. If it is not new, Recover must be
// called before slots can be used. Errors say what is missing: the size is below
// MinSizeBytes, no room on the disk, a size that cannot shrink, a damaged or newer
// slot table, or another process that has it open.
func Open(cfg Config) (*Cache, error) {
	if cfg.SizeBytes < MinSizeBytes {
		return nil, errors.Errorf("cache: the size of the page cache is %d bytes and must be at least %d", cfg.SizeBytes, MinSizeBytes)
	}
	if cfg.HighWater == 0 {
		cfg.HighWater = 0.95
	}
	if cfg.LowWater == 0 {
		cfg.LowWater = min(0.90, cfg.HighWater)
	}
	if cfg.Pinned == 0 {
		cfg.Pinned = 0.5
	}
	if cfg.HighWater < 0 || cfg.HighWater > 1 || cfg.LowWater < 0 || cfg.LowWater > cfg.HighWater {
		return nil, errors.Errorf("cache: high water %g and low water %g must be shares from 0 to 1, low not above high", cfg.HighWater, cfg.LowWater)
	}
	if !slices.Contains(StubSizes(), cfg.Stub) {
		return nil, errors.Errorf("cache: the stub is %d bytes and must be the size of a slot: one of %v", cfg.Stub, StubSizes())
	}
	if cfg.Log == nil {
		l := logrus.New()
		l.SetOutput(io.Discard)
		cfg.Log = logrus.NewEntry(l)
	}
	n := cfg.SizeBytes / chunkSize
	st, err := openStore(cfg.Dir, n, uint64(cfg.MinVersion)>>epochShift)
	if err != nil {
		return nil, err
	}
	c := &Cache{
		log: cfg.Log, st: st, ev: cfg.Events, ready: st.fresh, opened: time.Now(),
		files: make(map[sliver.FileID]*file), dirty: make(map[sliver.FileID]struct{}),
		parked: make(map[*vfs.Waiter]*place), wanted: make(map[sliver.Key]int),
		chunks: make([]chunk, n), cut: make(map[*chunk]struct{}),
		high: int64(cfg.HighWater * float64(n*chunkSize)), low: int64(cfg.LowWater * float64(n*chunkSize)),
		pins: pins{limit: int64(cfg.Pinned * float64(n*chunkSize))}, heads: newHeads(cfg.Stub, n*chunkSize),
	}
	c.bufs.New = func() any { return new([sliver.Size]byte) }
	if c.ev == nil {
		c.ev = noEvents{}
	}
	c.policy.init(int(n))
	c.stats.SizeBytes = n * chunkSize
	for i := len(c.chunks) - 1; i >= 0; i-- {
		ch := &c.chunks[i]
		ch.no, ch.class, ch.pos = uint32(i), classWhole, -1
		c.free = append(c.free, ch)
	}
	if c.ready {
		c.poisonFree()
	}
	return c, nil
}

// SetEvents sets who is told. It is called once, before the cache is used.
func (c *Cache) SetEvents(ev Events) { c.ev = ev }

// OnSpaceFreed has fn called when a slot may have become free after a fault was
// told ErrFull. The rules of Events hold for it. Once, before use.
func (c *Cache) OnSpaceFreed(fn func()) { c.spaceFreed = fn }

// NextVersion returns a version that was never returned before, by this process or
// an earlier one with this cache. Later versions are larger.
func (c *Cache) NextVersion() sliver.Version { return sliver.Version(c.next()) }

func (c *Cache) next() uint64 { return c.st.head.epoch<<epochShift | c.count.Add(1) }

// epochShift is where the number of the cache's start begins in a version.
const epochShift = 40

// Close puts all content and records on disk and marks the shutdown as clean, so
// that the next start trusts the records. Nobody may use the cache any more; what
// is still parked is woken with EIO. If Recover was never called, what was found
// is left as it was.
func (c *Cache) Close() error {
	c.WakeAll(linux.EIO)
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	if c.dueTimer != nil {
		c.dueTimer.Stop()
	}
	ready := c.ready
	pinned := 0
	for i := range c.chunks {
		for _, s := range c.chunks[i].slots {
			// Its sliver, or the quarantine, holds one reference.
			if s != nil && s.refs.Load() > 1 {
				pinned++
			}
		}
	}
	c.mu.Unlock()
	err := c.closeStore(ready)
	if pinned > 0 {
		c.log.WithField("pinned", pinned).Error("cache closed while slots are being read: their memory stays mapped")
	}
	if e := c.st.arena.close(pinned > 0); err == nil {
		err = e
	}
	if e := c.st.slots.close(false); err == nil {
		err = e
	}
	return err
}

func (c *Cache) closeStore(ready bool) error {
	if !ready {
		c.st.head.clean = c.st.wasClean
		return c.st.writeHeader()
	}
	// Records of slots that were freed are still in the files. All are written anew,
	// so that after a clean shutdown what they say is true without a check.
	if err := c.writeAllRecords(); err != nil {
		return err
	}
	if err := c.st.arena.sync(0, int64(len(c.st.arena.mem))); err != nil {
		return err
	}
	if err := c.st.slots.sync(0, int64(len(c.st.slots.mem))); err != nil {
		return err
	}
	c.st.head.clean = true
	return c.st.writeHeader()
}

// WakeAll wakes every parked waiter with err, for shutdown. Parked writes have not
// happened. From then on nothing parks: what would, gets err.
func (c *Cache) WakeAll(err error) {
	var p post
	c.mu.Lock()
	c.stopErr = err
	for w, pl := range c.parked {
		switch {
		case pl.retrying: // parks no more, see hook
			continue
		case pl.e == nil:
			c.unparkSpace(w, pl)
		case pl.e.filling:
			continue // is being completed
		default:
			pl.e.waiters.Remove(w)
			c.dropRange(pl.e, w)
		}
		delete(c.parked, w)
		p.wake(w, 0, err)
	}
	c.mu.Unlock()
	c.run(&p)
}
