package crash

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"sliod/backend"
	"sliod/backend/mover"
	"sliod/backend/vfs"
	"sliod/server"
	"sliod/server/ctl"
	"sliod/tape/virtual"
)

const (
	envChild = "SLIOD_CRASH_CHILD" // the state's directory, in a child
	envKill  = "SLIOD_CRASH_KILL"  // its stop point
	envSlots = "SLIOD_CRASH_SLOTS"
	envKeep  = "SLIOD_CRASH_KEEP" // the child is one of keep_test.go's: what it does
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envChild); dir != "" {
		do := serve
		if os.Getenv(envKeep) != "" {
			do = serveKeep
		}
		if err := do(dir); err != nil {
			fmt.Fprintf(os.Stderr, "child: %+v\n", err)
		}
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// killPoint is where a child kills itself: at the n-th command that fits.
type killPoint struct {
	name   string
	opcode byte
	any    bool // any command
	index  bool // only in the index partition
	after  bool // when the command has been done
	n      int64
}

func (k *killPoint) encode() string {
	return fmt.Sprintf("%d %t %t %t %d", k.opcode, k.any, k.index, k.after, k.n)
}

func decodeKillPoint(s string) (*killPoint, error) {
	k := &killPoint{}
	_, err := fmt.Sscanf(s, "%d %t %t %t %d", &k.opcode, &k.any, &k.index, &k.after, &k.n)
	return k, err
}

// hook is the emulated library's.
func (k *killPoint) hook() func(virtual.Event) {
	var seen atomic.Int64
	return func(e virtual.Event) {
		if e.After != k.after || !k.any && e.Opcode != k.opcode || k.index && e.Position.Partition != 0 {
			return
		}
		if seen.Add(1) == k.n {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
}

// serve is the child. It ends by a kill.
func serve(dir string) error {
	l := logrus.New()
	l.SetOutput(os.Stderr)
	l.SetLevel(logrus.InfoLevel)
	log := logrus.NewEntry(l)
	var slots int
	if _, err := fmt.Sscan(os.Getenv(envSlots), &slots); err != nil {
		return err
	}
	lib, err := virtual.Open(virtual.Config{Dir: filepath.Join(dir, "library"), Drives: 2, Slots: slots, Capacity: 256 << 20, Log: log})
	if err != nil {
		return err
	}
	if s := os.Getenv(envKill); s != "" {
		k, err := decodeKillPoint(s)
		if err != nil {
			return err
		}
		lib.Hook(k.hook())
	}
	fs, err := backend.Open(backend.Options{
		Dir: filepath.Join(dir, "state"), Log: log, Library: lib.Tape(), CacheBytes: 20 << 20, CacheStub: 16 << 10,
		ArchiveIdle: 30 * time.Millisecond, SyncInterval: 10 * time.Millisecond,
		Mover: mover.Config{Log: log, BatchBytes: 2 << 20, IndexBytes: 8 << 20, IndexIdle: 20 * time.Millisecond, Linger: 50 * time.Millisecond},
	})
	if err != nil {
		return err
	}
	return listen(dir, fs, log)
}

// listen serves an archive on the socket in dir.
func listen(dir string, fs *backend.FS, log *logrus.Entry) error {
	s, err := server.New(server.Config{Log: log, Trees: map[string]vfs.FS{"": fs, server.CtlTree: ctl.New(fs, ctl.Options{Log: log})}})
	if err != nil {
		return err
	}
	sock := filepath.Join(dir, "sock")
	_ = os.Remove(sock) // of the last child
	ln, err := new(server.Network).Listen("unix:" + sock)
	if err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString("ready\n"); err != nil {
		return err
	}
	return s.Serve(context.Background(), ln)
}

// badLines are the lines of a child's log that must not be there.
func badLines(log string) []string {
	var bad []string
	for _, line := range strings.Split(log, "\n") {
		for _, word := range []string{"panic", "fatal error", "data that had been synced is gone", "checksum", "level=error", "DATA RACE", "child: "} {
			if strings.Contains(line, word) {
				bad = append(bad, line)
				break
			}
		}
	}
	return bad
}
