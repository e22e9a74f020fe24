// Package e2e holds the tests of the whole: the real binary with an embedded
// virtual library, in front of it the clients that users have. There is nothing
// to import here.
//
//	TestKernelMount   Linux' own client in a guest: trees to tape and back
//	TestNothingWaits  what does not need the tape never waits for it
//	TestInterop       p9.Client and diod's tools
//	TestFsx           random operations on one file, in each way to mount
//	TestFio           fio verifies what it wrote, before and after tape
//	TestRestart       stop, start, lock and the printed mount command
//	TestBridge...     FUSE: the suite of package posix, parked reads, a server that is killed
//	TestTapeDevices   contract suites over /dev/sg in a guest, on tgtd's devices
//	TestTapeLibrary   sliod itself in a guest, on tgtd's devices
//	TestWays          every way from a guest to the archive: relay, bridge, vsock,
//	                  serial port, virtiofs
//
// Each test has servers of its own, on free ports, with their state in the
// test's temporary directory. A server is built with the race detector if the
// tests are, and a race that it reports fails the test.
//
// # Guests
//
// An emulated machine keeps one processor busy at most, so tests that have one run side by
// side (t.Parallel), each with its own server; -parallel says how many at once, by default as
// many as there are processors. make test runs four.
//
// # Slow libraries
//
// Tests about waiting use a library that is slower than a real one (speed 0.01
// or 0.1): a recall then takes many minutes. So what is tested is an order, "the
// read was still parked when all else was done", and no test depends on how fast
// the machine is. Data goes to tape before, with the instant library, on the same
// state directory.
package e2e
