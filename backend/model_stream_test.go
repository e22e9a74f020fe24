package backend

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	stderrors "errors"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend/vfs"
)

// stuck is how long a request may take with the tape free: an emulated library
// answers at once.
const stuck = patience

// stream is one sequence of operations in a directory of its own.
type stream struct {
	w        *world
	gate     *gate
	choose   chooser
	path     string
	seed     uint64
	restarts bool // it may restart the archive
	shared   bool // others run at the same time
	keep     bool // its tree stays
	root     *modelNode
	handles  []*modelHandle
	parked   []*parkedOp
	jobs     []*job
	log      []string
	counts   *modelCounts
}

type modelHandle struct {
	node *modelNode
	n    vfs.Node
	f    vfs.File
}

// parkedOp is a request that waits for the tape.
type parkedOp struct {
	h      *modelHandle
	w      *waiter
	change *change // nil: a read
	off, n int
	rest   []byte // all of what is to be written
}

type modelFailure struct{ error }

func newStream(w *world, g *gate, c chooser, name string, seed uint64) *stream {
	return &stream{w: w, gate: g, choose: c, path: "/" + name, seed: seed}
}

func (s *stream) fail(format string, args ...any) {
	panic(modelFailure{fmt.Errorf(format, args...)})
}

func (s *stream) note(format string, args ...any) {
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

func (s *stream) history() string { return "operations:\n  " + strings.Join(s.log, "\n  ") }

// caught runs fn and returns its failure.
func (s *stream) caught(fn func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case modelFailure:
			err = r.error
		default:
			panic(r)
		}
	}()
	fn()
	return nil
}

func (s *stream) run(ops int) error {
	defer func() { // whatever happened, the archive can be closed
		s.gate.release()
		for _, p := range s.parked {
			if !p.h.f.Cancel(&p.w.Waiter) {
				<-p.w.woken
			}
		}
		s.parked = nil
		s.closeHandles()
	}()
	return s.caught(func() {
		q, err := s.w.root.Mkdir(rootCred, s.path[1:], 0o755, 0)
		s.same("mkdir", err, nil)
		s.root = newModelNode('d', 0o755)
		s.root.id = q.Path
		for range 3 {
			s.createFile()
		}
		for range 3 {
			s.writeFile()
		}
		s.archiveAndEvict()
		if s.choose.n("hold at first", 2) == 0 {
			s.hold()
		}
		for range 5 + s.choose.n("operations", ops) {
			s.step()
		}
		s.verifyAll()
		if !s.keep {
			s.removeAll()
		}
	})
}

// verifyAll compares everything as it is, and after all of it was on tape alone.
func (s *stream) verifyAll() {
	defer s.gate.keepOpen()()
	s.settleAll()
	s.verify()
	s.note("final archive and evict")
	s.runJob(JobUnpin, s.path)
	s.runJob(JobArchive, s.path)
	s.runJob(JobEvict, s.path)
	s.finishJobs()
	s.verify()
}

func (s *stream) removeAll() {
	type entry struct {
		path, name string
		dir        bool
	}
	var all []entry
	s.root.entries(s.path, func(path string, _ *modelNode, name string, e *modelNode) {
		all = append(all, entry{strings.TrimSuffix(path, "/"+name), name, e.kind == 'd'})
	})
	slices.Reverse(all)
	for _, e := range append(all, entry{"/", s.path[1:], true}) {
		d := s.attach(e.path)
		flags := uint32(0)
		if e.dir {
			flags = atRemoveDir
		}
		s.same("remove "+e.path+" "+e.name, d.UnlinkAt(rootCred, e.name, flags), nil)
		d.Release()
	}
}

