package backend

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	stderrors "errors"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend/vfs"
)

// modelNode is a file of the model.
type modelNode struct {
	kind     byte // 'd', 'f', 'l'
	id       uint64
	mode     uint32
	nlink    int
	mtime    uint64 // 0: whatever it is now
	xattrs   map[string][]byte
	target   string
	children map[string]*modelNode // of a directory
	parent   *modelNode
	data     *content // of a file
}

func newModelNode(kind byte, mode uint32) *modelNode {
	n := &modelNode{kind: kind, mode: mode, nlink: 1, xattrs: map[string][]byte{}}
	switch kind {
	case 'd':
		n.children, n.nlink = map[string]*modelNode{}, 2
	case 'f':
		n.data = newContent()
	}
	return n
}

// add enters a name.
func (n *modelNode) add(name string, child *modelNode) {
	n.children[name] = child
	n.mtime = 0
	if child.kind == 'd' {
		child.parent = n
		n.nlink++
	}
}

func (n *modelNode) drop(name string) {
	child := n.children[name]
	delete(n.children, name)
	n.mtime = 0
	if child.kind == 'd' {
		n.nlink--
	}
}

// below says whether n is other or under it.
func (n *modelNode) below(other *modelNode) bool {
	for ; n != nil; n = n.parent {
		if n == other {
			return true
		}
	}
	return false
}

// entries calls fn for all paths under n, parents first, in order.
func (n *modelNode) entries(path string, fn func(path string, dir *modelNode, name string, e *modelNode)) {
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		e := n.children[name]
		fn(path+"/"+name, n, name, e)
		if e.kind == 'd' {
			e.entries(path+"/"+name, fn)
		}
	}
}

// expect is the errno of an unlink or rmdir.
func (n *modelNode) expectUnlink(name string, rmdir bool) error {
	e := n.children[name]
	switch {
	case e == nil:
		return linux.ENOENT
	case rmdir && e.kind != 'd':
		return linux.ENOTDIR
	case !rmdir && e.kind == 'd':
		return linux.EISDIR
	case rmdir && len(e.children) > 0:
		return linux.ENOTEMPTY
	}
	return nil
}

func expectRename(from *modelNode, oldName string, to *modelNode, newName string) error {
	e, v := from.children[oldName], to.children[newName]
	switch {
	case e == nil:
		return linux.ENOENT
	case e.kind == 'd' && to.below(e):
		return linux.EINVAL
	case e == v || v == nil:
		return nil
	case e.kind == 'd' && v.kind != 'd':
		return linux.ENOTDIR
	case e.kind != 'd' && v.kind == 'd':
		return linux.EISDIR
	case v.kind == 'd' && len(v.children) > 0:
		return linux.ENOTEMPTY
	}
	return nil
}

// same fails the stream if err is not the errno that the model expects.
func (s *stream) same(what string, err, want error) {
	if want == nil && err != nil || want != nil && !stderrors.Is(err, want) {
		s.fail("%s: %v, want %v", what, err, want)
	}
}

// verify compares all that is under the stream's directory, and what it has open.
func (s *stream) verify() {
	s.verifyNode(s.path, s.root)
	s.root.entries(s.path, func(path string, _ *modelNode, _ string, e *modelNode) { s.verifyNode(path, e) })
	for _, h := range s.handles {
		s.verifyFile(fmt.Sprintf("handle of %d", h.node.id), h.n, h.f, h.node)
	}
}

func (s *stream) verifyNode(path string, e *modelNode) {
	n, err := s.w.fs.Attach(rootCred, path)
	if err != nil {
		s.fail("%s: %v", path, err)
	}
	defer n.Release()
	if got := n.QID().Path; got != e.id {
		s.fail("%s is file %d, want %d", path, got, e.id)
	}
	var f vfs.File
	if e.kind == 'f' {
		f, err = n.Open(rootCred, 0)
		s.same("open "+path, err, nil)
		defer f.Close()
	}
	s.verifyFile(path, n, f, e)
}

