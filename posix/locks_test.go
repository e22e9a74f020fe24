package posix

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// lockerEnv makes the test program lock the file that it names, say so, and wait to be
// killed.
const lockerEnv = "SLIOD_POSIX_LOCKER"

func locker(name string) int {
	fd, err := unix.Open(name, unix.O_RDWR, 0)
	if err == nil {
		err = setLock(fd, unix.F_SETLKW, unix.F_WRLCK, 0, 10)
	}
	if err == nil {
		err = unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) // where it conflicts, this is one more
		if err == unix.EAGAIN {
			err = nil
		}
	}
	fmt.Println(err)
	for {
		_ = unix.Pause() // the runtime has signals of its own
	}
}

// startLocker has another process lock the first bytes of a file.
func (e *env) startLocker(path string) *exec.Cmd {
	e.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), lockerEnv+"="+path)
	out, err := cmd.StdoutPipe()
	check(e, err)
	check(e, cmd.Start())
	e.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "<nil>\n" {
		e.Fatalf("the other process: %q, %v", line, err)
	}
	return cmd
}

func setLock(fd, cmd int, typ int16, start, length int64) error {
	for {
		err := unix.FcntlFlock(uintptr(fd), cmd, &unix.Flock_t{Type: typ, Start: start, Len: length})
		if err != unix.EINTR {
			return err
		}
	}
}

func getLock(fd int, typ int16, start, length int64) (unix.Flock_t, error) {
	l := unix.Flock_t{Type: typ, Start: start, Len: length}
	err := unix.FcntlFlock(uintptr(fd), unix.F_GETLK, &l)
	return l, err
}

func recordLocks(e *env) {
	e.put("f", content(1, 1000))
	cmd := e.startLocker(e.theirs("f"))
	fd := e.open("f", unix.O_RDWR)
	e.errno("what is locked", setLock(fd, unix.F_SETLK, unix.F_RDLCK, 5, 1), unix.EAGAIN)
	e.errno("what is not", setLock(fd, unix.F_SETLK, unix.F_WRLCK, 10, 5), 0)
	l, err := getLock(fd, unix.F_RDLCK, 0, 0)
	if err != nil || l.Type != unix.F_WRLCK || l.Start != 0 || l.Len != 10 || !e.twoMounts() && l.Pid != int32(cmd.Process.Pid) {
		e.Errorf("F_GETLK: %+v, %v; process %d", l, err, cmd.Process.Pid)
	}
	l, err = getLock(fd, unix.F_WRLCK, 10, 100)
	if err != nil || l.Type != unix.F_UNLCK {
		e.Errorf("F_GETLK of what is ours: %+v, %v", l, err)
	}
	e.errno("unlock the middle", setLock(fd, unix.F_SETLK, unix.F_UNLCK, 12, 1), 0)
	e.errno("change to a read lock", setLock(fd, unix.F_SETLK, unix.F_RDLCK, 10, 2), 0)
	e.close(fd)
}

// The first close of any of a process's open files of a file ends its locks.
func locksAtClose(e *env) {
	e.put("f", content(1, 1000))
	a, b := e.open("f", unix.O_RDWR), e.open("f", unix.O_RDONLY)
	check(e, setLock(a, unix.F_SETLK, unix.F_WRLCK, 0, 10))
	e.close(b)
	e.startLocker(e.theirs("f")) // waits for the lock
	e.close(a)
}

func locksWait(e *env) {
	e.put("f", content(1, 1000))
	a, b := e.open("f", unix.O_RDWR), e.openAt(e.theirs("f"), unix.O_RDWR)
	defer e.close(a)
	defer e.close(b)
	check(e, unix.Flock(a, unix.LOCK_EX))
	got := make(chan error)
	go func() { got <- unix.Flock(b, unix.LOCK_EX) }()
	select {
	case err := <-got:
		e.Fatalf("a lock that is held was granted: %v", err)
	case <-time.After(100 * time.Millisecond): // it does not prove, but would mostly show
	}
	check(e, unix.Flock(a, unix.LOCK_UN))
	check(e, <-got)
	e.errno("the other way round", unix.Flock(a, unix.LOCK_SH|unix.LOCK_NB), unix.EAGAIN)
}

func locksOfTheKilled(e *env) {
	e.put("f", content(1, 1000))
	cmd := e.startLocker(e.theirs("f"))
	fd := e.open("f", unix.O_RDWR)
	defer e.close(fd)
	e.errno("while it lives", setLock(fd, unix.F_SETLK, unix.F_WRLCK, 0, 1), unix.EAGAIN)
	got := make(chan error)
	go func() { got <- setLock(fd, unix.F_SETLKW, unix.F_WRLCK, 0, 1) }()
	check(e, cmd.Process.Kill())
	check(e, <-got)
}

func flocks(e *env) {
	e.put("f", content(1, 1000))
	a, b := e.open("f", unix.O_RDONLY), e.openAt(e.theirs("f"), unix.O_RDONLY)
	check(e, unix.Flock(a, unix.LOCK_SH))
	check(e, unix.Flock(b, unix.LOCK_SH|unix.LOCK_NB))
	e.errno("exclusive beside shared", unix.Flock(a, unix.LOCK_EX|unix.LOCK_NB), unix.EAGAIN)
	check(e, unix.Flock(b, unix.LOCK_UN))
	check(e, unix.Flock(a, unix.LOCK_EX|unix.LOCK_NB))
	e.errno("beside exclusive", unix.Flock(b, unix.LOCK_SH|unix.LOCK_NB), unix.EAGAIN)
	// It belongs to the open file, not to the process: a copy keeps it.
	dup, err := unix.Dup(a)
	check(e, err)
	e.close(a)
	if !e.lacking("flock-of-copies") {
		e.errno("a copy is open", unix.Flock(b, unix.LOCK_SH|unix.LOCK_NB), unix.EAGAIN)
	}
	e.close(dup)
	// It waits: a FUSE file system is told of the end of an open file without anybody
	// waiting for that.
	e.errno("the last is closed", unix.Flock(b, unix.LOCK_SH), 0)
	e.close(b)
}

func ofdLocks(e *env) {
	const setlk = 37 // F_OFD_SETLK
	e.put("f", content(1, 1000))
	a, b := e.open("f", unix.O_RDWR), e.openAt(e.theirs("f"), unix.O_RDWR)
	check(e, setLock(a, setlk, unix.F_WRLCK, 0, 10))
	e.errno("the same process, another open file", setLock(b, setlk, unix.F_RDLCK, 0, 1), unix.EAGAIN)
	check(e, setLock(b, setlk, unix.F_WRLCK, 10, 10))
	e.close(a)
	check(e, setLock(b, setlk+1, unix.F_WRLCK, 0, 1)) // F_OFD_SETLKW
	e.close(b)
}

// Linux keeps flock(2) and record locks apart on local file systems.
func flockBeside(e *env) {
	e.put("f", content(1, 1000))
	a, b := e.open("f", unix.O_RDWR), e.open("f", unix.O_RDWR)
	check(e, unix.Flock(a, unix.LOCK_EX))
	e.errno("record lock beside flock", setLock(b, unix.F_SETLK, unix.F_WRLCK, 0, 0), 0)
	e.close(a)
	e.close(b)
}
