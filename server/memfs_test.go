package server

import (
	"sort"
	"strings"
	"sync"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"sliod/backend/vfs"
)

// memFS is a tree in memory whose files can be made to park requests.
type memFS struct {
	mu    sync.Mutex
	root  *memFile
	next  uint64
	files map[string]*memFile // by name, for tests

	nodes int // references that have not been released
	opens int // open files
	pins  int // data that has not been released

	onRead func() // called in ReadAt without the lock
}

type memFile struct {
	fs       *memFS
	qid      p9.QID
	mode     p9.FileMode
	uid, gid uint32
	nlink    int
	data     []byte
	target   string
	parent   *memFile
	children map[string]*memFile
	cookies  map[string]uint64
	cookie   uint64
	xattrs   map[string][]byte
	lock     *vfs.LockRange
	holder   *memOpen // of lock

	absent bool // reads and writes park
	stuck  bool // fsync and lock park
	list   vfs.WaitList
	early  bool  // parked requests are woken before the call returns
	fail   error // reads and writes return it
	zero   bool  // writes return 0
	hole   int   // zero bytes that follow data
	calls  int   // of ReadAt and WriteAt
}

const (
	kindRead = iota
	kindWrite
	kindOther
)

func newMemFS() *memFS {
	fs := &memFS{files: make(map[string]*memFile)}
	fs.root = fs.newFile(nil, "", p9.ModeDirectory|0o777)
	fs.root.parent = fs.root
	return fs
}

func (fs *memFS) newFile(dir *memFile, name string, mode p9.FileMode) *memFile {
	fs.next++
	f := &memFile{fs: fs, mode: mode, nlink: 1, xattrs: make(map[string][]byte),
		qid: p9.QID{Type: mode.QIDType(), Path: fs.next}}
	if mode.IsDir() {
		f.children, f.cookies, f.cookie = make(map[string]*memFile), make(map[string]uint64), 2
	}
	if dir != nil {
		f.parent = dir
		dir.put(name, f)
		fs.files[name] = f
	}
	return f
}

func (d *memFile) put(name string, f *memFile) {
	d.cookie++
	d.children[name], d.cookies[name] = f, d.cookie
}

// add makes a regular file in the root.
func (fs *memFS) add(name string, data []byte) *memFile {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.newFile(fs.root, name, p9.ModeRegular|0o644)
	f.data = data
	return f
}

// with runs fn with the tree locked.
func (fs *memFS) with(fn func()) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fn()
}

// file returns the file that was made under name.
func (fs *memFS) file(name string) (f *memFile) {
	fs.with(func() { f = fs.files[name] })
	return f
}

// setAbsent makes f park its requests.
func (f *memFile) setAbsent(v bool) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.absent = v
}

// parked returns how many requests wait for f.
func (f *memFile) parked() int {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.list.Len()
}

// take unhooks the first parked request without waking it, or returns nil.
func (f *memFile) take() *vfs.Waiter {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	w := f.list.Front()
	if w != nil {
		f.list.Remove(w)
	}
	return w
}

// wake wakes w as what it is.
func wake(w *vfs.Waiter, err error) {
	n := 0
	if w.Kind == kindWrite && err == nil {
		n = w.N
	}
	w.Waker.Wake(n, err)
}

// deliver ends the fault of f: err nil means that the content is there.
func (f *memFile) deliver(err error) {
	f.fs.mu.Lock()
	f.absent, f.stuck = f.absent && err != nil, false
	f.fs.mu.Unlock()
	for w := f.take(); w != nil; w = f.take() {
		wake(w, err)
	}
}

func (f *memFile) park(w *vfs.Waiter, kind uint8, n int) error {
	w.Kind, w.N = kind, n
	if f.early {
		f.early = false
		f.fs.mu.Unlock()
		wake(w, nil)
		f.fs.mu.Lock()
		return vfs.ErrParked
	}
	f.list.Push(w)
	return vfs.ErrParked
}

func (fs *memFS) leaks() (nodes, opens, pins int) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.nodes, fs.opens, fs.pins
}

func (fs *memFS) Attach(c *vfs.Cred, path string) (vfs.Node, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.root
	for _, name := range strings.Split(path, "/") {
		if name == "" {
			continue
		}
		if f = f.children[name]; f == nil {
			return nil, linux.ENOENT
		}
	}
	return fs.node(f), nil
}

