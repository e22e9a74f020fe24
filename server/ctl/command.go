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
	{kind: wordCancel, min: 1, what: "job"}, {kind: wordRelease, min: 1, what: "job"}, {kind: wordPriority, min: 2, what: "job"},
	{kind: backend.JobImport, min: 1, what: "volume"}, {kind: backend.JobVerifyFormat, min: 1, max: 2, what: "volume"},
	{kind: backend.JobVerify, what: "path"}, {kind: backend.JobReclaim, min: 1, what: "volume"},
}

// Words that are about jobs and begin none.
const (
	wordCancel  backend.JobKind = "cancel"  // end jobs before they are done
	wordRelease backend.JobKind = "release" // end the pins of jobs
	// wordPriority has the priority first, then the jobs that get it.
	wordPriority backend.JobKind = "priority"
)

// badCommand is a command that makes no sense: EINVAL to the client.
type badCommand struct{ msg string }

func (e *badCommand) Error() string { return e.msg }
func (e *badCommand) Unwrap() error { return linux.EINVAL }

func badf(format string, args ...any) error { return &badCommand{fmt.Sprintf(format, args...)} }

// parseCommand reads one write to /jobs/new, and returns its word and arguments; the
// package comment has the forms.
func parseCommand(p []byte) (backend.JobKind, backend.JobOptions, []string, error) {
	var o backend.JobOptions
	if len(p) > MaxCommand {
		return "", o, nil, badf("a command has at most %d bytes, this one has %d; name a directory instead of the files in it, or write a list to jobs/list", MaxCommand, len(p))
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
	kind, o, err := parseHead(parts[0])
	if err != nil {
		return "", o, nil, err
	}
	w, ok := wordOf(kind)
	if !ok {
		return "", o, nil, badf("there is no command %q; the commands are %s", kind, wordList(""))
	}
	args := make([]string, 0, len(parts)-1)
	for i, arg := range parts[1:] {
		if len(arg) == 0 && !(w.text && i+1 == w.max) {
			if w.what == "path" {
				return "", o, nil, badf("%s: a path is empty; the root of the archive is /", kind)
			}
			return "", o, nil, badf("%s: an argument is empty", kind)
		}
		args = append(args, string(arg))
	}
	switch {
	case len(args) < w.min:
		return "", o, nil, badf("%s: which %s? Name at least one", kind, w.what)
	case w.max > 0 && len(args) > w.max:
		return "", o, nil, badf("%s: %d arguments are too many; it takes at most %d", kind, len(args), w.max)
	}
	return kind, o, args, nil
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

// wordList lists the words whose arguments are of a kind; "" is any.
func wordList(what string) string {
	var names []string
	for _, w := range words {
		if what == "" || w.what == what {
			names = append(names, string(w.kind))
		}
	}
	return strings.Join(names, ", ")
}

// command runs one write to /jobs/new. It returns the text that reading back
// gives; with err, that of the error.
func (t *FS) command(p []byte) (text string, err error) {
	kind, o, args, err := parseCommand(p)
	w, _ := wordOf(kind)
	if err == nil && w.what == "job" {
		if text, err = t.commandJobs(kind, args); err == nil {
			return text, nil
		}
	}
	var id uint64
	switch {
	case err != nil:
	case o != (backend.JobOptions{}):
		id, err = t.startWith(kind, o, args)
	default:
		id, err = t.admin.StartJob(kind, args)
	}
	if err == nil {
		t.log.WithField("job", id).Infof("%s begins, %d argument(s)", kind, len(args))
		return jobName(id) + "\n", nil
	}
	return t.refused(kind, err), err
}

// startWith begins a job on files with options. As without any, nothing is begun if a
// path is not there.
func (t *FS) startWith(kind backend.JobKind, o backend.JobOptions, paths []string) (uint64, error) {
	l, err := t.admin.NewJob(kind, o)
	if err != nil {
		return 0, err
	}
	return backend.StartList(l, paths)
}

// commandJobs cancels or releases jobs, or changes their priority: all, or up to the first that cannot be.
func (t *FS) commandJobs(kind backend.JobKind, names []string) (text string, err error) {
	do := t.admin.CancelJob
	switch kind {
	case wordRelease:
		do = t.admin.ReleaseJob
	case wordPriority:
		p := backend.Priority(names[0])
		do = func(id uint64) error { return t.admin.SetJobPriority(id, p) }
		names = names[1:]
	}
	for _, name := range names {
		id, ok := parseJob(name)
		if !ok {
			return "", badf("%s: %q is no number of a job", kind, name)
		}
		if err := do(id); err != nil {
			return "", err
		}
		t.log.WithField("job", id).Infof("%s", kind)
		text += jobName(id) + "\n"
	}
	return text, nil
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
