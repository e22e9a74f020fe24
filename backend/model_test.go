package backend

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"sliod/tape/virtual"
)

// The model test runs streams of random operations against a model in memory
// that is too simple to be wrong. A stream has a directory of its own. Streams
// share an archive, since opening one costs more than a stream; restarts come
// between operations.
//
//	model_test.go         the runs, the archive they share, the gate before the tape
//	model_stream_test.go  the operations
//	model_tree_test.go    the model's tree, and how it is compared
//	model_data_test.go    the model's bytes: which a read may see
//
// SLIOD_MODEL_STREAMS is the number of streams of a run; rapid prints how a
// failed one is run again.

// modelStreams is how many streams a test runs.
func modelStreams(t *testing.T, normal int) int {
	s := os.Getenv("SLIOD_MODEL_STREAMS")
	if s == "" {
		return normal
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("SLIOD_MODEL_STREAMS=%s: give a number from 1", s)
	}
	return n
}

// chooser is where a stream's decisions come from.
type chooser interface {
	n(what string, max int) int // from 0 to max-1
}

type rapidChooser struct{ t *rapid.T }

func (c rapidChooser) n(what string, max int) int { return rapid.IntRange(0, max-1).Draw(c.t, what) }

type randChooser struct{ r *rand.Rand }

func (c randChooser) n(_ string, max int) int { return c.r.IntN(max) }

// gate stops the drives before the commands that move data, while it is shut.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // nil: open
	open int           // streams that need it to stay open
}

// keepOpen opens the gate, and keeps it so until the stream calls done.
func (g *gate) keepOpen() (done func()) {
	g.mu.Lock()
	g.open++
	g.mu.Unlock()
	g.release()
	return func() {
		g.mu.Lock()
		g.open--
		g.mu.Unlock()
	}
}

func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil && g.open == 0 {
		g.shut = make(chan struct{})
	}
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

func (g *gate) held() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut != nil
}

// hook is the library's: see virtual.Event.
func (g *gate) hook(e virtual.Event) {
	switch e.Opcode {
	case opRead6, opWrite6, opLocate16, opFilemarks6:
	default:
		return
	}
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil {
		<-shut
	}
}

// Operation codes of SSC.
const (
	opRead6      = 0x08
	opWrite6     = 0x0A
	opFilemarks6 = 0x10
	opLocate16   = 0x92
)

// inMemory has the test's files in memory where there is room: syncs to a disk
// are most of a stream's time, and loss of power is not what it tests.
func inMemory(t *testing.T) {
	const dir, room = "/dev/shm", 6 << 30
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) == nil && s.Bavail*uint64(s.Bsize) > room && unix.Access(dir, unix.W_OK) == nil {
		t.Setenv("TMPDIR", dir)
	}
}

// modelWorlds gives streams an archive to share, and a new one when it has seen
// many, so that its volumes do not fill.
type modelWorlds struct {
	t       *testing.T
	w       *world
	gate    *gate
	streams int
	worlds  int
	left    []*stream // whose trees are still in it
	evicted int64     // slots that were given to others
	heads   int64     // reads from heads
}

// counts is what streams have met.
type modelCounts struct{ parked, cancelled, restarts atomic.Int64 }

func (m *modelWorlds) log(streams int, c *modelCounts) {
	m.t.Logf("%d streams: %d requests parked, %d cancelled, %d restarts, %d evictions, %d reads from heads", streams, c.parked.Load(), c.cancelled.Load(), c.restarts.Load(), m.evicted, m.heads)
}

const streamsPerWorld = 60

func (m *modelWorlds) get() *world {
	if m.w != nil && m.streams < streamsPerWorld {
		m.streams++
		return m.w
	}
	m.end()
	m.streams = 1
	m.gate = &gate{}
	m.w = newWorld(m.t, func(o *Options, c *virtual.Config) {
		o.CacheBytes = []int64{16 << 20, 24 << 20, 20 << 20}[m.worlds%3]
		o.CacheStub = []int{60 << 10, 0, 4 << 10, 1 << 20}[m.worlds%4]
		m.worlds++
		o.SyncInterval = 20 * time.Millisecond
		o.Mover.IndexIdle = time.Millisecond
		c.Capacity = 256 << 20
		c.Slots = 16
	})
	m.w.lib.Hook(m.gate.hook)
	return m.w
}

// count adds up what the archive's cache has counted since its start.
func (m *modelWorlds) count() {
	s := m.w.fs.cache.Stats()
	m.evicted, m.heads = m.evicted+s.Evictions, m.heads+s.HeadHits
}

// end restarts the archive, compares what the streams left in it, and closes it.
func (m *modelWorlds) end() {
	if m.w == nil {
		return
	}
	m.count()
	m.w.restart()
	for _, s := range m.left {
		if err := s.caught(func() { s.verifyAll() }); err != nil {
			m.t.Errorf("after the last restart: %v", err)
		}
	}
	m.left = nil
	m.count()
	m.w.close()
	m.w.lib.Close()
	m.w = nil
}

// TestModel runs one stream at a time, with restarts in it.
func TestModel(t *testing.T) {
	inMemory(t)
	worlds := &modelWorlds{t: t}
	defer worlds.end()
	n := 0
	var counts modelCounts
	total := modelStreams(t, 700)
	for n < total && !t.Failed() {
		rapid.Check(t, func(rt *rapid.T) {
			n++
			w := worlds.get()
			s := newStream(w, worlds.gate, rapidChooser{rt}, fmt.Sprintf("s%d", n), rapid.Uint64().Draw(rt, "data"))
			s.restarts, s.counts = true, &counts
			s.keep = n%8 == 0
			if err := s.run(40); err != nil {
				worlds.w.lib.Hook(nil)
				rt.Fatalf("%v\n%s", err, s.history())
			}
			if s.keep {
				worlds.left = append(worlds.left, s)
			}
		})
	}
	worlds.end()
	worlds.log(n, &counts)
}

// TestModelTogether runs streams at the same time.
func TestModelTogether(t *testing.T) {
	inMemory(t)
	worlds := &modelWorlds{t: t}
	defer worlds.end()
	const clients = 3
	var counts modelCounts
	total := modelStreams(t, 300)
	seed := rand.Uint64()
	if s := os.Getenv("SLIOD_MODEL_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	for n := 0; n < total && !t.Failed(); n += clients {
		w := worlds.get()
		var wg sync.WaitGroup
		for c := range clients {
			x := seed + uint64(n+c)
			s := newStream(w, worlds.gate, randChooser{rand.New(rand.NewPCG(x, 0))}, fmt.Sprintf("t%d", n+c), x)
			s.shared, s.counts = true, &counts
			wg.Go(func() {
				if err := s.run(40); err != nil {
					t.Errorf("SLIOD_MODEL_SEED=%d: stream %d: %v\n%s", seed, n+c, err, s.history())
				}
			})
		}
		wg.Wait()
		worlds.gate.release()
	}
	worlds.end()
	worlds.log(total, &counts)
}

// stacks is what every goroutine does, for a failure by waiting.
func stacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}
