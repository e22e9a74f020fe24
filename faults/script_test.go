package faults

import (
	"bytes"
	"encoding/binary"
	stderrors "errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend"
	"sliod/backend/vfs"
)

// pattern is content that differs for each seed, and everywhere.
func pattern(seed uint64, n int) []byte {
	b := make([]byte, (n+7)&^7)
	x := seed*0x9E3779B97F4A7C15 | 1
	for i := 0; i < len(b); i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(b[i:], x)
	}
	return b[:n]
}

// script is what each run does, and what is known of the tree meanwhile. The
// contents are those that an fsync has confirmed.
type script struct {
	m     *machine
	files map[string][]byte
	modes map[string]uint32 // of those that were changed
	gone  []string

	// begun are changes that no fsync has confirmed yet: each may be there or not.
	mu    sync.Mutex
	begun map[string][]byte // nil: removed

	full   atomic.Bool // the tapes may be full, and writes be told so
	failed []string    // operations that failed, which a fault may do
	wrong  []error     // what must never be
	health health
}

func newScript(m *machine) *script {
	return &script{m: m, files: map[string][]byte{}, modes: map[string]uint32{}, begun: map[string][]byte{}}
}

// like takes over what is known at this moment.
func (s *script) like(other *script) {
	other.mu.Lock()
	defer other.mu.Unlock()
	s.files, s.modes, s.begun = maps.Clone(other.files), maps.Clone(other.modes), maps.Clone(other.begun)
	s.gone = slices.Clone(other.gone)
}

// begin notes a change before it is made; the function that it returns, what an fsync
// has confirmed.
func (s *script) begin(name string, content []byte) (confirmed func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun[name] = content
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.begun, name)
		if content != nil {
			s.files[name] = content
			return
		}
		delete(s.files, name)
		delete(s.modes, name)
		s.gone = append(s.gone, name)
	}
}

// violated notes what must never be.
func (s *script) violated(format string, args ...any) {
	s.wrong = append(s.wrong, fmt.Errorf(format, args...))
}

// must is for what needs no tape: no fault of one makes it fail.
func (s *script) must(what string, err error) {
	if err != nil {
		s.violated("%s, which needs no tape: %w", what, err)
	}
}

// may is for what needs the tape.
func (s *script) may(what string, err error) bool {
	if err != nil {
		s.mu.Lock()
		s.failed = append(s.failed, fmt.Sprintf("%s: %v", what, err))
		s.mu.Unlock()
	}
	return err == nil
}

// life is the time from a start of the server to its end.
func (s *script) life(x *injector, fn func()) {
	for range 2 {
		// A server that does not come up is started again, once, as by systemd.
		if s.may("start", s.m.start(x)) {
			fn()
			s.health.join(s.m.health())
			s.may("stop", s.m.stop())
			return
		}
	}
}

// run is the script: two lives on failing devices.
func (s *script) run(x *injector) {
	s.life(x, s.first)
	s.life(x, s.second)
}

// first writes, archives, recalls, changes and archives again.
func (s *script) first() {
	s.must("mkdir", s.mkdir("/dir"))
	for i, n := range []int{3000, 1, 70_000, 900, 12_345} { // they share records
		s.create(fmt.Sprintf("/dir/small%d", i), pattern(uint64(i), n))
	}
	s.create("/big", pattern(100, 2*mib+123_456))
	s.create("/empty", nil)
	s.archiveAndEvict()
	s.readAll()

	// Read-prep-write of what is on tape only, attributes only, and a removal.
	s.evict()
	s.write("/big", mib+5000, pattern(200, 300))
	s.write("/dir/small2", 60_000, pattern(201, 20_000))
	s.must("chmod", s.chmod("/dir/small1", 0o600))
	s.must("unlink", s.unlink("/dir/small3"))
	s.create("/late", pattern(300, 400_000))
	s.archiveAndEvict()
	s.readAll()
}

// second looks at all after a restart, and goes on.
func (s *script) second() {
	if len(s.files) == 0 { // the first life never came up
		s.first()
		return
	}
	s.evict()
	s.readAll()
	s.create("/dir/second", pattern(400, 5000))
	s.archiveAndEvict()
	s.readAll()
}

func (s *script) create(name string, content []byte) {
	if content == nil {
		content = []byte{}
	}
	confirmed := s.begin(name, content)
	err := s.m.create(name, content)
	if s.full.Load() && stderrors.Is(err, linux.ENOSPC) {
		s.may("create "+name, err) // what is there of it is a prefix, see settle
		return
	}
	s.must("create "+name, err)
	if err == nil {
		confirmed()
	}
}

// write writes within one sliver of a file, and syncs. What a write that fails has not
// acknowledged has not happened.
func (s *script) write(name string, off int, p []byte) {
	confirmed := s.begin(name, overlay(s.files[name], off, p))
	n := 0
	var werr error
	err := s.m.with(name, func(f vfs.File) error {
		if n, werr = s.m.writeAt(f, uint64(off), p); werr != nil && !s.allowed(werr) {
			s.violated("write %s: the error is not EIO: %w", name, werr)
		}
		return s.m.sync(f)
	})
	s.must("fsync "+name, err)
	if !s.may("write "+name, werr) {
		s.mu.Lock()
		delete(s.begun, name)
		s.mu.Unlock()
		confirmed = s.begin(name, overlay(s.files[name], off, p[:n]))
	}
	confirmed()
}

