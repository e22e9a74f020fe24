package bridge

import (
	"context"
	stderrors "errors"
	"syscall"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/client9p"
)

// With CAP_HANDLE_KILLPRIV_V2 the kernel leaves it to the file system to drop setuid and
// setgid when a file is changed, and says when by a flag of the request. Otherwise it asks
// for the attribute security.capability before each write, a request of its own. It
// still takes that attribute away itself, as far as it knows of it: it asks once each time
// that it has been told attributes.

// withoutSetID returns a mode without what must not survive a change by others than root:
// setuid, and setgid where it means what it says.
func withoutSetID(mode p9.FileMode) p9.FileMode {
	mode &^= syscall.S_ISUID
	if mode&0o010 != 0 {
		mode &^= syscall.S_ISGID
	}
	return mode
}

// dropsSetID says whether a file's mode has such bits, and what its permissions are without
// them. The kernel would go by the mode that it was told too.
func (n *node) dropsSetID(ctx context.Context) (perm p9.FileMode, drops bool, err error) {
	n.mu.Lock()
	told := n.mode
	n.mu.Unlock()
	if told&syscall.S_IFMT == syscall.S_IFDIR || withoutSetID(told) == told {
		return 0, false, nil
	}
	a, err := n.file.Getattr(ctx)
	if err != nil {
		return 0, false, err
	}
	mode := withoutSetID(a.Mode)
	return mode & 0o7777, mode != a.Mode, nil
}

// dropSetID drops these bits before a change by a process that is not root. It returns
// no EPERM: the server takes who mounted for a user then, not for root, and drops
// them itself.
func (n *node) dropSetID(ctx context.Context) error {
	perm, drops, err := n.dropsSetID(ctx)
	if err != nil || !drops {
		return err
	}
	err = n.file.Setattr(ctx, client9p.SetMode, p9.SetAttr{Permissions: perm})
	switch {
	case stderrors.Is(err, linux.EPERM):
		return nil
	case err == nil:
		n.mu.Lock()
		n.mode = n.mode&^0o7777 | perm
		n.mu.Unlock()
	}
	return err
}
