package posix

import (
	"bytes"
	stderrors "errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/posixtest"
	"golang.org/x/sys/unix"
)

var (
	dirFlag   = flag.String("dir", "", "where to test; default: a temporary directory, to test the suite")
	otherFlag = flag.String("other", "", "the same directory by another mount")
	tapeFlag  = flag.Bool("tape", false, "files go to tape before the part that matters")
	lacksFlag = flag.String("lacks", "", "what the file system does not have, with commas")
	entries   = flag.Int("entries", 2000, "names in the large directory")
)

// patience bounds what a broken file system may take.
const patience = 2 * time.Minute

// suite are the tests. needs are features that -lacks can name.
var suite = []struct {
	name  string
	needs string
	run   func(*env)
}{
	{"UnlinkedOpen", "", unlinkedOpen},
	{"UnlinkedOpenNlink", "nlink0", unlinkedNlink},
	{"UnlinkedEmpty", "", unlinkedEmpty},
	{"RemovalSeen", "", removalSeen},
	{"RenameOverOpen", "", renameOverOpen},
	{"HardLinks", "", hardLinks},
	{"RenameDirs", "", renameDirs},
	{"Errors", "", errnos},
	{"OpenFlags", "", openFlags},
	{"Names", "", names},
	{"LongNames", "", longNames},
	{"LargeDirectory", "", largeDirectory},

	{"Times", "", times},
	{"TimesNanoseconds", "nanoseconds", timesNano},
	{"Birth", "btime", birth},
	{"Nodes", "", nodes},
	{"Sockets", "", sockets},
	{"XattrLimits", "", xattrLimits},
	{"XattrEmpty", "empty-xattr", xattrEmpty},
	{"Statfs", "", statfs},

	{"Sparse", "", sparse},
	{"Truncate", "", truncate},
	{"Append", "", appendTwo},
	{"MmapShared", "mmap-shared", mmapShared},
	{"MmapAppend", "mmap-append", mmapAppend},
	{"MmapPrivate", "", mmapPrivate},
	{"Direct", "direct", direct},
	{"Coherence", "close-to-open", coherence},
	{"Parallel", "", parallel},

	{"RecordLocks", "", recordLocks},
	{"RecordLocksAtClose", "", locksAtClose},
	{"LocksWait", "", locksWait},
	{"LocksOfTheKilled", "", locksOfTheKilled},
	{"Flock", "", flocks},
	{"OFDLocks", "ofd", ofdLocks},
	{"FlockBesideRecordLock", "separate-flock", flockBeside},

	{"Permissions", "", permissions},
	{"MadeByOthers", "", madeByOthers},
	{"Sticky", "", sticky},
	{"SetgidDirectory", "", setgidDirectory},
	{"SetuidIsCleared", "killpriv", setuidCleared},
	{"Umask", "", umask},
	{"ACL", "acl", aclSet},
	{"ACLChmod", "acl", aclChmod},
	{"ACLErrors", "acl", aclErrors},
	{"ACLPermits", "acl", aclPermits},
	{"ACLInherit", "acl", aclInherit},
}

func TestMain(m *testing.M) {
	if name := os.Getenv(lockerEnv); name != "" {
		os.Exit(locker(name))
	}
	os.Exit(m.Run())
}

// TestSuite is our own suite.
func TestSuite(t *testing.T) {
	if os.Geteuid() != 0 {
		fail := t.Skip
		if os.Getenv("SLIOD_REQUIRE_ALL") == "1" {
			fail = t.Fatal
		}
		fail("the suite acts as several users: run it as root")
	}
	base, other, lacks := *dirFlag, *otherFlag, strings.Split(*lacksFlag, ",")
	if base == "" {
		base = t.TempDir()
		chmodUp(t, base)
		lacks = append(lacks, "large-xattr")
		if unix.Setxattr(base, aclAccess, aclValue("u::rwx,g::rwx,o::r-x"), 0) == unix.EOPNOTSUPP {
			lacks = append(lacks, "acl") // a mount option of some file systems
		}
	}
	known := map[string]bool{"": true, "large-xattr": true, "unknown-groups": true, "client-groups": true, "flock-of-copies": true}
	for _, tc := range suite {
		known[tc.needs] = true
		if tc.needs != "" && slices.Contains(lacks, tc.needs) {
			continue
		}
		t.Run(tc.name, func(t *testing.T) {
			name := tc.name
			if *tapeFlag {
				name += ".tape"
			}
			e := &env{T: t, lacks: lacks, dir: filepath.Join(base, name)}
			check(t, os.Mkdir(e.dir, 0o755))
			check(t, os.Chmod(e.dir, 0o777))
			e.other = e.dir
			if other != "" {
				e.other = filepath.Join(other, name)
			}
			begin := time.Now()
			tc.run(e)
			if d := time.Since(begin); d > time.Second {
				t.Logf("%.1f s", d.Seconds())
			}
		})
	}
	known["Tmpfile"] = true // go-fuse's, of some systems
	for _, l := range lacks {
		if !known[l] && posixtest.All[l] == nil {
			t.Errorf("-lacks %s: no test needs that", l)
		}
	}
}

