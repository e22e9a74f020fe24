package virtual

import (
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ChangeOp is what happens to a file.
type ChangeOp uint8

// Changes of files.
const (
	CreateFile   ChangeOp = iota // or empty it
	WriteFile                    // Data at Offset
	TruncateFile                 // to Offset bytes
	RenameFile                   // Name becomes To
	RemoveFile
	SyncFile // its content so far is on disk
	SyncDir  // the names in it are
)

func (o ChangeOp) String() string {
	return [...]string{"create", "write", "truncate", "rename", "remove", "sync", "sync folder"}[o]
}

// Change is one change of a library's files.
type Change struct {
	Op     ChangeOp
	Name   string
	To     string
	Offset int64
	Data   []byte // the caller's
}

var watcher atomic.Pointer[func(Change)]

// WatchFiles has fn called before each change of any library's files, by the
// goroutine that makes it; nil: nobody. It is for tests of what a loss of power
// leaves.
func WatchFiles(fn func(Change)) {
	if fn == nil {
		watcher.Store(nil)
		return
	}
	watcher.Store(&fn)
}

func watched(c Change) {
	if fn := watcher.Load(); fn != nil {
		(*fn)(c)
	}
}

// file is a file of a library: all changes of one go through it.
type file struct{ *os.File }

func openFile(name string) (*file, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &file{f}, nil
}

// createFile makes a file, or empties it.
func createFile(name string) (*file, error) {
	watched(Change{Op: CreateFile, Name: name})
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &file{f}, nil
}

func removeFile(name string) error {
	watched(Change{Op: RemoveFile, Name: name})
	return os.Remove(name)
}

// WriteAt is os.File's.
func (f *file) WriteAt(b []byte, off int64) (int, error) {
	watched(Change{Op: WriteFile, Name: f.Name(), Offset: off, Data: b})
	return f.File.WriteAt(b, off)
}

// Truncate is os.File's.
func (f *file) Truncate(size int64) error {
	watched(Change{Op: TruncateFile, Name: f.Name(), Offset: size})
	return f.File.Truncate(size)
}

// Sync is os.File's.
func (f *file) Sync() error {
	watched(Change{Op: SyncFile, Name: f.Name()})
	return f.File.Sync()
}

// Datasync is fdatasync(2).
func (f *file) Datasync() error {
	watched(Change{Op: SyncFile, Name: f.Name()})
	return unix.Fdatasync(int(f.Fd()))
}