func (s *stream) verifyFile(what string, n vfs.Node, f vfs.File, e *modelNode) {
	a, err := n.Getattr(rootCred)
	s.same("getattr "+what, err, nil)
	typ := map[byte]uint32{'d': modeDir, 'f': modeFile, 'l': modeLink}[e.kind]
	if uint32(a.Mode) != typ|e.mode {
		s.fail("%s: mode %o, want %o", what, a.Mode, typ|e.mode)
	}
	if int(a.NLink) != e.nlink {
		s.fail("%s: %d links, want %d", what, a.NLink, e.nlink)
	}
	if e.mtime != 0 && a.MTimeSeconds != e.mtime {
		s.fail("%s: mtime %d, want %d", what, a.MTimeSeconds, e.mtime)
	}
	s.verifyXattrs(what, n, e)
	switch e.kind {
	case 'd':
		s.verifyDir(what, n, e)
	case 'l':
		if got, err := n.Readlink(rootCred); err != nil || got != e.target {
			s.fail("%s: link to %q, want %q (%v)", what, got, e.target, err)
		}
	case 'f':
		if err := e.data.checkSize(int(a.Size)); err != nil {
			s.fail("%s: %v", what, err)
		}
		s.verifyData(what, f, e)
	}
}

func (s *stream) verifyXattrs(what string, n vfs.Node, e *modelNode) {
	list, err := n.XattrList(rootCred)
	s.same("xattr list of "+what, err, nil)
	names := slices.DeleteFunc(strings.Split(string(list), "\x00"), func(s string) bool { return s == "" })
	slices.Sort(names)
	if want := slices.Sorted(maps.Keys(e.xattrs)); !slices.Equal(names, want) {
		s.fail("%s: xattrs %q, want %q", what, names, want)
	}
	for name, want := range e.xattrs {
		if got, err := n.Xattr(rootCred, name); err != nil || !bytes.Equal(got, want) {
			s.fail("%s: xattr %s is %q, want %q (%v)", what, name, got, want, err)
		}
	}
}

func (s *stream) verifyDir(what string, n vfs.Node, e *modelNode) {
	f, err := n.Open(rootCred, 0)
	s.same("open "+what, err, nil)
	defer f.Close()
	got := map[string]uint64{}
	var off uint64
	for more := true; more; {
		more = false
		k := 0
		err = f.Readdir(off, func(d p9.Dirent) bool {
			if _, twice := got[d.Name]; twice {
				s.fail("%s: readdir gives %q twice", what, d.Name)
			}
			got[d.Name], off, more = d.QID.Path, d.Offset, true
			k++
			return k < 3
		})
		s.same("readdir "+what, err, nil)
	}
	want := map[string]uint64{".": e.id, "..": got[".."]}
	if e.parent != nil {
		want[".."] = e.parent.id
	}
	for name, c := range e.children {
		want[name] = c.id
	}
	if !maps.Equal(got, want) {
		s.fail("%s: entries %v, want %v", what, got, want)
	}
}

// verifyData reads a whole file. If nothing is outstanding, what it holds is certain
// from then on.
func (s *stream) verifyData(what string, f vfs.File, e *modelNode) {
	if s.gate.held() {
		return
	}
	var all []byte
	for {
		b, err := s.readNow(f, len(all), 1<<20)
		if err != nil {
			s.fail("%s: read at %d: %v", what, len(all), err)
		}
		if len(b) == 0 {
			break
		}
		all = append(all, b...)
	}
	if err := e.data.check(0, all); err != nil {
		s.fail("%s: %v", what, err)
	}
	if e.data.outstanding() > 0 {
		return
	}
	if err := e.data.checkSize(len(all)); err != nil {
		s.fail("%s: read to the end: %v", what, err)
	}
	e.data.observe(all)
}
