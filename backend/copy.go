package backend

import (
	"github.com/hugelgupf/p9/linux"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// maxCopy is how many bytes one CopyFrom copies.
const maxCopy = 4 * sliver.Size

// CopyFrom implements vfs.Extended: the bytes go from slot to slot. Content on tape
// is recalled first; the files never share what they have there.
func (f *file) CopyFrom(source vfs.File, from, to, n uint64, w *vfs.Waiter) (uint64, error) {
	src, ok := source.(*file)
	switch {
	case !ok || src.ino.fs != f.ino.fs:
		return 0, linux.EXDEV
	case f.append:
		return 0, linux.EBADF // as copy_file_range(2) has it
	case to > sliver.MaxFileSize || n > sliver.MaxFileSize-to:
		return 0, linux.EFBIG
	case src.ino == f.ino && from < to+n && to < from+n:
		return 0, linux.EINVAL
	}
	d, err := src.ReadAt(from, int(min(n, maxCopy)), w)
	if err != nil {
		return 0, err
	}
	defer d.Release()
	done := uint64(0)
	for part := &d; part != nil; part = part.More {
		for _, p := range [2][]byte{part.Bytes, zeros[:part.Zeros]} {
			for len(p) > 0 {
				m, err := f.WriteAt(to+done, p, w)
				w = nil // one wait for one message
				switch {
				case err != nil && done == 0:
					return 0, err
				case err != nil:
					return done, nil
				}
				done += uint64(m)
				p = p[m:]
			}
		}
	}
	return done, nil
}
