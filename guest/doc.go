// Package guest boots a real Linux kernel for tests, and a root file system of
// busybox that is put together here. A test mounts a server of the host with
// `mount -t 9p` there and sees what users will see.
//
//	func TestMount(t *testing.T) {
//		m := guest.Boot(t, guest.Options{UserMode: true, Bins: []string{guest.Build(t, "sliod/guest/ninetest")}})
//		m.Mount9P(t, port, "cache=none", "/mnt")
//		sums := m.Must(t, "ninetest sum /mnt")
//	}
//
// # Two kinds
//
// An emulated machine is Debian's own kernel image in QEMU with software emulation: no KVM,
// no root, two processors, and devices. With Options.UserMode it is Debian's user-mode Linux:
// the kernel is a process of the host, and each process of the guest another one that it
// traces. That needs root, has one processor and no devices, and is many times faster. What
// it has of Linux is the same code: VFS, page cache, v9fs, FUSE, sockets. Tests that need
// neither devices nor several processors run there. SLIOD_EMULATE_ALL=1 has them emulated.
//
// # What a guest is
//
// Options.MemoryMiB of memory, a network card (the host's loopback is 10.0.2.2, the guest is
// 10.0.2.15), and the modules named in kernel.go: 9p over TCP, unix sockets and file
// descriptors, FUSE, and on an emulated machine SCSI tape (sg, st, ch), virtiofs and vsock.
// /tmp is a tmpfs. There is no disk: what a guest writes is gone when it ends.
//
// Machine.Host gives the address of a port of the host's loopback. QEMU has a network in user
// mode. In the other kind the card ends in a network namespace, where each port that was asked
// for is relayed; nothing else is there.
//
// # The way of a script
//
// A virtio-serial port, or a connection of TCP, joins the guest's init to the test through a
// socket pair. The test sends a script as one line of base64; init runs it with
// busybox sh, streams its output back and ends it with a mark and the exit
// status. The mark holds a random word, so no output can be taken for it. The
// kernel's console is another device and is kept apart: Machine.Console.
//
//	Start -> booting -> idle -> running (Sh) -> idle -> ... -> Close
//	            |                  |
//	            +---- QEMU ended --+--> dead: each call says so, with the console's end
//
// # Owners
//
// A Machine owns one process (a child.Child) and two goroutines, which read its console and
// its port; in user mode also the network, with a thread in the namespace and two goroutines
// a connection. Close ends the process by its pid and waits
// for all of them: in user mode it is the first of a PID namespace, so that no process of the
// guest outlives it. If the test's process dies, the kernel
// kills the guest (Pdeathsig). Nothing is left on disk: the root file system is an
// unlinked temporary file. Only user mode has an empty directory, which stays when the test's process is killed.
//
// # What is needed
//
// The Debian packages qemu-system-x86 and busybox-static, /dev/net/tun for user mode, and the
// kernels, which Kernels downloads with apt-get once and keeps in the user's
// cache directory (~/.cache/sliod/guest). Require skips the test when one is
// missing, and fails it when SLIOD_REQUIRE_ALL=1 is set, as `make test` does.
package guest
