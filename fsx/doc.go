// Package fsx tries one file with random operations, and compares what it reads with
// a model in memory, in the manner of the fsx of Apple and of xfstests: read, write,
// append, truncate, mapped reads and writes, punch, copy_file_range, fsync, close and
// open. On SLIOD the file goes to tape and is evicted in between, by its extended
// attributes user.sliod.archive and user.sliod.evict, while the operations go on.
//
//	fsx.Run(fsx.Options{Path: "/mnt/file", Seed: 7, Ops: 100000})
//
// The same seed makes the same operations. When something is not as it must be, Run
// returns an error with the seed, and with the last operations in their order. Ops set
// to the number of the failed operation plays it again up to there.
//
// What a file system cannot do (a kernel's 9P client has no message for punch, and
// with cache=none no shared mapping) is done by reads and writes instead, and counted
// in Result.Replaced, so that nobody takes it for tested.
//
// The tests of this package run on a temporary directory, or with -fsx.dir on any
// other: built as fsx.test they run in a guest, on a mount.
package fsx
