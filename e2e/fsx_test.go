package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sliod/guest"
)

// Random operations on one file, see package fsx. On this machine the bridge does them.
var (
	fsxHere   = flag.Int("fsx.here", 0, "operations on each bridge of this machine; 0: 100,000, or 5,000 with the race detector")
	fsxKernel = flag.Int("fsx.kernel", 0, "operations on the kernel's mount with cache=mmap in the guest, and a fifth with cache=none; 0: as fsx.here")
	fsxBridge = flag.Int("fsx.bridge", 1_000, "operations on the bridge in the guest")
	fsxSeed   = flag.Uint64("fsx.seed", 0, "seed; 0: a random one")
)

// fsxOps is the number of operations that a flag stands for.
func fsxOps(flag int) int {
	switch {
	case flag != 0:
		return flag
	case len(raceArgs) > 0:
		return 5_000
	}
	return 100_000
}

// fsxArgs are the arguments of fsx.test. Ways of the same test have different seeds.
func fsxArgs(t *testing.T, dir string, ops, tape int) []string {
	seed := *fsxSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	return []string{"-test.v", "-test.timeout=30m", "-test.run=TestFile", "-fsx.dir=" + dir,
		fmt.Sprintf("-fsx.ops=%d", ops), fmt.Sprintf("-fsx.tape=%d", tape), fmt.Sprintf("-fsx.seed=%d", seed)}
}

// fsxJudge looks at what runs of fsx.test printed, each with the last line "status 0" if it went well. lacks says that
// the way has no message for some operations, which are replaced then.
func fsxJudge(t *testing.T, lacks bool, outs ...string) {
	t.Helper()
	for _, out := range outs {
		for line := range strings.Lines(out) {
			if strings.Contains(line, "reopen ") {
				t.Log(strings.TrimSpace(line))
			}
		}
		switch {
		case !strings.HasSuffix(out, "status 0\n") || !strings.Contains(out, "--- PASS: TestFile") || strings.Contains(out, "--- SKIP"):
			t.Error(out)
		case strings.Contains(out, "replaced") != lacks:
			t.Errorf("operations were replaced: %v, want %v", !lacks, lacks)
		}
	}
	if !strings.Contains(strings.Join(outs, ""), "on tape ") {
		t.Error("no file was ever on tape")
	}
}

// TestFsx runs the random operations on the bridge and on v9fs in a guest.
func TestFsx(t *testing.T) {
	guest.Require(t, true)
	t.Parallel()
	s := start(t, stateDir(t), settings{})
	m := guest.Boot(t, guest.Options{UserMode: true, Output: new(bytes.Buffer),
		Bins: []string{guest.Build(t, "sliod/cmd/sliod"), guest.BuildTest(t, "sliod/fsx", "")}})
	m.Must(t, "mkdir -p /mnt")
	for _, way := range []struct {
		name, options string // without options: the bridge
		ops, files    int
	}{
		{"bridge", "", *fsxBridge, 1},
		{"v9fs,cache=none", "access=client,cache=none,uname=root", fsxOps(*fsxKernel) / 5, 5},
		{"v9fs,cache=mmap", "access=client,cache=mmap,uname=root", fsxOps(*fsxKernel), 5},
	} {
		t.Run(way.name, func(t *testing.T) {
			begin := time.Now()
			if way.options == "" {
				addr, err := m.Host(s.port())
				if err != nil {
					t.Fatal(err)
				}
				m.Must(t, fmt.Sprintf("sliod mount -o log=/tmp/log tcp:%s /mnt", addr))
			} else {
				m.Mount9P(t, s.port(), way.options, "/mnt")
			}
			// Several files at a time, as each waits for the network most of the time.
			var script strings.Builder
			for i := range way.files {
				fmt.Fprintf(&script, "mkdir -p /mnt/%[1]d; (fsx.test %[2]s; echo status $?) >/tmp/%[1]d.out 2>&1 &\n",
					i, strings.Join(fsxArgs(t, fmt.Sprintf("/mnt/%d", i), way.ops/way.files, min(200, way.ops/way.files/20)), " "))
			}
			m.Must(t, script.String()+"wait")
			var outs []string
			for i := range way.files {
				outs = append(outs, m.Must(t, fmt.Sprintf("cat /tmp/%d.out", i)))
			}
			fsxJudge(t, way.options != "", outs...)
			m.Must(t, "umount /mnt")
			t.Logf("%d operations in %v", way.ops, time.Since(begin).Round(time.Second))
		})
	}
	s.stop()
}

// TestFsxHere runs the random operations on this machine's bridges, where it has FUSE.
func TestFsxHere(t *testing.T) {
	requireFUSE(t)
	t.Parallel()
	prog := guest.BuildTest(t, "sliod/fsx", "")
	local := filepath.Join(t.TempDir(), "mnt")
	s := start(t, stateDir(t), settings{mount: local})
	for name, dir := range map[string]string{"local": local, "remote": mountBridge(t, s, "")} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), prog, fsxArgs(t, dir, fsxOps(*fsxHere), 1000)...)
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState == nil {
				t.Fatal(err)
			}
			fsxJudge(t, false, fmt.Sprintf("%sstatus %d\n", out, cmd.ProcessState.ExitCode()))
		})
	}
	s.stop()
}