// TestGoFuse is the suite of go-fuse.
func TestGoFuse(t *testing.T) {
	base, lacks := *dirFlag, strings.Split(*lacksFlag, ",")
	if base == "" {
		base = t.TempDir()
		lacks = append(lacks, "OpenSymlinkRace", "XAttrLarge") // go-fuse's own exceptions
	}
	// It expects that a process conflicts with its own record locks, which fcntl(2) excludes.
	lacks = append(lacks, "FcntlFlockLocksFile")
	for name, test := range posixtest.All {
		if slices.Contains(lacks, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(base, "gofuse."+name)
			check(t, os.MkdirAll(dir, 0o755))
			t.Cleanup(func() {
				if t.Skipped() {
					t.Errorf("%s was skipped: name it in -lacks", name)
				}
			})
			test(t, dir)
		})
	}
}

// chmodUp lets other users reach a directory of the test.
func chmodUp(t *testing.T, dir string) {
	for ; dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		check(t, os.Chmod(dir, 0o755))
	}
}

// env is what a test has.
type env struct {
	*testing.T
	dir   string // empty at first
	other string // the same by another mount, or dir again
	lacks []string
}

func (e *env) path(name string) string   { return filepath.Join(e.dir, name) }
func (e *env) theirs(name string) string { return filepath.Join(e.other, name) }

func (e *env) lacking(feature string) bool { return slices.Contains(e.lacks, feature) }

// twoMounts says whether other is another mount.
func (e *env) twoMounts() bool { return e.dir != e.other }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// errno fails unless err is want.
func (e *env) errno(what string, err error, want ...unix.Errno) {
	e.Helper()
	for _, w := range want {
		if w == 0 && err == nil || w != 0 && stderrors.Is(err, w) {
			return
		}
	}
	e.Errorf("%s: %v, want %v", what, err, want)
}

// content is what a test writes.
func content(seed byte, n int) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(p) // never fails
	return p
}

// put makes a file, on tape if that is what is tested.
func (e *env) put(name string, p []byte) string {
	e.Helper()
	check(e, os.WriteFile(e.path(name), p, 0o666))
	check(e, os.Chmod(e.path(name), 0o666))
	e.settle(name)
	return e.path(name)
}

// settle takes files to tape and out of the cache.
func (e *env) settle(list ...string) {
	e.Helper()
	if !*tapeFlag {
		return
	}
	for _, name := range list {
		e.order(name, "user.sliod.archive", "premigrated", "migrated")
	}
	for _, name := range list {
		e.order(name, "user.sliod.evict", "migrated")
		// The kernel keeps pages of its own.
		f := e.open(name, unix.O_RDONLY)
		check(e, unix.Fadvise(f, 0, 0, unix.FADV_DONTNEED))
		e.close(f)
	}
}

// order sets an attribute of SLIOD and waits for what it asks for.
func (e *env) order(name, attr string, states ...string) {
	e.Helper()
	check(e, unix.Setxattr(e.path(name), attr, []byte("1"), 0))
	state := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		buf := make([]byte, 64)
		n, err := unix.Getxattr(e.path(name), "user.sliod.state", buf)
		check(e, err)
		if state = string(buf[:n]); slices.Contains(states, state) {
			return
		}
	}
	e.Fatalf("%s is %s after %s, want %v", name, state, attr, states)
}

func (e *env) open(name string, flags int) int { return e.openAt(e.path(name), flags) }

func (e *env) openAt(path string, flags int) int {
	e.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o666)
	if err != nil {
		e.Fatalf("open %s with %#o: %v", path, flags, err)
	}
	return fd
}

func (e *env) close(fd int) {
	e.Helper()
	check(e, unix.Close(fd))
}

func (e *env) write(fd int, p []byte, off int64) {
	e.Helper()
	if n, err := unix.Pwrite(fd, p, off); n != len(p) || err != nil {
		e.Fatalf("write of %d bytes at %d: %d, %v", len(p), off, n, err)
	}
}

// expect compares what a path has with want.
func (e *env) expect(path string, want []byte) {
	e.Helper()
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		e.Fatalf("%s: %d bytes that differ from the %d expected (%s), %v", path, len(got), len(want), firstDifference(got, want), err)
	}
}

// expectFD is expect for an open file.
func (e *env) expectFD(fd int, want []byte) {
	e.Helper()
	got := make([]byte, len(want)+1)
	done := 0
	for {
		n, err := unix.Pread(fd, got[done:], int64(done))
		if err == unix.EINTR {
			continue
		}
		check(e, err)
		if done += n; n == 0 {
			break
		}
	}
	if !bytes.Equal(got[:done], want) {
		e.Fatalf("open file: %d bytes that differ from the %d expected (%s)", done, len(want), firstDifference(got[:done], want))
	}
}

func firstDifference(got, want []byte) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("first at %d", i)
		}
	}
	return "one is longer"
}

func (e *env) stat(path string) *unix.Stat_t {
	e.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		e.Fatalf("stat %s: %v", path, err)
	}
	return &st
}

// as runs do as another user, in a thread that ends with it: the calls of unix are for
// the whole process.
func (e *env) as(uid, gid int, do func()) {
	e.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		var failed error
		for _, c := range []struct{ nr, a, b, c uintptr }{
			{unix.SYS_SETGROUPS, 0, 0, 0},
			{unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)},
			{unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)},
		} {
			if _, _, errno := unix.RawSyscall(c.nr, c.a, c.b, c.c); errno != 0 {
				failed = errno
			}
		}
		if failed == nil {
			do()
		}
		done <- failed
	}()
	check(e, <-done)
}
