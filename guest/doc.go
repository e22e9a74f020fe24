// Package guest boots a real Linux kernel for tests: Debian's own kernel image
// in QEMU with software emulation (no KVM, no root), and a root file system of
// busybox that is put together here. A test mounts a server of the host with
// `mount -t 9p` there and sees what users will see.
//
//	func TestMount(t *testing.T) {
//		m := guest.Boot(t, guest.Options{Bins: []string{guest.Build(t, "sliod/guest/ninetest")}})
//		m.Must(t, guest.Mount9P(port, "cache=none", "/mnt"))
//		sums := m.Must(t, "ninetest sum /mnt")
//	}
//
// # What a guest is
//
// Two processors, Options.MemoryMiB of memory, a network card behind QEMU's
// user-mode network (the host's loopback is 10.0.2.2, the guest is 10.0.2.15),
// and the modules named in kernel.go: 9p over TCP, unix sockets and file
// descriptors, SCSI tape (sg, st, ch), FUSE, virtiofs and vsock. /tmp is a
// tmpfs. There is no disk: what a guest writes is gone when it ends.
//
// # The way of a script
//
// A virtio-serial port joins the guest's init to the test through a socket
// pair. The test sends a script as one line of base64; init runs it with
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
// A Machine owns one QEMU process (a child.Child) and two goroutines, which
// read its console and its port. Close ends the process by its pid and waits
// for all of them. If the test's process dies, the kernel
// kills QEMU (Pdeathsig). Nothing is left on disk: the root file system is an
// unlinked temporary file.
//
// # What is needed
//
// The Debian packages qemu-system-x86 and busybox-static, and the kernel
// image, which Kernel downloads with apt-get once and keeps in the user's
// cache directory (~/.cache/sliod/guest). Require skips the test when one is
// missing, and fails it when SLIOD_REQUIRE_ALL=1 is set, as `make test` does.
package guest
