package mover

import (
	"context"
	"sync"
	"time"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"

	"sliod/backend/cache"
	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/schedule"
)

// Mover archives and recalls. Its methods are safe for concurrent use.
type Mover struct {
	cfg   Config
	log   *logrus.Entry
	lib   *tape.Library
	cat   *catalog.Catalog
	cache *cache.Cache
	files Files

	ctx       context.Context
	cancel    context.CancelFunc
	useCtx    context.Context // ends when Close begins
	endUses   context.CancelFunc
	wg        sync.WaitGroup
	clerkWake chan struct{} // capacity 1
	aheadWake chan struct{} // capacity 1
	rescans   chan chan error

	// observer is a stop point of tests: it is signalled when a drive goes to
	// another state and when the inbox was cleared. nil else.
	observer chan struct{}

	// recording makes a change of a volume's record one step, in the catalog and in the mover's picture of it. It is
	// taken before mu.
	recording sync.Mutex

	// publishMu serialises what the cache is told of tape space. It is taken before mu.
	publishMu sync.Mutex
	published bool

	mu       sync.Mutex
	closing  bool
	closed   bool
	drives   []*drive // the slice itself does not change
	volumes  map[catalog.VolumeNo]*volume
	slots    map[uint16]bool   // storage slots: occupied or kept for a volume in a drive
	mails    map[uint16]bool   // mail slots: occupied
	places   map[uint16]string // names of the elements, for people
	nameless []VolumeStatus    // cartridges without a readable barcode
	moves    uint64            // grows with each cartridge that was carried
	recorded uint64            // grows with each change of a volume's record
	looked   bool              // there was an inventory
	lookedAt time.Time         // when the last one began
	recalls  map[sliver.Key]*recall
	served   schedule.Times // when a drive last worked for each class
	inbox    []*recall
	locating int       // recalls of the inbox that are looked at just now
	aside    []*recall // oldest first; entries that are in another state are stale
	asideN   int       // those that are not
	spaceGen uint64    // grows with each SpaceFreed
	pressure bool
	// lines have the files that wait for archiving, by pool: queued of them. copyInbox
	// has those to be copied of which nobody knows yet which volumes can take them.
	lines     map[string]*line
	queued    int
	copyInbox []*archiveItem
	waiting   map[sliver.FileID]*archiveItem   // those in lines that are to be archived, not copied
	planning  int                              // taken out of lines to be archived, and in no batch yet
	inBatch   map[sliver.FileID]int            // batches that archive content of a file just now
	behind    map[sliver.FileID][]*archiveItem // those that wait for these
	useN      int                              // uses that wait, of all volumes
	noTape    bool
	nothing   bool // see NothingComes
	errs      []TapeError
	est       estimator
	stats     Stats
}

// New returns a mover for the drives of lib. Start makes it work.
func New(cfg Config, lib *tape.Library, cat *catalog.Catalog, c *cache.Cache, files Files) *Mover {
	cfg = cfg.withDefaults(len(lib.Drives))
	m := &Mover{
		cfg: cfg, log: cfg.Log, lib: lib, cat: cat, cache: c, files: files,
		clerkWake: make(chan struct{}, 1),
		aheadWake: make(chan struct{}, 1),
		rescans:   make(chan chan error),
		volumes:   make(map[catalog.VolumeNo]*volume),
		slots:     make(map[uint16]bool),
		mails:     make(map[uint16]bool),
		recalls:   make(map[sliver.Key]*recall),
		waiting:   make(map[sliver.FileID]*archiveItem),
		inBatch:   make(map[sliver.FileID]int),
		behind:    make(map[sliver.FileID][]*archiveItem),
		lines:     make(map[string]*line),
	}
	m.est.learned.told(lib.Speed)
	m.ctx, m.cancel = context.WithCancel(context.Background())
	for i, d := range lib.Drives {
		m.drives = append(m.drives, newDrive(m, i, d))
	}
	return m
}

// Start takes inventory, records new cartridges in the catalog, and starts the
// goroutines. Cartridges that are in drives are used there, or brought home when
// their drive is needed, when it has rested for Config.Linger, or by Close. When ctx ends, so does all work, at the next command
// and without writing indexes: a Close that takes too long is cut short by it.
func (m *Mover) Start(ctx context.Context) error {
	m.ctx, m.cancel = context.WithCancel(ctx)
	m.useCtx, m.endUses = context.WithCancel(m.ctx)
	if err := m.inventory(m.ctx, nil); err != nil {
		m.cancel()
		return err
	}
	for _, d := range m.drives {
		if !d.hasElement {
			m.cancel()
			return errors.Errorf("mover: the library's changer has no element for the drive with serial number %s: "+
				"check the cabling and the list of drives", d.tape.Serial())
		}
	}
	m.publishTapeSpace()
	m.wg.Add(2 + len(m.drives))
	go m.clerk()
	go m.planAhead()
	for _, d := range m.drives {
		go d.run()
	}
	return nil
}

// Close finishes the records that are being written, commits them, writes the
// indexes and brings the volumes home. What was not begun stays undone: faults
// stay in flight in the cache, and dirty slivers dirty. It returns the first error of
// an unmount. Close may be called once, after Start.
func (m *Mover) Close() error {
	m.mu.Lock()
	m.closing = true
	m.failStuckUsesLocked()
	m.endUses()
	m.wakeLocked()
	m.mu.Unlock()
	m.failArchive(errClosed)
	var first error
	for _, d := range m.drives {
		if err := <-d.ended; first == nil {
			first = err
		}
	}
	m.cancel()
	m.wg.Wait()
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.failArchive(errClosed)
	return first
}

func (m *Mover) observed() {
	select {
	case m.observer <- struct{}{}:
	default:
	}
}

// wakeLocked has every drive think again about what to do.
func (m *Mover) wakeLocked() {
	for _, d := range m.drives {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
}

func (m *Mover) anyDriveLocked() bool {
	for _, d := range m.drives {
		if !d.out() {
			return true
		}
	}
	return false
}

// NothingComes says that the cache is full of what will not be archived: whoever waits for space
// need not wait for tape. It never blocks.
func (m *Mover) NothingComes(is bool) {
	m.mu.Lock()
	changed := m.nothing != is
	m.nothing = is
	m.mu.Unlock()
	if changed {
		m.publishTapeSpace()
	}
}

// publishTapeSpace tells the cache whether a volume has room, if that changed.
func (m *Mover) publishTapeSpace() {
	m.publishMu.Lock()
	defer m.publishMu.Unlock()
	m.mu.Lock()
	no := m.noTape || m.nothing
	m.mu.Unlock()
	if no != m.published {
		m.published = no
		m.cache.SetNoTapeSpace(no)
		// Recalls that were put aside may wait for space that will never come.
		m.mu.Lock()
		m.spaceGen++
		m.retryAsideLocked(len(m.aside))
		m.mu.Unlock()
	}
}
