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

// word is a word of commands.
type word struct {
	kind backend.JobKind
	min  int    // arguments at least
	max  int    // at most; 0: any number
	what string // the arguments are
	// text: the last argument is free text, which may be empty and have spaces.
	text bool
}

// words are the words of commands. The arguments are paths of the archive, or begin with
// the barcode of a volume.
var words = []word{
	{kind: backend.JobArchive, min: 1, what: "path"}, {kind: backend.JobEvict, min: 1, what: "path"},
	{kind: backend.JobRecall, min: 1, what: "path"}, {kind: backend.JobPin, min: 1, what: "path"},
	{kind: backend.JobUnpin, min: 1, what: "path"},
	{kind: backend.JobFormat, min: 1, max: 2, what: "volume"}, {kind: backend.JobLabel, min: 1, max: 2, what: "volume", text: true},
	{kind: backend.JobVolumesImport, what: "volume"}, {kind: backend.JobVolumesExport, min: 1, what: "volume"},
	{kind: backend.JobVolumesSet, min: 2, max: 2, what: "volume"},
	{kind: backend.JobDrivesReset, min: 1, what: "drive"},
	{kind: backend.JobImport, min: 1, what: "volume"}, {kind: backend.JobVerifyFormat, min: 1, max: 2, what: "volume"},
	{kind: backend.JobVerify, what: "path"}, {kind: backend.JobReclaim, min: 1, what: "volume"},
}

// badCommand is a command that makes no sense: EINVAL to the client.
type badCommand struct{ msg string }

func (e *badCommand) Error() string { return e.msg }
func (e *badCommand) Unwrap() error { return linux.EINVAL }

func badf(format string, args ...any) error { return &badCommand{fmt.Sprintf(format, args...)} }

// parseCommand reads one write to /jobs/new, and returns its word and arguments; the
// package comment has the forms.
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
		parts = splitLine(line)
	}
	kind := backend.JobKind(parts[0])
	w, ok := wordOf(kind)
	if !ok {
		return "", nil, badf("there is no command %q; the commands are %s", kind, wordList())
	}
	args := make([]string, 0, len(parts)-1)
	for i, arg := range parts[1:] {
		if len(arg) == 0 && !(w.text && i+1 == w.max) {
			if w.what == "path" {
				return "", nil, badf("%s: a path is empty; the root of the archive is /", kind)
			}
			return "", nil, badf("%s: an argument is empty", kind)
		}
		args = append(args, string(arg))
	}
	switch {
	case len(args) < w.min:
		return "", nil, badf("%s: which %s? Name at least one", kind, w.what)
	case w.max > 0 && len(args) > w.max:
		return "", nil, badf("%s: %d arguments are too many; it takes at most %d", kind, len(args), w.max)
	}
	return kind, args, nil
}

// splitLine splits a command in one line at spaces. A path has the whole rest of
// the line, and so has a text.
func splitLine(line []byte) [][]byte {
	first, rest, _ := bytes.Cut(bytes.TrimLeft(line, " \t"), []byte{' '})
	parts := [][]byte{first}
	rest = bytes.Trim(rest, " \t")
	w, _ := wordOf(backend.JobKind(first))
	switch {
	case len(rest) == 0:
	case w.what == "path":
		parts = append(parts, rest)
	case w.text:
		for n := 1; n < w.max && len(rest) > 0; n++ {
			arg, more, _ := bytes.Cut(rest, []byte{' '})
			parts, rest = append(parts, arg), bytes.TrimLeft(more, " \t")
		}
		if len(rest) > 0 {
			parts = append(parts, rest)
		}
	default:
		parts = append(parts, bytes.Fields(rest)...)
	}
	return parts
}

func wordOf(k backend.JobKind) (word, bool) {
	for _, w := range words {
		if k == w.kind {
			return w, true
		}
	}
	return word{}, false
}

func wordList() string {
	names := make([]string, len(words))
	for i, w := range words {
		names[i] = string(w.kind)
	}
	return strings.Join(names, ", ")
}

// command runs one write to /jobs/new. It returns the text that reading back
// gives; with err, that of the error.
func (t *FS) command(p []byte) (text string, err error) {
	kind, args, err := parseCommand(p)
	var id uint64
	if err == nil {
		id, err = t.admin.StartJob(kind, args)
	}
	if err == nil {
		t.log.WithField("job", id).Infof("%s begins, %d argument(s)", kind, len(args))
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
