package main

import (
	"os"
	"strconv"
	"strings"
)

// mountpoint is a directory with a mount of this program's on it.
type mountpoint struct {
	dir    string // absolute
	real   string // without links, as the kernel shows it
	device string // MAJOR:MINOR of the file system, "" if that is not known
}

// mountpointOf is dir, on which nothing is mounted yet.
func mountpointOf(dir string) mountpoint { return mountpoint{dir: dir, real: resolve(dir)} }

// mounted notes what has been mounted there.
func (m *mountpoint) mounted() { m.device, _ = topMount(m.real) }

// ours says whether what is on the directory is this program's mount still, and not what somebody has mounted
// there since. It asks the kernel alone, as the server may not answer. As long as a file system is there,
// unmounted or not, no other has its number.
func (m mountpoint) ours() bool {
	device, err := topMount(m.real)
	return err != nil || m.device == "" || device == m.device
}

// topMount returns the number (MAJOR:MINOR) of the file system that is mounted on dir, of the last one if there are
// several; "": none is.
func topMount(dir string) (device string, err error) {
	list, err := os.ReadFile("/proc/self/mountinfo") // proc_pid_mountinfo(5)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(list)) {
		// ID, parent, MAJOR:MINOR, root, mountpoint.
		if f := strings.Split(line, " "); len(f) > 4 && unescapeMount(f[4]) == dir {
			device = f[2]
		}
	}
	return device, nil
}

// unescapeMount undoes what the kernel does to space, tab, newline and backslash.
func unescapeMount(s string) string {
	var b strings.Builder
	for ; s != ""; s = s[1:] {
		if len(s) >= 4 && s[0] == '\\' {
			if n, err := strconv.ParseUint(s[1:4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				s = s[3:]
				continue
			}
		}
		b.WriteByte(s[0])
	}
	return b.String()
}
