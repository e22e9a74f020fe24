package sg

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const procDir = "/proc"

// holders names the processes that have path open, as far as this process may know:
// "sliod (process 4711)". Empty: none that it can see.
func holders(proc, path string) string {
	fds, _ := filepath.Glob(filepath.Join(proc, "[0-9]*", "fd", "*")) // the pattern is sound
	var names []string
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err != nil || target != path {
			continue
		}
		dir := filepath.Dir(filepath.Dir(fd))
		command, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			command = []byte("a process") // it has ended meanwhile
		}
		name := fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(command)), filepath.Base(dir))
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, " and ")
}