// step does one random operation.
func (s *stream) step() {
	ops := []struct {
		weight int
		fn     func()
	}{
		{14, s.writeFile}, {8, s.readFile}, {5, s.truncateFile}, {3, s.createFile}, {2, s.appendFile},
		{2, s.mkdir}, {3, s.unlink}, {3, s.rename}, {2, s.link}, {1, s.symlink}, {2, s.setXattr}, {2, s.setAttr},
		{3, s.openFile}, {2, s.closeOne}, {2, s.fsyncFile},
		{4, func() { s.jobOn(JobArchive) }}, {5, func() { s.jobOn(JobEvict) }}, {1, func() { s.jobOn(JobRecall) }},
		{1, func() { s.jobOn(JobPin) }}, {1, func() { s.jobOn(JobUnpin) }},
		{6, s.hold}, {3, s.settleAll}, {3, s.cancelOne}, {4, s.archiveAndEvict}, {1, s.verify}, {1, s.restart},
	}
	total := 0
	for _, o := range ops {
		total += o.weight
	}
	k := s.choose.n("operation", total)
	for _, o := range ops {
		if k -= o.weight; k < 0 {
			o.fn()
			return
		}
	}
}

func (s *stream) attach(path string) vfs.Node {
	n, err := s.w.fs.Attach(rootCred, path)
	s.same("attach "+path, err, nil)
	return n
}

// place is a directory of the stream, and a name that may be in it.
func (s *stream) place() (path string, dir *modelNode, name string) {
	paths, dirs := []string{s.path}, []*modelNode{s.root}
	s.root.entries(s.path, func(path string, _ *modelNode, _ string, e *modelNode) {
		if e.kind == 'd' && strings.Count(path, "/") < 4 {
			paths, dirs = append(paths, path), append(dirs, e)
		}
	})
	k := s.choose.n("directory", len(paths))
	return paths[k], dirs[k], string(rune('a' + s.choose.n("name", 6)))
}

// some picks one of what is there, "" if nothing is.
func (s *stream) some(ok func(*modelNode) bool) (string, *modelNode) {
	var paths []string
	var nodes []*modelNode
	s.root.entries(s.path, func(path string, _ *modelNode, _ string, e *modelNode) {
		if ok(e) {
			paths, nodes = append(paths, path), append(nodes, e)
		}
	})
	if len(paths) == 0 {
		return "", nil
	}
	k := s.choose.n("file", len(paths))
	return paths[k], nodes[k]
}

func isModelFile(n *modelNode) bool { return n.kind == 'f' }

// handle is an open file: one that is open already, or a new one.
func (s *stream) handle() *modelHandle {
	if len(s.handles) < 4 && s.choose.n("open", 3) == 0 || len(s.handles) == 0 {
		s.openFile()
	}
	if len(s.handles) == 0 {
		return nil
	}
	return s.handles[s.choose.n("handle", len(s.handles))]
}

func (s *stream) openFile() {
	path, e := s.some(isModelFile)
	if e == nil || len(s.handles) >= 6 {
		return
	}
	n := s.attach(path)
	f, err := n.Open(rootCred, openReadWrite)
	s.same("open "+path, err, nil)
	s.handles = append(s.handles, &modelHandle{e, n, f})
}

func (s *stream) closeOne() {
	if len(s.handles) == 0 {
		return
	}
	h := s.handles[s.choose.n("handle", len(s.handles))]
	if slices.ContainsFunc(s.parked, func(p *parkedOp) bool { return p.h == h }) {
		return
	}
	s.note("close file %d", h.node.id)
	h.f.Close()
	h.n.Release()
	s.handles = slices.DeleteFunc(s.handles, func(x *modelHandle) bool { return x == h })
}

func (s *stream) closeHandles() {
	for _, h := range s.handles {
		h.f.Close()
		h.n.Release()
	}
	s.handles = nil
}

func (s *stream) createFile() {
	path, dir, name := s.place()
	s.note("create %s/%s", path, name)
	d := s.attach(path)
	defer d.Release()
	n, f, err := d.Create(rootCred, name, openReadWrite|openExcl, 0o640, 0)
	if dir.children[name] != nil {
		s.same("create "+path+"/"+name, err, linux.EEXIST)
		return
	}
	s.same("create "+path+"/"+name, err, nil)
	e := newModelNode('f', 0o640)
	e.id = n.QID().Path
	dir.add(name, e)
	s.handles = append(s.handles, &modelHandle{e, n, f})
}

