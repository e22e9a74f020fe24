package sg

import (
	stderrors "errors"
	"os"
	"syscall"
	"unsafe"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// ioctls of <scsi/sg.h>.
const (
	sgGetVersion   = 0x2282 // SG_GET_VERSION_NUM
	sgSetReserved  = 0x2275 // SG_SET_RESERVED_SIZE
	sgGetTableSize = 0x227F // SG_GET_SG_TABLESIZE
)

const (
	majorGeneric = 21 // of /dev/sg*
	oldestDriver = 30000

	// reserve is how much memory the driver is asked to keep for this device: records
	// up to it go over on a machine whose memory has become scattered.
	reserve = 1 << 20
	// segment is the size of the driver's buffers (its parameter scatter_elem_sz):
	// a transfer has at most as many of them as the host adapter can take.
	segment = 32 << 10
	// limitUnknown stands for the limit of a host that does not tell any.
	limitUnknown = 64 << 10
)

// node is an open /dev/sg node: the port of the product.
type node struct {
	file *os.File
	raw  syscall.RawConn
}

// access says for whom a node is opened.
type access uint8

const (
	// toAsk: to ask what the device is, whoever else uses it.
	toAsk access = iota
	// toShare: as the only SLIOD, but an operator's tools (mtx) can use the device too. For
	// changers: each of their commands is complete in itself.
	toShare
	// toOwn: as the only process that has the node open. For drives: two masters would
	// destroy each other's work.
	toOwn
)

// open opens a device's node. path must be a /dev/sg node. The caller closes the Transport.
func open(path string, a access) (*Transport, error) {
	// Without O_NONBLOCK an exclusive open waits until the other has closed.
	flags := unix.O_RDWR | unix.O_NONBLOCK | unix.O_CLOEXEC
	if a == toOwn {
		flags |= unix.O_EXCL
	}
	fd, err := unix.Open(path, flags, 0)
	if err != nil {
		return nil, explainOpen(err, path)
	}
	if a != toAsk {
		// O_EXCL keeps out who comes later. The lock is for two that share.
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
			_ = unix.Close(fd)
			return nil, explainOpen(unix.EBUSY, path)
		}
	}
	limit, err := check(fd, path)
	if err != nil {
		_ = unix.Close(fd) // the first error is the one to tell
		return nil, err
	}
	n := &node{file: os.NewFile(uintptr(fd), path)} // known as non-blocking, it goes to the runtime's poller
	if n.raw, err = n.file.SyscallConn(); err != nil {
		_ = n.file.Close()
		return nil, errors.Wrapf(err, "sg: %s", path)
	}
	return newTransport(path, limit, n), nil
}

// check sees whether fd is what it should be, and returns the transfer limit.
func check(fd int, path string) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, errors.Wrapf(err, "sg: %s", path)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || unix.Major(st.Rdev) != majorGeneric {
		return 0, errors.Errorf("sg: %s is no SCSI generic device (/dev/sg0 and so on): \"sliod discover\" lists those of this machine", path)
	}
	version, err := unix.IoctlGetInt(fd, sgGetVersion)
	if err != nil || version < oldestDriver {
		return 0, errors.Errorf("sg: %s: the kernel's sg driver has version %d (%v); version 3 is needed", path, version, err)
	}
	limit, err := transferLimit(fd)
	if err != nil {
		return 0, errors.WithMessagef(err, "sg: %s", path)
	}
	// Without the reserve, memory is found for each command: nothing else is different.
	_ = unix.IoctlSetPointerInt(fd, sgSetReserved, min(limit, reserve))
	return limit, nil
}

// transferLimit asks for the most bytes of one command: what the host adapter's queue
// takes (in bytes, unlike for disks), and what fits into the driver's buffers.
func transferLimit(fd int) (int, error) {
	limit, err := unix.IoctlGetInt(fd, unix.BLKSECTGET)
	if err != nil {
		return 0, errors.Wrap(err, "ask for the host's transfer limit (BLKSECTGET)")
	}
	if limit <= 0 {
		limit = limitUnknown
	}
	if segments, err := unix.IoctlGetInt(fd, sgGetTableSize); err == nil && segments > 0 {
		limit = min(limit, segments*segment)
	}
	return limit, nil
}

func (n *node) submit(f *frame) error {
	var err error
	cerr := n.raw.Write(func(fd uintptr) bool {
		var wrote int
		wrote, err = transfer(unix.SYS_WRITE, fd, f)
		if err == nil && wrote != int(unsafe.Sizeof(f.head)) {
			err = errors.Errorf("the driver took %d of %d bytes of the header", wrote, unsafe.Sizeof(f.head))
		}
		return true
	})
	return stderrors.Join(cerr, err)
}

func (n *node) await(f *frame) error {
	var err error
	cerr := n.raw.Read(func(fd uintptr) bool {
		_, err = transfer(unix.SYS_READ, fd, f)
		return !stderrors.Is(err, unix.EAGAIN) // then again when the driver has an answer
	})
	return stderrors.Join(cerr, err)
}

// transfer writes or reads the header.
func transfer(call, fd uintptr, f *frame) (int, error) {
	for {
		n, _, errno := unix.Syscall(call, fd, uintptr(unsafe.Pointer(&f.head)), unsafe.Sizeof(f.head))
		if errno == 0 {
			return int(n), nil
		}
		if errno != unix.EINTR { // nothing was done
			return 0, errors.WithStack(errno)
		}
	}
}

func (n *node) Close() error { return n.file.Close() }

func explainOpen(err error, path string) error {
	switch {
	case stderrors.Is(err, unix.EBUSY):
		if who := holders(procDir, path); who != "" {
			return errors.Wrapf(err, "sg: %s is in use by %s, and a device has one master: stop it first", path, who)
		}
		return errors.Wrapf(err, "sg: %s is in use by another process (\"fuser -v %s\" as root names it), and a device has one master: stop it first", path, path)
	case stderrors.Is(err, unix.EACCES) || stderrors.Is(err, unix.EPERM):
		return errors.Wrapf(err, "sg: open %s: run as root, or give this user read and write access to it (on most systems by the group \"tape\")", path)
	case stderrors.Is(err, unix.ENOENT):
		return errors.Wrapf(err, "sg: open %s: is the kernel module sg loaded (\"modprobe sg\"), and the device on? \"sliod discover\" lists what there is", path)
	case stderrors.Is(err, unix.ENXIO) || stderrors.Is(err, unix.ENODEV):
		return errors.Wrapf(err, "sg: open %s: there is no device behind it any more", path)
	}
	return errors.Wrapf(err, "sg: open %s", path)
}
