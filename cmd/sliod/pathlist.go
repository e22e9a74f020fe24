package main

import (
	"bufio"
	"bytes"
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend"
	"sliod/client9p"
)

// maxPath is the longest path of a list in bytes: that of Linux.
const maxPath = 4096

// jobFlags are the flags of the commands that start a job on files.
type jobFlags struct {
	wait     bool
	from     string // a file with paths, "-" for the input; "": none
	nul      bool   // they are separated by NUL bytes
	priority string
	pin      string
}

// head is the word of the job's command, with its options.
func (f *jobFlags) head(kind backend.JobKind) (string, error) {
	head := string(kind)
	switch backend.Priority(f.priority) {
	case "":
	case backend.PriorityHigh, backend.PriorityNormal, backend.PriorityLow:
		head += " priority=" + f.priority
	default:
		return "", &usageError{fmt.Sprintf("--priority %s: it is high, normal or low", f.priority)}
	}
	if f.pin != "" {
		if _, err := backend.ParseSpan(f.pin); err != nil {
			return "", &usageError{err.Error()}
		}
		head += " pin=" + f.pin
	}
	return head, nil
}

// paths opens what --from names.
func (a *app) paths(f *jobFlags) (io.ReadCloser, error) {
	if f.from == "-" {
		return io.NopCloser(a.in), nil
	}
	return os.Open(f.from)
}

// sendList writes a list of paths to jobs/list, in parts, and returns the number of
// the job.
func sendList(ctx context.Context, root *client9p.Fid, kind backend.JobKind, head string, from io.Reader, nul bool) (id uint64, err error) {
	f, err := root.Walk(ctx, "jobs", "list")
	if err != nil {
		return 0, fmt.Errorf("jobs/list: %w", err)
	}
	defer func() { _ = f.Clunk(context.WithoutCancel(ctx)) }() // the job has begun, or is forgotten
	if err := f.Open(ctx, p9.ReadWrite); err != nil {
		if errnoIs(err, linux.EACCES, linux.EPERM) {
			return 0, mayNot(ctx, f, kind)
		}
		return 0, fmt.Errorf("jobs/list: %w", err)
	}
	limit := min(f.MaxIO(), 256<<10)
	part := append([]byte(head), 0)
	send := func() error {
		n, err := f.Write(ctx, part, 0)
		if err != nil {
			return whyRefused(ctx, f, kind, err)
		}
		if n < len(part) {
			return fmt.Errorf("%s: the server took %d bytes of a part of the list, of %d", kind, n, len(part))
		}
		part = part[:0]
		return nil
	}
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 0, 2*maxPath), 2*maxPath)
	lines.Split(func(data []byte, end bool) (int, []byte, error) { return splitPath(data, end, nul) })
	n := 0
	for ; lines.Scan(); n++ {
		p := lines.Bytes()
		if len(p) > maxPath || bytes.IndexByte(p, 0) >= 0 {
			return 0, fmt.Errorf("%s: path %d of the list is longer than %d bytes, or has a NUL byte (-0 is for lists that are separated by them); nothing was begun", kind, n+1, maxPath)
		}
		if len(part)+len(p)+2 > limit {
			if err := send(); err != nil {
				return 0, err
			}
		}
		part = append(append(part, p...), 0)
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("%s: path %d of the list: %w; nothing was begun", kind, n+1, err)
	}
	if n == 0 {
		return 0, fmt.Errorf("%s: the list of paths is empty", kind)
	}
	part = append(part, 0)
	if err := send(); err != nil {
		return 0, err
	}
	return jobNumber(ctx, f, kind)
}

// splitPath cuts the next path off; empty ones are passed over.
func splitPath(data []byte, end, nul bool) (int, []byte, error) {
	sep := byte('\n')
	if nul {
		sep = 0
	}
	skip := 0
	for skip < len(data) && data[skip] == sep {
		skip++
	}
	if i := bytes.IndexByte(data[skip:], sep); i >= 0 {
		return skip + i + 1, data[skip : skip+i], nil
	}
	if end && skip < len(data) {
		return len(data), data[skip:], nil
	}
	return skip, nil, nil
}

// whyRefused is the error of a command that the server refused: the text that it gives
// says more than the error number.
func whyRefused(ctx context.Context, f *client9p.Fid, kind backend.JobKind, err error) error {
	var refused *client9p.Error
	if stderrors.As(err, &refused) {
		if text, rerr := f.ReadAll(ctx, maxReport); rerr == nil && len(text) > 0 {
			return stderrors.New(strings.TrimPrefix(strings.TrimSpace(string(text)), "error: "))
		}
	}
	return fmt.Errorf("%s: %w", kind, err)
}

// jobNumber reads the number of a job that has begun.
func jobNumber(ctx context.Context, f *client9p.Fid, kind backend.JobKind) (uint64, error) {
	text, err := f.ReadAll(ctx, maxReport)
	if err != nil {
		return 0, fmt.Errorf("%s has begun, but its job number cannot be read: %w", kind, err)
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s has begun, but the server tells no job number: %q", kind, text)
	}
	return id, nil
}