// data is content that no other write has.
func (s *stream) data(n int) []byte {
	s.seed++
	b := make([]byte, (n+7)&^7)
	x := s.seed*0x9E3779B97F4A7C15 | 1
	for i := 0; i < len(b); i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(b[i:], x)
	}
	return b[:n]
}

// extent chooses where a write goes: often around the boundaries of slivers.
func (s *stream) extent() (off, n int) {
	switch s.choose.n("offset kind", 4) {
	case 0:
		off = s.choose.n("offset", maxModelFile)
	case 1:
		off = s.choose.n("sliver", 3)<<20 + s.choose.n("near", 8192) - 4096
	case 2:
		off = s.choose.n("page", 600) * 4096
	case 3:
		off = s.choose.n("small", 9000)
	}
	switch s.choose.n("length kind", 5) {
	case 0:
		n = 1 + s.choose.n("length", 600<<10)
	case 1:
		n = 1 << 20
	case 2:
		n = 4096 * (1 + s.choose.n("pages", 16))
	default:
		n = 1 + s.choose.n("bytes", 5000)
	}
	off = max(0, min(off, maxModelFile-1))
	return off, min(n, maxModelFile-off)
}

func (s *stream) writeFile() {
	h := s.handle()
	if h == nil {
		return
	}
	off, n := s.extent()
	s.note("write file %d [%d,%d)", h.node.id, off, off+n)
	s.write(h, off, s.data(n))
}

// write sends all of p, as a client does that gets short answers. What parks while
// the tape is held is finished later.
func (s *stream) write(h *modelHandle, off int, p []byte) {
	for len(p) > 0 {
		h.node.mtime = 0
		op := &parkedOp{h: h, w: newWaiter(), off: off, n: len(p), rest: p}
		op.change = h.node.data.issue(off, p)
		n, err := h.f.WriteAt(uint64(off), p, &op.w.Waiter)
		if err == vfs.ErrParked {
			s.note("  parked at %d", off)
			s.counts.parked.Add(1)
			if s.gate.held() {
				s.parked = append(s.parked, op)
				return
			}
			n, err = s.wait(op)
		}
		s.wrote(op, n, err)
		off, p = off+n, p[n:]
	}
}

func (s *stream) wait(op *parkedOp) (int, error) {
	t := time.NewTimer(stuck)
	defer t.Stop()
	select {
	case <-op.w.woken:
		return op.w.n, op.w.err
	case <-t.C:
		if s.shared && s.gate.held() {
			<-op.w.woken
			return op.w.n, op.w.err
		}
		s.fail("file %d: the request at %d+%d was not woken for %v, gate held %v, cache %+v, queue %+v\n%s", op.h.node.id, op.off, op.n, stuck, s.gate.held(), s.w.fs.cache.Stats(), s.w.fs.Queue(), stacks())
	}
	return 0, nil
}

func (s *stream) wrote(op *parkedOp, n int, err error) {
	if err != nil {
		s.fail("file %d: write [%d,%d): %v", op.h.node.id, op.off, op.off+op.n, err)
	}
	if n < 1 || n > op.n {
		s.fail("file %d: write of %d bytes answered %d", op.h.node.id, op.n, n)
	}
	op.h.node.data.complete(op.change, n)
}

// appendFile writes at the end, through an open file of its own.
func (s *stream) appendFile() {
	path, e := s.some(isModelFile)
	if e == nil || e.data.outstanding() > 0 || len(e.data.sizes) != 1 || e.data.size() > maxModelFile-100_000 || s.gate.held() {
		return
	}
	n := s.attach(path)
	defer n.Release()
	f, err := n.Open(rootCred, openWriteOnly|openAppend)
	s.same("open "+path, err, nil)
	defer f.Close()
	for range 1 + s.choose.n("appends", 3) {
		p := s.data(1 + s.choose.n("length", 30_000))
		s.note("append %d to file %d", len(p), e.id)
		for len(p) > 0 {
			op := &parkedOp{h: &modelHandle{node: e, f: f}, w: newWaiter(), off: e.data.size(), n: len(p)}
			op.change = e.data.issue(op.off, p)
			e.mtime = 0
			k, err := f.WriteAt(0, p, &op.w.Waiter)
			if err == vfs.ErrParked {
				k, err = s.wait(op)
			}
			s.wrote(op, k, err)
			p = p[k:]
		}
	}
}

