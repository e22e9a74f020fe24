package e2e

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hugelgupf/p9/p9"

	"sliod/server/wire"
)

// manyNames is how many names TestBridgeManyNamesHere has in a directory. They are made by
// messages that do not wait for each other: one by one through the mount would take a minute.
const manyNames = 100_000

// makeNames makes empty files in a new directory.
func (c *conn) makeNames(dir string, n int, name func(int) string) {
	c.t.Helper()
	c.doing = "make many names"
	c.ok(&wire.MsgTmkdir{Dir: fidRoot, Name: []byte(dir), Mode: 0o755})
	c.walk(fidRoot, fidDir, dir)
	const batch, firstTag = 500, 10
	for i := 0; i < n; i += batch {
		var frames []byte
		count := min(batch, n-i)
		for j := range count {
			frames = append(frames, c.c.Append(nil, uint16(firstTag+j), &wire.MsgTmknod{Dir: fidDir, Name: []byte(name(i + j)), Mode: p9.ModeRegular | 0o644})...)
		}
		c.write(frames)
		for j := range count {
			c.await(uint16(firstTag+j), wire.Rmknod)
		}
	}
}

// TestBridgeManyNamesHere reads a directory of a hundred thousand names by each bridge, with attributes,
// while names come, go and change by the other. Each name that stays is told once.
func TestBridgeManyNamesHere(t *testing.T) {
	requireFUSE(t)
	local := filepath.Join(publicDir(t), "mnt")
	s := start(t, stateDir(t), settings{mount: local})
	remote := mountBridge(t, s, "")
	stays := func(i int) string { return fmt.Sprintf("stays-%06d", i) }
	dial(t, s).makeNames("many", manyNames, stays)
	for _, way := range []struct{ name, dir, other string }{{"local", local, remote}, {"remote", remote, local}} {
		t.Run(way.name, func(t *testing.T) {
			stop := make(chan struct{})
			var wg sync.WaitGroup
			var changed atomic.Int64
			wg.Go(func() {
				for ; ; changed.Add(1) {
					select {
					case <-stop:
						return
					default:
					}
					// The kernel keeps names for a second, so each mount has its own.
					name := fmt.Sprintf("%s/many/goes-%s-%d", way.other, way.name, changed.Load()%50)
					if err := firstError(os.WriteFile(name, nil, 0o600), os.Rename(name, name+".renamed"), os.Remove(name+".renamed")); err != nil {
						t.Error(err)
						return
					}
				}
			})
			for first := true; first || changed.Load() < 10 && !t.Failed(); first = false {
				readNames(t, way.dir+"/many", stays)
			}
			close(stop)
			wg.Wait()
		})
	}
	s.stop()
}

// readNames reads a directory to its end, and looks at what is told.
func readNames(t *testing.T, dir string, stays func(int) string) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	told := make(map[string]int, manyNames)
	for {
		list, err := f.ReadDir(1000)
		for _, e := range list {
			told[e.Name()]++
			if !e.Type().IsRegular() {
				t.Errorf("%s has type %v", e.Name(), e.Type())
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	wrong := 0
	for i := range manyNames {
		if told[stays(i)] != 1 {
			if wrong++; wrong <= 3 {
				t.Errorf("%s is told %d times", stays(i), told[stays(i)])
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d names are not told once", wrong, manyNames)
	}
}
