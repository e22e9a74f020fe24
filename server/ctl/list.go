package ctl

import (
	"bytes"
	"strings"

	"sliod/backend"
)

// list is the state of an open /jobs/list: a job whose paths come in several writes.
type list struct {
	kind    backend.JobKind
	job     backend.JobList
	unknown int64
	ended   bool
}

// write takes one write. It returns the text that reading the file back gives.
func (t *FS) writeList(l *list, p []byte) (text string, err error) {
	text, err = t.takeList(l, p)
	if err == nil {
		return text, nil
	}
	l.drop()
	l.ended = true
	return t.refused(l.kind, err), err
}

func (t *FS) takeList(l *list, p []byte) (string, error) {
	switch {
	case l.ended:
		return "", badf("the list has ended; open the file again for another one")
	case p[len(p)-1] != 0:
		return "", badf("every path, and the command before them, ends with a NUL byte")
	}
	parts := bytes.Split(p[:len(p)-1], []byte{0})
	if l.job == nil {
		kind, o, err := parseHead(parts[0])
		l.kind = kind
		if w, ok := wordOf(kind); err == nil && (!ok || w.what != "path") {
			err = badf("there is no command %q on paths; the commands are %s", kind, wordList("path"))
		}
		if err == nil {
			l.job, err = t.admin.NewJob(kind, o)
		}
		if err != nil {
			return "", err
		}
		parts = parts[1:]
	}
	var paths []string
	last := false
	for i, part := range parts {
		if len(part) == 0 {
			if i != len(parts)-1 {
				return "", badf("%s: a path is empty; the root of the archive is /, and an empty path ends the list", l.kind)
			}
			last = true
			break
		}
		paths = append(paths, string(part))
	}
	unknown, err := l.job.Add(paths)
	if err != nil {
		return "", err
	}
	l.job.Skip(unknown)
	l.unknown += int64(len(unknown))
	if !last {
		return "", nil
	}
	id, err := l.job.Start()
	if err != nil {
		return "", err
	}
	l.ended = true
	t.log.WithField("job", id).Infof("%s of a list begins, %d path(s) unknown", l.kind, l.unknown)
	return jobName(id) + "\n", nil
}

// drop ends a list that has not ended: its file was closed.
func (l *list) drop() {
	if l.job != nil && !l.ended {
		l.job.Drop()
	}
}

// parseHead reads the word of a command and its options: "recall pin=24h priority=low".
func parseHead(head []byte) (kind backend.JobKind, o backend.JobOptions, err error) {
	words := strings.Fields(string(head))
	if len(words) == 0 {
		return "", o, badf("there is no command \"\"; the commands are %s", wordList(""))
	}
	kind = backend.JobKind(words[0])
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "priority":
			o.Priority = backend.Priority(value)
		case "pin":
			if o.Pin, err = backend.ParseSpan(value); err != nil {
				return kind, o, badf("%s: pin=%s: %v", kind, value, err)
			}
		default:
			return kind, o, badf("%s: there is no option %q; the options are priority=high|normal|low and pin=TIME", kind, key)
		}
	}
	return kind, o, nil
}

// refused notes why a command was refused.
func (t *FS) refused(kind backend.JobKind, err error) string {
	text := explain(kind, err)
	t.mu.Lock()
	t.lastError = text
	t.mu.Unlock()
	return text
}
