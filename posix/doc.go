// Package posix is a suite of what programs may expect of a file system on Linux, beyond
// what go-fuse's posixtest looks at, which is run with it.
//
// It is compiled into a test program that runs where the file system is mounted, on this
// machine or in a guest:
//
//	posix.test -test.v -dir /mnt/a [-other /mnt/b] [-tape] [-lacks flock,...]
//
// dir is where the tests work, each in a directory of its own. other is the same
// directory by a second mount, as another client has it. With -tape each test takes its
// files to tape, and out of the cache, before the part that matters, by the attributes
// user.sliod.archive and user.sliod.evict. lacks names what the file system is known not
// to have: the tests of it are left out, and a test that leaves out anything else fails.
//
// Run as root; tests of what other users may do start this program again as one.
package posix
