package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sliod/guest"
)

// fioJob is a job of fio that writes and reads a file at random and compares the
// checksums that it has put into its blocks. With again it only compares: the file has
// been on tape meanwhile.
func fioJob(dir, size string, again bool) []string {
	args := []string{"--name=fio", "--directory=" + dir, "--filename=fio", "--rw=randrw", "--rwmixwrite=70", "--bsrange=4k-128k", "--size=" + size,
		"--ioengine=psync", "--randseed=7", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--output-format=terse"}
	if again {
		// The file was written in the order of the first job: its offsets and sizes are drawn again.
		args = append(args, "--verify_only")
	}
	return args
}

func fioProgram(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("fio")
	if err != nil {
		guest.SkipOrFail(t, "no fio: install the package fio")
	}
	return path
}

// TestFio has Debian's fio verify what it writes through the bridge in a guest, then
// again from tape.
func TestFio(t *testing.T) {
	fio := fioProgram(t)
	guest.Require(t, true)
	t.Parallel()
	s := start(t, stateDir(t), settings{})
	m := guest.Boot(t, guest.Options{UserMode: true, Output: new(bytes.Buffer), MemoryMiB: 2048, Bins: []string{guest.Build(t, "sliod/cmd/sliod"), fio}})
	addr, err := m.Host(s.port())
	if err != nil {
		t.Fatal(err)
	}
	mount := fmt.Sprintf("mkdir -p /mnt && sliod mount -o log=/tmp/log tcp:%s /mnt", addr)
	m.Must(t, mount)
	run := func(again bool) {
		t.Helper()
		m.Must(t, "fio "+strings.Join(fioJob("/mnt", "8m", again), " "))
	}
	run(false)
	m.Must(t, "umount /mnt") // with it the kernel forgets its pages
	s.toTape("/fio")
	m.Must(t, mount)
	run(true)
	m.Must(t, "umount /mnt")
	s.stop()
}

// TestFioHere is TestFio on this machine's bridges, where it has FUSE.
func TestFioHere(t *testing.T) {
	fio := fioProgram(t)
	requireFUSE(t)
	local := filepath.Join(t.TempDir(), "mnt")
	s := start(t, stateDir(t), settings{mount: local})
	dir := mountBridge(t, s, "")
	for _, mounted := range []string{local, dir} {
		for _, again := range []bool{false, true} {
			cmd := exec.CommandContext(t.Context(), fio, fioJob(mounted, "24m", again)...)
			cmd.Dir = t.TempDir()
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s, again %v: %v\n%s", mounted, again, err, out)
			}
			if !again {
				s.toTape("/fio")
			}
		}
		if err := os.Remove(filepath.Join(mounted, "fio")); err != nil {
			t.Error(err)
		}
	}
	s.stop()
}