// Find implements vfs.Finder, for users who may search everything.
func (fs *memFS) Find(_ *vfs.Cred, top, path uint64) (vfs.Node, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if top == 0 {
		top = fs.root.qid.Path
	}
	for _, f := range fs.files {
		if f.qid.Path != path {
			continue
		}
		for at := f; ; at = at.parent {
			if at.qid.Path == top {
				return fs.node(f), nil
			}
			if at == fs.root {
				return nil, linux.ENOENT
			}
		}
	}
	return nil, linux.ENOENT
}

// memNode is a reference to a file.
type memNode struct {
	f        *memFile
	released bool
}

func (fs *memFS) node(f *memFile) *memNode {
	fs.nodes++
	return &memNode{f: f}
}

func (n *memNode) lock() func() {
	n.f.fs.mu.Lock()
	if n.released {
		panic("use of a released node")
	}
	return n.f.fs.mu.Unlock
}

func (n *memNode) QID() p9.QID { defer n.lock()(); return n.f.qid }
func (n *memNode) Clone() vfs.Node {
	defer n.lock()()
	return n.f.fs.node(n.f)
}
func (n *memNode) Release() {
	defer n.lock()()
	n.released = true
	n.f.fs.nodes--
}
func (n *memNode) Walk(_ *vfs.Cred, name string) (vfs.Node, error) {
	defer n.lock()()
	switch f := n.f.children[name]; {
	case name == "..":
		return n.f.fs.node(n.f.parent), nil
	case name == ".":
		return n.f.fs.node(n.f), nil
	case f == nil:
		return nil, linux.ENOENT
	default:
		return n.f.fs.node(f), nil
	}
}
func (n *memNode) Getattr(*vfs.Cred) (p9.Attr, error) {
	defer n.lock()()
	f := n.f
	return p9.Attr{Mode: f.mode, UID: p9.UID(f.uid), GID: p9.GID(f.gid), NLink: p9.NLink(f.nlink), Size: uint64(len(f.data)),
		BlockSize: 4096, Gen: 7, DataVersion: 9}, nil
}
func (n *memNode) Setattr(_ *vfs.Cred, mask p9.SetAttrMask, a p9.SetAttr, _ bool) error {
	defer n.lock()()
	if mask.Permissions {
		n.f.mode = n.f.mode.FileType() | a.Permissions&0o7777
	}
	if mask.Size {
		data := make([]byte, a.Size)
		copy(data, n.f.data)
		n.f.data = data
	}
	if mask.UID {
		n.f.uid = uint32(a.UID)
	}
	if mask.GID {
		n.f.gid = uint32(a.GID)
	}
	return nil
}
func (n *memNode) Statfs(*vfs.Cred) (p9.FSStat, error) {
	return p9.FSStat{Type: 0x01021997, BlockSize: 4096, Blocks: 1000, NameLength: 255}, nil
}
func (n *memNode) Readlink(*vfs.Cred) (string, error) {
	defer n.lock()()
	if n.f.target == "" {
		return "", linux.EINVAL
	}
	return n.f.target, nil
}
func (n *memNode) Open(c *vfs.Cred, flags p9.OpenFlags) (vfs.File, error) {
	defer n.lock()()
	if flags&oTrunc != 0 {
		n.f.data = nil
	}
	n.f.fs.opens++
	return &memOpen{f: n.f, gate: c.Recalls}, nil
}
func (n *memNode) make(name string, mode p9.FileMode) (*memFile, error) {
	if n.f.children == nil {
		return nil, linux.ENOTDIR
	}
	if n.f.children[name] != nil {
		return nil, linux.EEXIST
	}
	return n.f.fs.newFile(n.f, name, mode), nil
}
func (n *memNode) Create(c *vfs.Cred, name string, flags p9.OpenFlags, mode p9.FileMode, gid uint32) (vfs.Node, vfs.File, error) {
	defer n.lock()()
	f, err := n.make(name, p9.ModeRegular|mode&0o7777)
	if err != nil {
		return nil, nil, err
	}
	f.uid, f.gid = c.UID, gid
	n.f.fs.opens++
	return n.f.fs.node(f), &memOpen{f: f, gate: c.Recalls}, nil
}
func (n *memNode) Mkdir(_ *vfs.Cred, name string, mode p9.FileMode, _ uint32) (p9.QID, error) {
	defer n.lock()()
	f, err := n.make(name, p9.ModeDirectory|mode&0o7777)
	if err != nil {
		return p9.QID{}, err
	}
	return f.qid, nil
}
func (n *memNode) Symlink(_ *vfs.Cred, name, target string, _ uint32) (p9.QID, error) {
	defer n.lock()()
	f, err := n.make(name, p9.ModeSymlink|0o777)
	if err != nil {
		return p9.QID{}, err
	}
	f.target = target
	return f.qid, nil
}
func (n *memNode) Mknod(_ *vfs.Cred, name string, mode p9.FileMode, _, _, _ uint32) (p9.QID, error) {
	defer n.lock()()
	f, err := n.make(name, mode)
	if err != nil {
		return p9.QID{}, err
	}
	return f.qid, nil
}
func (n *memNode) Link(_ *vfs.Cred, target vfs.Node, name string) error {
	defer n.lock()()
	if n.f.children[name] != nil {
		return linux.EEXIST
	}
	t := target.(*memNode).f
	t.nlink++
	n.f.put(name, t)
	return nil
}
func (n *memNode) UnlinkAt(_ *vfs.Cred, name string, flags uint32) error {
	defer n.lock()()
	f := n.f.children[name]
	switch {
	case f == nil:
		return linux.ENOENT
	case f.mode.IsDir() && flags == 0:
		return linux.EISDIR
	case !f.mode.IsDir() && flags != 0:
		return linux.ENOTDIR
	case len(f.children) > 0:
		return linux.ENOTEMPTY
	}
	f.nlink--
	delete(n.f.children, name)
	return nil
}
func (n *memNode) RenameAt(_ *vfs.Cred, oldName string, newDir vfs.Node, newName string) error {
	defer n.lock()()
	f := n.f.children[oldName]
	if f == nil {
		return linux.ENOENT
	}
	delete(n.f.children, oldName)
	d := newDir.(*memNode).f
	f.parent = d
	d.put(newName, f)
	return nil
}
func (n *memNode) name() string {
	for name, f := range n.f.parent.children {
		if f == n.f {
			return name
		}
	}
	return ""
}
func (n *memNode) Remove(*vfs.Cred) error {
	defer n.lock()()
	delete(n.f.parent.children, n.name())
	n.f.nlink--
	return nil
}
func (n *memNode) Rename(_ *vfs.Cred, newDir vfs.Node, newName string) error {
	defer n.lock()()
	delete(n.f.parent.children, n.name())
	n.f.parent = newDir.(*memNode).f
	n.f.parent.put(newName, n.f)
	return nil
}
func (n *memNode) Xattr(_ *vfs.Cred, name string) ([]byte, error) {
	defer n.lock()()
	v, ok := n.f.xattrs[name]
	if !ok {
		return nil, linux.ENODATA
	}
	return append([]byte(nil), v...), nil
}
func (n *memNode) XattrList(*vfs.Cred) ([]byte, error) {
	defer n.lock()()
	var names []string
	for name := range n.f.xattrs {
		names = append(names, name+"\x00")
	}
	sort.Strings(names)
	return []byte(strings.Join(names, "")), nil
}
func (n *memNode) SetXattr(_ *vfs.Cred, name string, value []byte, flags uint32) error {
	defer n.lock()()
	_, ok := n.f.xattrs[name]
	switch {
	case flags == xattrReplace && !ok:
		return linux.ENODATA
	case flags == xattrCreate && ok:
		return linux.EEXIST
	case value == nil:
		delete(n.f.xattrs, name)
	default:
		n.f.xattrs[name] = append([]byte(nil), value...)
	}
	return nil
}

