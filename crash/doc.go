// Package crash kills the server under load, again and again, and checks after
// each restart what was promised. It has nothing but the test.
//
// # How
//
// The test starts itself as a child that serves an archive with a small cache
// and an emulated library, on a unix socket. Several writers load it over 9P:
// they write in place, truncate, fsync, replace files (write another, fsync,
// rename), and start archives, evictions and recalls. Then the child gets SIGKILL:
// after a random number of requests, or by itself at a stop point: before or after
// the n-th WRITE, READ, LOCATE, filemark, index record, move of a cartridge, or
// some way into its start. All rounds use the same state, so that damage adds up.
//
// # What is checked
//
//   - a byte is what the last confirmed fsync saw, or what a later request wrote,
//     whether it was answered or not;
//   - a size lies between those that the file has had since that fsync;
//   - a file that is only ever replaced by rename holds one version whole: the last
//     one that an fsync has confirmed since, or a later one;
//   - nothing gives EIO, and the child ends by SIGKILL alone;
//   - now and then, all of this after everything was archived and evicted.
//
// # Upkeep
//
// TestCrashKeeping (keep_test.go) kills the server while it empties a volume, makes second copies, replaces a bad copy, or
// copies a suspect volume away: at each write to a tape and to the catalog's log, before it and after it. After a
// restart all is there, what was begun ends, every copy that is named can be read, and all is there still when scratch
// volumes have been formatted and written. CI takes a sample; SLIOD_CRASH_KEEPING=all takes all, SLIOD_CRASH_KEEPING=N so many.
//
// A kill leaves the page cache of the kernel alone: what a loss of power does is
// tested in packages cache, catalog and virtual.
//
// SLIOD_CRASH_ROUNDS is the number of rounds, SLIOD_CRASH_SEED repeats the
// choices of a run (not its timing).
package crash