func (s *stream) readFile() {
	h := s.handle()
	if h == nil {
		return
	}
	off, n := s.extent()
	s.note("read file %d [%d,%d)", h.node.id, off, off+n)
	op := &parkedOp{h: h, off: off, n: n}
	s.read(op)
}

// read does one read, or leaves it parked.
func (s *stream) read(op *parkedOp) {
	for {
		op.w = newWaiter()
		d, err := op.h.f.ReadAt(uint64(op.off), op.n, &op.w.Waiter)
		if err == vfs.ErrParked {
			s.note("  parked at %d", op.off)
			s.counts.parked.Add(1)
			if s.gate.held() {
				s.parked = append(s.parked, op)
				return
			}
			if _, err = s.wait(op); err == nil {
				continue
			}
		}
		if err != nil {
			s.fail("file %d: read [%d,%d): %v", op.h.node.id, op.off, op.off+op.n, err)
		}
		s.checkRead(op, gather(&d))
		return
	}
}

func (s *stream) checkRead(op *parkedOp, b []byte) {
	c := op.h.node.data
	if err := c.check(op.off, b); err != nil {
		s.fail("file %d: read [%d,%d): %v", op.h.node.id, op.off, op.off+op.n, err)
	}
	if c.outstanding() > 0 || len(c.sizes) != 1 {
		return
	}
	if end := op.off + len(b); end > max(op.off, c.size()) || len(b) == 0 && op.off < c.size() {
		s.fail("file %d of %d bytes: read [%d,%d) answers %d bytes", op.h.node.id, c.size(), op.off, op.off+op.n, len(b))
	}
}

// readNow reads while the tape is free.
func (s *stream) readNow(f vfs.File, off, n int) ([]byte, error) {
	for {
		op := &parkedOp{h: &modelHandle{node: &modelNode{}, f: f}, w: newWaiter(), off: off, n: n}
		d, err := f.ReadAt(uint64(off), n, &op.w.Waiter)
		if err == vfs.ErrParked {
			if _, err = s.wait(op); err == nil {
				continue
			}
		}
		return gather(&d), err
	}
}

func (s *stream) truncateFile() {
	h := s.handle()
	if h == nil {
		return
	}
	size := s.choose.n("size", maxModelFile)
	switch s.choose.n("size kind", 4) {
	case 0:
		size = 0
	case 1:
		size = s.choose.n("sliver", 3) << 20
	case 2:
		size = max(0, min(maxModelFile, h.node.data.size()+s.choose.n("near", 9000)-6000))
	}
	s.note("truncate file %d to %d", h.node.id, size)
	h.node.mtime = 0
	s.same("truncate", h.n.Setattr(rootCred, p9.SetAttrMask{Size: true}, p9.SetAttr{Size: uint64(size)}, true), nil)
	h.node.data.truncate(size)
}

func (s *stream) mkdir() {
	path, dir, name := s.place()
	s.note("mkdir %s/%s", path, name)
	d := s.attach(path)
	defer d.Release()
	q, err := d.Mkdir(rootCred, name, 0o750, 0)
	if dir.children[name] != nil {
		s.same("mkdir "+path+"/"+name, err, linux.EEXIST)
		return
	}
	s.same("mkdir "+path+"/"+name, err, nil)
	e := newModelNode('d', 0o750)
	e.id = q.Path
	dir.add(name, e)
}

func (s *stream) symlink() {
	path, dir, name := s.place()
	s.note("symlink %s/%s", path, name)
	d := s.attach(path)
	defer d.Release()
	target := strings.Repeat("x/", 1+s.choose.n("target", 200))
	q, err := d.Symlink(rootCred, name, target, 0)
	if dir.children[name] != nil {
		s.same("symlink "+path+"/"+name, err, linux.EEXIST)
		return
	}
	s.same("symlink "+path+"/"+name, err, nil)
	e := newModelNode('l', 0o777)
	e.id, e.target = q.Path, target
	dir.add(name, e)
}

