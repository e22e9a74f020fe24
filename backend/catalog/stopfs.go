package catalog

import (
	stderrors "errors"
	"os"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
)

// A store whose disk has failed a write must not go on as if nothing had
// happened, and Pebble answers such a failure by ending the process or by a
// panic with its locks held. So Pebble never sees it: stopFS notes the first
// failed write in a stopper, which makes every later Update and Sync fail, and
// keeps what is on disk as it was at that moment:
//
//   - writes to the log and syncs of the directory seem to succeed, and do nothing;
//   - all other writes wait for Close and then fail, so that no table and no
//     manifest is written that relies on what seemed to succeed, and Pebble does
//     not retry for ever meanwhile;
//   - reads go on.
//
// What is on disk is then a prefix of the Updates, as after a crash.

// stopper says whether the store has stopped, and why.
type stopper struct {
	log    *logrus.Entry
	onStop func() // called once, after the failure is noted

	mu       sync.Mutex // guards what follows
	armed    bool       // set when the store is open: before, Pebble reports errors itself
	err      error      // the first failure; nil: running
	stopped  chan struct{}
	closing  chan struct{}
	isClosed bool
	files    map[*stopFile]struct{} // written and not closed: Pebble forgets some when a write fails
}

func newStopper(log *logrus.Entry) *stopper {
	return &stopper{log: log, stopped: make(chan struct{}), closing: make(chan struct{}), files: map[*stopFile]struct{}{}}
}

func (s *stopper) arm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = true
}

// stop notes the first failure, and says whether failures are to be hidden from
// Pebble.
func (s *stopper) stop(err error) (hide bool) {
	s.mu.Lock()
	armed, first := s.armed, s.armed && s.err == nil
	if first {
		s.err = err
		close(s.stopped)
	}
	s.mu.Unlock()
	if first {
		s.log.WithError(err).Error("catalog stops: a write failed; restart sliod when the disk is in order")
		s.onStop()
	}
	return armed
}

// failure returns nil, or an error that holds ErrStopped and the first failure.
func (s *stopper) failure() error {
	select {
	case <-s.stopped:
	default:
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.WithStack(&stoppedError{cause: s.err})
}

// open lets those go that wait for Close.
func (s *stopper) open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isClosed {
		s.isClosed = true
		close(s.closing)
	}
}

// closeFiles closes what Pebble has not closed. Their content does not matter.
func (s *stopper) closeFiles() {
	s.mu.Lock()
	left := s.files
	s.files = map[*stopFile]struct{}{}
	s.mu.Unlock()
	for f := range left {
		_ = f.File.Close()
	}
}

// gate passes while the store runs. After a failure it waits for Close.
func (s *stopper) gate() error {
	err := s.failure()
	if err != nil {
		<-s.closing
	}
	return err
}

// stoppedError is ErrStopped with its cause.
type stoppedError struct{ cause error }

func (e *stoppedError) Error() string {
	return ErrStopped.Error() + ": " + e.cause.Error() + "; restart sliod when the disk is in order"
}

func (e *stoppedError) Unwrap() []error { return []error{ErrStopped, e.cause} }

// stopFS is a file system that reports to a stopper.
type stopFS struct {
	vfs.FS
	s *stopper
}

func isLog(name string) bool { return strings.HasSuffix(name, ".log") }

// write does an operation that may not happen any longer after a failure.
func (f stopFS) write(op, name string, do func() error) error {
	if err := f.s.gate(); err != nil {
		return err
	}
	if err := do(); err != nil {
		f.s.stop(errors.Wrapf(err, "%s %s", op, name))
		return err
	}
	return nil
}

// logWrite does an operation of the log, or seems to.
func (f stopFS) logWrite(op, name string, do func() error) error {
	if f.s.failure() != nil {
		return nil
	}
	if err := do(); err != nil && !f.s.stop(errors.Wrapf(err, "%s %s", op, name)) {
		return err
	}
	return nil
}

func (f stopFS) create(op, name string, do func() (vfs.File, error)) (vfs.File, error) {
	var file vfs.File
	how := f.write
	if isLog(name) {
		how = f.logWrite
	}
	err := how(op, name, func() (err error) {
		file, err = do()
		return err
	})
	if err != nil {
		return nil, err
	}
	if file == nil {
		file = vfs.NewMemFile(nil) // of a log that is not written any longer
	}
	sf := &stopFile{File: file, fs: f, name: name, log: isLog(name)}
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	f.s.files[sf] = struct{}{}
	return sf, nil
}

func (f stopFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.create("create", name, func() (vfs.File, error) { return f.FS.Create(name, c) })
}

func (f stopFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.create("reuse", newname, func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, c) })
}

func (f stopFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.create("open", name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, opts...) })
}

// OpenDir returns a directory whose Sync belongs to the log: it follows the
// creation of a log, and that of tables, which the manifest's gate protects.
func (f stopFS) OpenDir(name string) (vfs.File, error) {
	d, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &stopFile{File: d, fs: f, name: name, log: true}, nil
}

func (f stopFS) Link(oldname, newname string) error {
	return f.write("link", newname, func() error { return f.FS.Link(oldname, newname) })
}

func (f stopFS) Rename(oldname, newname string) error {
	return f.write("rename", newname, func() error { return f.FS.Rename(oldname, newname) })
}

func (f stopFS) MkdirAll(dir string, perm os.FileMode) error {
	return f.write("make", dir, func() error { return f.FS.MkdirAll(dir, perm) })
}

// Remove and RemoveAll only take away what nothing refers to any longer: their
// errors waste space and harm nothing. But after a failure all is kept.
func (f stopFS) Remove(name string) error {
	if err := f.s.failure(); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

func (f stopFS) RemoveAll(name string) error {
	if err := f.s.failure(); err != nil {
		return err
	}
	return f.FS.RemoveAll(name)
}

func (f stopFS) Unwrap() vfs.FS { return f.FS }

// stopFile is a file that is written.
type stopFile struct {
	vfs.File
	fs   stopFS
	name string
	log  bool // of the log, or a directory
}

func (f *stopFile) do(op string, do func() error) error {
	if f.log {
		return f.fs.logWrite(op, f.name, do)
	}
	return f.fs.write(op, f.name, do)
}

func (f *stopFile) Write(p []byte) (int, error) {
	err := f.do("write", func() error {
		n, err := f.File.Write(p)
		if err == nil && n < len(p) {
			err = stderrors.New("short write")
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *stopFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.do("write", func() error { _, err := f.File.WriteAt(p, off); return err })
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *stopFile) Sync() error     { return f.do("sync", f.File.Sync) }
func (f *stopFile) SyncData() error { return f.do("sync", f.File.SyncData) }

func (f *stopFile) SyncTo(length int64) (full bool, err error) {
	err = f.do("sync", func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

// Close always closes, so that no descriptor leaks.
func (f *stopFile) Close() error {
	f.fs.s.mu.Lock()
	delete(f.fs.s.files, f)
	f.fs.s.mu.Unlock()
	err := f.File.Close()
	if err != nil && f.fs.s.stop(errors.Wrapf(err, "close %s", f.name)) && f.log {
		return nil
	}
	return err
}
