package bridge

import (
	"context"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// stale is the node of every number that the kernel has not been told of, or has
// forgotten. A kernel in order names none; that of a virtual machine is not ours.
var stale = &node{file: staleFile{}}

// staleFile refuses everything.
type staleFile struct{}

func (staleFile) QID() p9.QID { return p9.QID{} }
func (staleFile) Close()      {}

func (staleFile) Walk(context.Context, string) (Entry, error) { return Entry{}, linux.ESTALE }
func (staleFile) WalkAll(_ context.Context, names []string) []Walked {
	return make([]Walked, len(names))
}
func (staleFile) As(context.Context, uint32) (File, error)           { return nil, linux.ESTALE }
func (staleFile) Getattr(context.Context) (p9.Attr, error)           { return p9.Attr{}, linux.ESTALE }
func (staleFile) Setattr(context.Context, uint32, p9.SetAttr) error  { return linux.ESTALE }
func (staleFile) Statfs(context.Context) (p9.FSStat, error)          { return p9.FSStat{}, linux.ESTALE }
func (staleFile) Readlink(context.Context) (string, error)           { return "", linux.ESTALE }
func (staleFile) Xattr(context.Context, string) ([]byte, error)      { return nil, linux.ESTALE }
func (staleFile) RemoveXattr(context.Context, string) error          { return linux.ESTALE }
func (staleFile) Open(context.Context, p9.OpenFlags) (Handle, error) { return nil, linux.ESTALE }
func (staleFile) Link(context.Context, File, string) error           { return linux.ESTALE }
func (staleFile) Rename(context.Context, string, File, string) error { return linux.ESTALE }
func (staleFile) Unlink(context.Context, string) error               { return linux.ESTALE }
func (staleFile) Rmdir(context.Context, string) error                { return linux.ESTALE }

func (staleFile) SetXattr(context.Context, string, []byte, uint32) error { return linux.ESTALE }

func (staleFile) Create(context.Context, string, p9.OpenFlags, p9.FileMode, uint32) (Entry, Handle, error) {
	return Entry{}, nil, linux.ESTALE
}

func (staleFile) Mkdir(context.Context, string, p9.FileMode, uint32) (Entry, error) {
	return Entry{}, linux.ESTALE
}

func (staleFile) Symlink(context.Context, string, string, uint32) (Entry, error) {
	return Entry{}, linux.ESTALE
}

func (staleFile) Mknod(context.Context, string, p9.FileMode, uint32, uint32, uint32) (Entry, error) {
	return Entry{}, linux.ESTALE
}
