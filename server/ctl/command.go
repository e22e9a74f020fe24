package ctl

import (
	"bytes"
	stderrors "errors"
	"fmt"
	"strings"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend"
)

// MaxCommand is the largest command in bytes.
const MaxCommand = 1 << 20

// kinds are the words of commands.
var kinds = []backend.JobKind{backend.JobArchive, backend.JobEvict, backend.JobRecall, backend.JobPin, backend.JobUnpin}

// badCommand is a command that makes no sense: EINVAL to the client.
type badCommand struct{ msg string }

func (e *badCommand) Error() string { return e.msg }
func (e *badCommand) Unwrap() error { return linux.EINVAL }

func badf(format string, args ...any) error { return &badCommand{fmt.Sprintf(format, args...)} }

// parseCommand reads one write to /jobs/new; the package comment has the forms.
func parseCommand(p []byte) (backend.JobKind, []string, error) {
	if len(p) > MaxCommand {
		return "", nil, badf("a command has at most %d bytes, this one has %d; name a directory instead of the files in it", MaxCommand, len(p))
	}
	var parts [][]byte
	switch line := bytes.TrimRight(p, "\r\n"); {
	case bytes.IndexByte(p, 0) >= 0:
		parts = bytes.Split(bytes.TrimSuffix(p, []byte{0}), []byte{0})
	case bytes.IndexByte(line, '\n') >= 0:
		parts = bytes.Split(line, []byte{'\n'})
	default:
		kind, path, _ := bytes.Cut(bytes.TrimLeft(line, " \t"), []byte{' '})
		parts = [][]byte{kind}
		if path = bytes.Trim(path, " \t"); len(path) > 0 {
			parts = append(parts, path)
		}
	}
	kind := backend.JobKind(parts[0])
	if !isKind(kind) {
		return "", nil, badf("there is no command %q; the commands are %s", kind, kindList())
	}
	if len(parts) == 1 {
		return "", nil, badf("%s: which path? Name at least one", kind)
	}
	paths := make([]string, 0, len(parts)-1)
	for _, path := range parts[1:] {
		if len(path) == 0 {
			return "", nil, badf("%s: a path is empty; the root of the archive is /", kind)
		}
		paths = append(paths, string(path))
	}
	return kind, paths, nil
}

func isKind(k backend.JobKind) bool {
	for _, known := range kinds {
		if k == known {
			return true
		}
	}
	return false
}

func kindList() string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

// command runs one write to /jobs/new. It returns the text that reading back
// gives; with err, that of the error.
func (t *FS) command(p []byte) (text string, err error) {
	kind, paths, err := parseCommand(p)
	var id uint64
	if err == nil {
		id, err = t.admin.StartJob(kind, paths)
	}
	if err == nil {
		t.log.WithField("job", id).Infof("%s begins, %d path(s)", kind, len(paths))
		return jobName(id) + "\n", nil
	}
	text = explain(kind, err)
	t.mu.Lock()
	t.lastError = text
	t.mu.Unlock()
	return text, err
}

// explain makes the one line that a refused command leaves.
func explain(kind backend.JobKind, err error) string {
	text := err.Error()
	var bad *badCommand
	if kind != "" && !stderrors.As(err, &bad) {
		text = string(kind) + ": " + text
	}
	return "error: " + strings.ReplaceAll(text, "\n", "; ") + "\n"
}
