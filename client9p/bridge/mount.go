package bridge

import (
	"runtime"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/pkg/errors"
)

const (
	// maxWrite is the largest read or write that the kernel sends.
	maxWrite = 1 << 20
	// maxBackground is how many readahead and writeback requests the kernel keeps in
	// flight: many thousand, so that parked ones do not stall the others (its default
	// is 12).
	maxBackground = 1<<16 - 1
)

// MountOptions are the options of Mount.
type MountOptions struct {
	AllowOther bool     // other users than the one who mounts may use it
	Source     string   // what mount(8) and df(1) show as the device
	Flags      uintptr  // MS_ flags of mount(2); 0: MS_NOSUID and MS_NODEV
	Options    []string // further options of mount(8), as they are
	Debug      bool     // go-fuse logs every request
}

// Fuse returns the options for go-fuse that FS needs.
func (o MountOptions) Fuse() *fuse.MountOptions {
	return &fuse.MountOptions{
		AllowOther: o.AllowOther, FsName: o.Source, Name: "sliod", Debug: o.Debug,
		Options:       append([]string{"default_permissions"}, o.Options...),
		MaxBackground: maxBackground, MaxWrite: maxWrite, MaxReadAhead: maxWrite,
		EnableLocks:      true,
		EnableAcl:        true,
		DirectMount:      true, // as root without fusermount; it is used else
		DirectMountFlags: o.Flags,
		ExtraCapabilities: fuse.CAP_ATOMIC_O_TRUNC | fuse.CAP_ASYNC_DIO | fuse.CAP_DIRECT_IO_ALLOW_MMAP |
			fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_DONT_MASK | fuse.CAP_SETXATTR_EXT, // for access control lists, see doc.go
	}
}

// Mount mounts fs on the directory dir and serves it, until Unmount or until somebody
// unmounts it: the server's Wait returns then.
func Mount(fs *FS, dir string, o MountOptions) (*fuse.Server, error) {
	s, err := fuse.NewServer(fs, dir, o.Fuse())
	if err != nil {
		return nil, errors.Wrapf(err, "mount on %s", dir)
	}
	moreProcessors()
	go s.Serve()
	if err := s.WaitMount(); err != nil {
		return nil, errors.Wrapf(err, "mount on %s", dir)
	}
	return s, nil
}

// moreProcessors has Go's scheduler count with processors of its own for the threads of
// go-fuse, one a real processor and one more, that wait in read(2) of /dev/fuse most of the
// time. Such a thread keeps its processor; when all are kept, the scheduler's monitor takes them away every few
// microseconds, and wakes a thread for each, which finds nothing to do: as often as there are requests.
var moreProcessors = sync.OnceFunc(func() {
	n := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(n + min(max(n, 2), 16) + 1)
})
