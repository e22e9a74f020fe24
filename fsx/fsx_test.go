package fsx

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var (
	dirFlag  = flag.String("fsx.dir", "", "run on this directory (default: a temporary one)")
	opsFlag  = flag.Int("fsx.ops", 3000, "number of operations")
	seedFlag = flag.Uint64("fsx.seed", 0, "seed; 0: a random one")
	tapeFlag = flag.Int("fsx.tape", 0, "archive or evict once in so many operations")
)

// TestFile is the test of a file system. Without flags it is that of the tester: a
// local file system does what the model does.
func TestFile(t *testing.T) {
	dir, seed := *dirFlag, *seedFlag
	if dir == "" {
		dir = t.TempDir()
	}
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	res, err := Run(Options{Path: filepath.Join(dir, fmt.Sprintf("fsx-%d", seed)), Seed: seed, Ops: *opsFlag, Tape: *tapeFlag})
	t.Log(res)
	if err != nil {
		t.Fatal(err)
	}
}

// TestFindsDamage changes a byte of the file behind the tester.
func TestFindsDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	o := Options{Path: path, Seed: 4, Ops: 400}
	saved := operations[0].do
	defer func() { operations[0].do = saved }()
	reads := 0
	operations[0].do = func(r *run, off, n int) error {
		if reads++; reads == 20 && len(r.model) > 100 {
			if _, err := r.f.WriteAt([]byte{r.model[50] + 1}, 50); err != nil {
				t.Error(err)
			}
			return r.verify(0, 0)
		}
		return saved(r, off, n)
	}
	_, err := Run(o)
	if err == nil || !strings.Contains(err.Error(), "wrong data from 0x32 on") || !strings.Contains(err.Error(), "seed 4") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the file of a failed run is not kept: %v", err)
	}
}