// memOpen is an open file.
type memOpen struct {
	f      *memFile
	closed bool
	gate   vfs.Gate // is asked before a request parks where none does
}

func (o *memOpen) lock() func() {
	o.f.fs.mu.Lock()
	if o.closed {
		panic("use of a closed file")
	}
	return o.f.fs.mu.Unlock
}

// Unpin implements vfs.Unpinner.
func (fs *memFS) Unpin() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.pins--
}

func (o *memOpen) ReadAt(off uint64, n int, w *vfs.Waiter) (vfs.Data, error) {
	var hook func()
	o.f.fs.with(func() { hook = o.f.fs.onRead })
	if hook != nil {
		hook()
	}
	defer o.lock()()
	f := o.f
	f.calls++
	switch {
	case f.fail != nil:
		return vfs.Data{}, f.fail
	case f.absent:
		if err := o.mayFault(len(f.data)); err != nil {
			return vfs.Data{}, err
		}
		return vfs.Data{}, f.park(w, kindRead, 0)
	case off >= uint64(len(f.data)+f.hole):
		return vfs.Data{}, nil
	}
	f.fs.pins++
	p := f.data[min(off, uint64(len(f.data))):]
	p = p[:min(n, len(p))]
	zeros := min(n-len(p), len(f.data)+f.hole-int(off)-len(p))
	return vfs.Data{Bytes: p, Zeros: zeros, Pin: f.fs}, nil
}