func (s *stream) unlink() {
	path, dir, name := s.place()
	rmdir := s.choose.n("rmdir", 3) == 0
	s.note("unlink %s/%s rmdir=%v", path, name, rmdir)
	d := s.attach(path)
	defer d.Release()
	flags := uint32(0)
	if rmdir {
		flags = atRemoveDir
	}
	want := dir.expectUnlink(name, rmdir)
	s.same("unlink "+path+"/"+name, d.UnlinkAt(rootCred, name, flags), want)
	if want == nil {
		dir.children[name].nlink--
		dir.drop(name)
	}
}

func (s *stream) rename() {
	fromPath, from, oldName := s.place()
	toPath, to, newName := s.place()
	s.note("rename %s/%s to %s/%s", fromPath, oldName, toPath, newName)
	a, b := s.attach(fromPath), s.attach(toPath)
	defer a.Release()
	defer b.Release()
	want := expectRename(from, oldName, to, newName)
	s.same("rename", a.RenameAt(rootCred, oldName, b, newName), want)
	if e, v := from.children[oldName], to.children[newName]; want == nil && e != v {
		if v != nil {
			v.nlink--
			to.drop(newName)
		}
		from.drop(oldName)
		to.add(newName, e)
	}
}

func (s *stream) link() {
	src, e := s.some(func(n *modelNode) bool { return n.kind != 'd' })
	if e == nil {
		return
	}
	path, dir, name := s.place()
	s.note("link %s to %s/%s", src, path, name)
	t, d := s.attach(src), s.attach(path)
	defer t.Release()
	defer d.Release()
	err := d.Link(rootCred, t, name)
	if dir.children[name] != nil {
		s.same("link", err, linux.EEXIST)
		return
	}
	s.same("link", err, nil)
	e.nlink++
	dir.add(name, e)
}

func (s *stream) setXattr() {
	path, e := s.some(func(n *modelNode) bool { return n.kind != 'l' })
	if e == nil {
		return
	}
	n := s.attach(path)
	defer n.Release()
	name := "user." + string(rune('a'+s.choose.n("xattr", 3)))
	if s.choose.n("remove", 3) == 0 {
		s.note("remove %s of %s", name, path)
		var want error
		if _, ok := e.xattrs[name]; !ok {
			want = linux.ENODATA
		}
		s.same("remove xattr", n.SetXattr(rootCred, name, nil, 0), want)
		delete(e.xattrs, name)
		return
	}
	s.note("set %s of %s", name, path)
	v := s.data(s.choose.n("length", 300))
	s.same("set xattr", n.SetXattr(rootCred, name, v, 0), nil)
	e.xattrs[name] = v
}

func (s *stream) setAttr() {
	path, e := s.some(func(n *modelNode) bool { return n.kind != 'l' })
	if e == nil {
		return
	}
	n := s.attach(path)
	defer n.Release()
	if s.choose.n("times", 2) == 0 {
		e.mode = uint32(s.choose.n("mode", 0o1000))
		s.note("chmod %o %s", e.mode, path)
		s.same("chmod", n.Setattr(rootCred, p9.SetAttrMask{Permissions: true}, p9.SetAttr{Permissions: p9.FileMode(e.mode)}, false), nil)
		return
	}
	if e.data != nil && e.data.outstanding() > 0 {
		return
	}
	e.mtime = 1 + uint64(s.choose.n("mtime", 2_000_000_000))
	s.note("mtime %d %s", e.mtime, path)
	s.same("utimes", n.Setattr(rootCred, p9.SetAttrMask{MTime: true, MTimeNotSystemTime: true}, p9.SetAttr{MTimeSeconds: e.mtime}, false), nil)
}

func (s *stream) fsyncFile() {
	if h := s.handle(); h != nil {
		s.note("fsync file %d", h.node.id)
		s.same("fsync", fsync(h.f), nil)
	}
}

