package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"sliod/client9p"
)

// xattrState is the attribute that tells the residency of a file, xattrCopies how many copies it has and is to have.
const (
	xattrState  = "user.sliod.state"
	xattrCopies = "user.sliod.copies"
)

// lookups is how many entries of a directory are asked for at a time.
const lookups = 16

func (a *app) newList() *cobra.Command {
	var recursive bool
	c := &cobra.Command{
		Use: "ls [PATH]", Short: "List files of the archive and where their content is", Args: cobra.MaximumNArgs(1),
		Long: `List files of the archive, one a line: residency, missing copies, size, time of the last
change, name.

Residency is resident (in the cache only), premigrated (cache and tape), migrated
(tape only) or partial. Missing copies are - if there are none, or 1/2 if there is one copy on
tape and the rule of the file asks for two. Without PATH the root of the archive is listed.`,
		RunE: func(c *cobra.Command, args []string) error {
			p := "/"
			if len(args) > 0 {
				p = args[0]
			}
			return a.list(c.Context(), p, recursive)
		},
	}
	c.Flags().BoolVarP(&recursive, "recursive", "R", false, "list directories below PATH too")
	return c
}

// item is one line of the listing.
type item struct {
	name   string
	state  string
	copies string // "1/2" if copies are missing
	attr   p9.Attr
	target string // of a symbolic link
	err    error
}

func (a *app) list(ctx context.Context, name string, recursive bool) error {
	c, root, err := a.attach(ctx, "")
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing is lost with it
	given := name
	name = path.Clean("/" + name)
	var names []string
	if name != "/" {
		names = strings.Split(name[1:], "/")
	}
	f, err := root.Walk(ctx, names...)
	if err != nil {
		return fmt.Errorf("ls %s: %w", printable(name), plainly(err, given))
	}
	w := bufio.NewWriter(a.out)
	l := &lister{a: a, w: w, recursive: recursive}
	if f.QID().Type&p9.TypeDir == 0 {
		it := lookAt(ctx, f, path.Base(name))
		l.print("", &it)
		err = it.err
	} else {
		err = l.dir(ctx, f, name, "")
	}
	if ferr := w.Flush(); err == nil {
		err = ferr
	}
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted")
	}
	if err == nil && l.failed {
		return errReported
	}
	return err
}

type lister struct {
	a         *app
	w         *bufio.Writer
	recursive bool
	failed    bool // an entry could not be listed, and that has been printed
}

// dir lists a directory; shown is what is written before the names in it.
func (l *lister) dir(ctx context.Context, f *client9p.Fid, where, shown string) error {
	names, err := readDir(ctx, f)
	if err != nil {
		return fmt.Errorf("ls %s: %w", printable(where), err)
	}
	items := make([]item, len(names))
	g := new(errgroup.Group)
	g.SetLimit(lookups)
	for i, name := range names {
		g.Go(func() error {
			items[i] = lookup(ctx, f, name)
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := range items {
		it := &items[i]
		if errnoIs(it.err, linux.ENOENT) {
			continue // removed while it was listed
		}
		if it.err != nil {
			l.fail(path.Join(where, it.name), it.err)
			continue
		}
		l.print(shown, it)
		if !l.recursive || !it.attr.Mode.IsDir() {
			continue
		}
		sub, err := f.Walk(ctx, it.name)
		if err == nil {
			err = l.dir(ctx, sub, path.Join(where, it.name), shown+printable(it.name)+"/")
			_ = sub.Clunk(context.WithoutCancel(ctx)) // a failure shows at the next request
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !errnoIs(err, linux.ENOENT) {
			l.fail(path.Join(where, it.name), err)
		}
	}
	return nil
}

func (l *lister) fail(name string, err error) {
	l.failed = true
	_ = l.w.Flush() // keeps the order on a terminal
	text := err.Error()
	if !strings.HasPrefix(text, "ls ") {
		text = "ls " + printable(name) + ": " + text
	}
	_, _ = fmt.Fprintln(l.a.err, "sliod:", text)
}

func (l *lister) print(shown string, it *item) {
	size, name := human(int64(it.attr.Size)), shown+printable(it.name)
	switch {
	case it.attr.Mode.IsDir():
		size, name = "-", name+"/"
	case it.attr.Mode.IsSymlink():
		size, name = "-", name+" -> "+printable(it.target)
	}
	when := time.Unix(int64(it.attr.MTimeSeconds), 0).Format("2006-01-02 15:04")
	_, _ = fmt.Fprintf(l.w, "%-11s  %-3s  %10s  %s  %s\n", cmp.Or(it.state, "-"), cmp.Or(it.copies, "-"), size, when, name) // Flush tells the error
}

// readDir returns the names of an open-able directory, sorted, without "." and "..".
func readDir(ctx context.Context, f *client9p.Fid) ([]string, error) {
	d, err := f.Walk(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Clunk(context.WithoutCancel(ctx)) }() // a failure shows at the next request
	if err := d.Open(ctx, p9.ReadOnly); err != nil {
		return nil, err
	}
	var names []string
	for off := uint64(0); ; {
		list, err := d.Readdir(ctx, off)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			slices.Sort(names)
			return names, nil
		}
		for _, e := range list {
			off = e.Offset
			if e.Name != "." && e.Name != ".." {
				names = append(names, e.Name)
			}
		}
	}
}

// lookup finds one entry of a directory.
func lookup(ctx context.Context, dir *client9p.Fid, name string) item {
	f, err := dir.Walk(ctx, name)
	if err != nil {
		return item{name: name, err: err}
	}
	defer func() { _ = f.Clunk(context.WithoutCancel(ctx)) }() // a failure shows at the next request
	return lookAt(ctx, f, name)
}

// missingCopies returns how many copies a file has and is to have, "" if it has as many.
func missingCopies(ctx context.Context, f *client9p.Fid) (string, error) {
	value, err := f.Xattr(ctx, xattrCopies)
	if errnoIs(err, linux.ENODATA, linux.EOPNOTSUPP) {
		return "", nil
	}
	have, want, _ := strings.Cut(string(value), "/")
	if have == want {
		return "", err
	}
	return string(value), err
}

func lookAt(ctx context.Context, f *client9p.Fid, name string) item {
	it := item{name: name}
	if _, it.attr, it.err = f.Getattr(ctx); it.err != nil {
		return it
	}
	switch {
	case it.attr.Mode.IsRegular():
		state, err := f.Xattr(ctx, xattrState)
		if err != nil && !errnoIs(err, linux.ENODATA, linux.EOPNOTSUPP) {
			it.err = err
		}
		it.state = string(state)
		if it.err == nil && it.state != "" && it.state != "resident" {
			it.copies, it.err = missingCopies(ctx, f)
		}
	case it.attr.Mode.IsSymlink():
		it.target, it.err = f.Readlink(ctx)
	}
	return it
}
