// Package sg reaches real tape drives and changers through Linux' SCSI generic driver: a
// scsi.Transport over a /dev/sg node, the search for such devices, and the
// opening of a library that is made of them.
//
// # The way of a command
//
// A command goes to the kernel as a header of version 3 (struct sg_io_hdr, header.go) by
// write(2), and its answer comes back by read(2), which waits in the runtime's poller: a command that takes
// an hour blocks no thread. The ioctl SG_IO does both in one call, and is not used for a
// reason: when a thread that waits in it is stopped and goes on (a debugger, SIGSTOP, a container or
// a machine that is suspended), or takes a signal, the kernel begins the call again and the command
// is sent twice. A record would be on tape twice, and every later one in a wrong place. A read that is
// begun again does no harm.
//
// Data goes through buffers of the driver ("indirect"), so it needs no alignment. From write
// to read the kernel keeps addresses of the header, the command block, the sense buffer and the data;
// runtime.Pinner keeps them where they are.
// Not all host adapters report how many bytes a device has sent: those behind the answer's own length mean
// nothing, and may be those of an earlier command.
//
// # What is an answer
//
// A status byte or sense data is an answer of the device, whatever else the host
// adapter reports. Without them a host or driver status other than 0 (answer.go) is an error of Do: timeout,
// no such device, reset. What the command did is not known then.
//
// Timeouts are given to the kernel in milliseconds, up to 24 days; 0 stands for one minute. The context is looked at
// before a command only, as a command that was sent cannot be called back. Close gives it up.
//
// # One master
//
// Drives are opened with O_EXCL: no other process can have the sg node open meanwhile. A changer is locked
// (flock) against another SLIOD only, so that an operator can move cartridges with mtx while the library
// serves; the next inventory sees it. The drivers st and ch are not kept out: nobody should use
// /dev/st* of a drive that serves.
//
// # Names
//
// Numbers of /dev/sg can be others after a reboot. A name is "serial:" and the serial number, or
// a path: of the sg node, of another node of the same device (/dev/nst0), or a link to one
// (/dev/tape/by-id, /dev/tape/by-path).
//
// # Which drive is in which element
//
// By serial number, as the changer reports it (READ ELEMENT STATUS with DVCID). Changers that do not report
// it have their drives in the order of the configuration: match.go. The
// library's Inventory then tells the serial numbers all the same.
//
// # Concurrency, and crashes
//
// A Transport has one command at a time; callers wait for their turn. There are no goroutines and nothing
// is stored. When the process is killed the kernel lets a command that was sent run to its end, and
// lets go of the device.
package sg