// overlay is content with p written at off.
func overlay(content []byte, off int, p []byte) []byte {
	all := bytes.Clone(content)
	if end := off + len(p); len(p) > 0 && end > len(all) {
		all = append(all, make([]byte, end-len(all))...)
	}
	copy(all[min(off, len(all)):], p)
	return all
}

// allowed says whether a client may be told err, of an operation that needs the tape.
func (s *script) allowed(err error) bool {
	return isEIO(err) || s.full.Load() && stderrors.Is(err, linux.ENOSPC)
}

func (s *script) mkdir(name string) error {
	dir, err := s.m.fs.Attach(root, path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Release()
	_, err = dir.Mkdir(root, path.Base(name), 0o755, 0)
	return err
}

func (s *script) chmod(name string, mode uint32) error {
	s.modes[name] = mode
	n, err := s.m.fs.Attach(root, name)
	if err != nil {
		return err
	}
	defer n.Release()
	if err := n.Setattr(root, p9.SetAttrMask{Permissions: true}, p9.SetAttr{Permissions: p9.FileMode(mode)}, false); err != nil {
		return err
	}
	return s.m.with(name, s.m.sync)
}

func (s *script) unlink(name string) error {
	dir, err := s.m.fs.Attach(root, path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Release()
	confirmed := s.begin(name, nil)
	err = dir.UnlinkAt(root, path.Base(name), 0)
	if err == nil {
		err = s.m.with("/empty", s.m.sync) // any fsync confirms it
	}
	if err == nil {
		confirmed()
	}
	return err
}

func (s *script) archiveAndEvict() {
	if s.may("archive", s.m.job(backend.JobArchive, "/")) {
		s.evict()
	}
}

// evict drops what is clean. What is not is said to be, and stays.
func (s *script) evict() {
	if err := s.m.job(backend.JobEvict, "/"); err != nil && len(s.failed) == 0 {
		s.violated("evict, after everything was archived: %w", err)
	}
}

// readAll reads everything: it is right, or EIO.
func (s *script) readAll() {
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		s.readOne(name)
	}
}

// readOne reads one of the files.
func (s *script) readOne(name string) {
	got, err := s.m.read(name)
	want := s.files[name]
	if begun, ok := s.begun[name]; ok {
		// From now on it is known which of the two the crash has left.
		if begun == nil && stderrors.Is(err, linux.ENOENT) {
			delete(s.files, name)
			delete(s.begun, name)
			return
		}
		if begun != nil && err == nil && bytes.Equal(got, begun) {
			s.files[name], want = begun, begun
			delete(s.begun, name)
		}
	}
	switch {
	case err != nil && !s.allowed(err):
		s.violated("read %s: the error is not EIO: %w", name, err)
	case err != nil:
		s.may("read "+name, err)
	case !bytes.Equal(got, want):
		s.violated("%s has wrong content: %d bytes, want %d; the first difference is at %d", name, len(got), len(want), difference(got, want))
	}
}

func difference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// sound is the last life, on devices that do not fail: all that was confirmed is
// there, and everything works.
func (s *script) sound() error {
	s.failed = nil
	if err := s.m.start(&injector{}); err != nil {
		return fmt.Errorf("start on sound devices: %w", err)
	}
	s.complete()
	if err := s.m.stop(); err != nil {
		return fmt.Errorf("stop on sound devices: %w", err)
	}
	if len(s.failed) > 0 {
		s.violated("on sound devices: %q", s.failed)
	}
	return stderrors.Join(s.wrong...)
}

// settle finds out what became of files that were being made when the power went: they
// may have any length, but hold nothing else than what was written.
func (s *script) settle() {
	for name, begun := range s.begun {
		if _, known := s.files[name]; known {
			continue
		}
		delete(s.begun, name)
		got, err := s.m.read(name)
		switch {
		case stderrors.Is(err, linux.ENOENT):
		case err != nil:
			s.violated("read %s: %w", name, err)
		case !bytes.HasPrefix(begun, got):
			s.violated("%s, which was being made, has %d bytes that were never written", name, len(got))
		default:
			s.files[name] = got
		}
	}
}

// complete looks at everything, archives it, and looks at it on tape alone.
func (s *script) complete() {
	s.settle()
	s.readAll()
	for name, mode := range s.modes {
		n, err := s.m.fs.Attach(root, name)
		if err != nil {
			s.violated("%s: %w", name, err)
			continue
		}
		if a, err := n.Getattr(root); err != nil || uint32(a.Mode)&0o7777 != mode {
			s.violated("%s has mode %o, want %o: %v", name, a.Mode, mode, err)
		}
		n.Release()
	}
	for _, name := range s.gone {
		if _, err := s.m.fs.Attach(root, name); !stderrors.Is(err, linux.ENOENT) {
			s.violated("%s was removed: %v", name, err)
		}
	}
	s.archiveAndEvict()
	s.readAll()
	time.Sleep(time.Hour) // what nobody asked for is archived too: the removals
}
