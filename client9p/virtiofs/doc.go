// Package virtiofs gives a virtual machine a file system without a network: it is
// the back end of a virtio-fs device, which the machine's monitor (QEMU, cloud-hypervisor)
// reaches over a unix socket.
//
//	guest's kernel -- FUSE in queues in the guest's memory -- Server -- Session -- archive
//	                  monitor -- vhost-user messages ---------^
//
// go-fuse has such a server too. This one differs in what users notice: a guest can be
// paused, reset and shut down (go-fuse does not answer GET_VRING_BASE, and the
// monitor waits for ever), it can start again on the same socket, and memory is only touched while
// a request is taken or answered.
//
// # Words
//
// A guest is one connection of a monitor. A queue is a split virtqueue (VIRTIO 1.2,
// 2.7) in the guest's memory. A request is one chain of descriptors of a queue. A
// session is one mount of the guest: FUSE_INIT begins it, FUSE_DESTROY, the next
// FUSE_INIT or the guest's end ends it.
//
// # Waiting for tape
//
// Each request has a goroutine and buffers of its own; the guest's memory is neither read nor written
// while it waits. So the machine can be paused meanwhile: the answer is kept until it
// goes on. A reset drops the answers. A queue has as many requests in flight as the
// monitor gave it entries (QEMU: queue-size, 128 to 1024): that many parked
// ones make the guest wait. Linux has no interrupts for virtio-fs: a program that waits
// for tape cannot be killed before the tape has answered.
//
// # Trust
//
// Descriptors and requests come from the guest and are checked; what they break is their
// own connection. The messages come from the monitor, which has the guest's memory anyway.
//
// # Locks
//
// device.mu (messages write, requests read) before queue.mu. No call of a Session is
// made with them held. sessions.turn orders the beginnings and ends of sessions.
//
// # Owners
//
// Serve owns a guest at a time. A guest owns the goroutines that wait for
// its queues' events and those of its requests, and has ended when all of them have.
package virtiofs