// jobOn begins a job on a file or the whole directory, and waits for its end
// unless the tape is held.
func (s *stream) jobOn(kind JobKind) {
	path, e := s.some(isModelFile)
	if e == nil || kind != JobPin && s.choose.n("all", 3) == 0 {
		path = s.path
	}
	s.runJob(kind, path)
}

func (s *stream) archiveAndEvict() {
	s.runJob(JobArchive, s.path)
	s.runJob(JobEvict, s.path)
}

func (s *stream) runJob(kind JobKind, path string) {
	s.note("%s %s", kind, path)
	id, err := s.w.fs.StartJob(kind, []string{path})
	s.same(string(kind), err, nil)
	s.w.fs.jobs.mu.Lock()
	j := s.w.fs.jobs.m[id]
	s.w.fs.jobs.mu.Unlock()
	s.jobs = append(s.jobs, j)
	if !s.gate.held() {
		s.finishJobs()
	}
}

func (s *stream) finishJobs() {
	for _, j := range s.jobs {
		t := time.NewTimer(stuck)
		select {
		case <-j.finished:
		case <-t.C:
			if s.shared && s.gate.held() {
				<-j.finished
				break
			}
			s.fail("%s does not end: %+v, cache %+v, queue %+v\n%s", j, j.status(), s.w.fs.cache.Stats(), s.w.fs.Queue(), stacks())
		}
		t.Stop()
		// What is being written again is not evicted, and the pins of all streams together have a limit.
		st := j.status()
		full := st.Kind == JobPin && strings.Contains(strings.Join(st.Errors, " "), "pinned files may hold no more")
		if st.State != "done" && st.Kind != JobEvict && !full {
			s.fail("%s: %+v", j, st)
		}
	}
	s.jobs = nil
}

// hold stops the tape: what needs it stays parked.
func (s *stream) hold() {
	s.note("hold the tape")
	s.gate.hold()
}

// settleAll lets the tape go on, and waits for all that was parked.
func (s *stream) settleAll() {
	s.note("release the tape")
	s.gate.release()
	for len(s.parked) > 0 {
		op := s.parked[0]
		s.parked = s.parked[1:]
		n, err := s.wait(op)
		if op.change == nil {
			if err != nil {
				s.fail("file %d: read [%d,%d): %v", op.h.node.id, op.off, op.off+op.n, err)
			}
			s.read(op)
			continue
		}
		op.h.node.mtime = 0
		s.wrote(op, n, err)
		s.write(op.h, op.off+n, op.rest[n:])
	}
	s.finishJobs()
	for _, h := range s.handles {
		if !h.node.data.settled() && h.node.data.outstanding() == 0 {
			s.verifyData(fmt.Sprintf("file %d", h.node.id), h.f, h.node)
		}
	}
}

// cancelOne gives up a parked request, as a flush does.
func (s *stream) cancelOne() {
	if len(s.parked) == 0 {
		return
	}
	k := s.choose.n("parked", len(s.parked))
	op := s.parked[k]
	s.parked = slices.Delete(s.parked, k, k+1)
	if op.h.f.Cancel(&op.w.Waiter) {
		s.counts.cancelled.Add(1)
		s.note("cancelled %d+%d of file %d", op.off, op.n, op.h.node.id)
		if op.change != nil {
			op.h.node.data.forget(op.change)
		}
		return
	}
	n, err := s.wait(op)
	s.note("answered before it was cancelled: %d+%d of file %d", op.off, op.n, op.h.node.id)
	if op.change != nil {
		s.wrote(op, n, err)
	} else if err != nil && !stderrors.Is(err, linux.EINTR) {
		s.fail("read: %v", err)
	}
}

// restart closes the archive and opens it again. Unlinked files are gone with the
// handles.
func (s *stream) restart() {
	if !s.restarts || s.choose.n("restart", 2) == 0 {
		return
	}
	s.settleAll()
	s.counts.restarts.Add(1)
	s.note("restart")
	s.closeHandles()
	s.w.restart()
}