// mayFault asks the gate, unless the fault is under way.
func (o *memOpen) mayFault(bytes int) error {
	if o.gate == nil || o.f.list.Len() > 0 {
		return nil
	}
	return o.gate.Recall(o.f.qid.Path, int64(bytes))
}

func (o *memOpen) WriteAt(off uint64, p []byte, w *vfs.Waiter) (int, error) {
	defer o.lock()()
	f := o.f
	f.calls++
	switch {
	case f.fail != nil:
		return 0, f.fail
	case f.zero:
		return 0, nil
	}
	if f.absent {
		if err := o.mayFault(len(f.data)); err != nil {
			return 0, err
		}
	}
	if need := int(off) + len(p); need > len(f.data) {
		f.data = append(f.data, make([]byte, need-len(f.data))...)
	}
	if f.absent {
		return 0, f.park(w, kindWrite, len(p))
	}
	return copy(f.data[off:], p), nil
}

func (o *memOpen) Readdir(off uint64, fn func(p9.Dirent) bool) error {
	unlock := o.lock()
	entries := []p9.Dirent{{QID: o.f.qid, Offset: 1, Type: 4, Name: "."}, {QID: o.f.parent.qid, Offset: 2, Type: 4, Name: ".."}}
	for name, f := range o.f.children {
		entries = append(entries, p9.Dirent{QID: f.qid, Offset: o.f.cookies[name], Type: p9.QIDType(f.mode >> 12), Name: name})
	}
	unlock()
	sort.Slice(entries, func(i, j int) bool { return entries[i].Offset < entries[j].Offset })
	for _, d := range entries {
		if d.Offset > off && !fn(d) {
			return nil
		}
	}
	return nil
}

func (o *memOpen) Fsync(_ bool, w *vfs.Waiter) error {
	defer o.lock()()
	if o.f.stuck {
		return o.f.park(w, kindOther, 0)
	}
	return o.f.fail
}

func (o *memOpen) Lock(l vfs.LockRange, wait bool, w *vfs.Waiter) error {
	defer o.lock()()
	f := o.f
	if f.lock != nil && f.lock.ClientID != l.ClientID || f.stuck {
		if !wait {
			return linux.EAGAIN
		}
		return f.park(w, kindOther, 0)
	}
	f.lock, f.holder = &l, o
	if l.Type == vfs.Unlock {
		f.lock = nil
	}
	return nil
}

func (o *memOpen) GetLock(l vfs.LockRange) (vfs.LockRange, error) {
	defer o.lock()()
	if o.f.lock != nil && o.f.lock.ClientID != l.ClientID && l.Type == vfs.WriteLock {
		return *o.f.lock, nil
	}
	l.Type = vfs.Unlock
	return l, nil
}

func (o *memOpen) Cancel(w *vfs.Waiter) bool {
	defer o.lock()()
	return o.f.list.Remove(w)
}

func (o *memOpen) Close() {
	defer o.lock()()
	o.closed = true
	if o.f.holder == o {
		o.f.lock, o.f.holder = nil, nil
	}
	o.f.fs.opens--
}
