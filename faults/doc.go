// Package faults breaks the tape library, one command at a time, and checks what
// was promised afterwards. It has nothing but tests.
//
// # Every command fails
//
// TestEveryCommandFails runs a fixed script on the whole archive (catalog, cache,
// mover, LTFS, SCSI) over the emulated library: format, archive, evict, recall,
// read-prep-write, delete, attributes, index, unmount, restart. In run n the n-th
// command that any device gets fails: before it is done, or after, when only its
// answer is changed; once, or it and all that follow on that device; and that for
// each kind of failure in kinds_test.go. When a run gets to its end without a
// failure, n has passed the last command.
//
//	kinds_test.go     the ways to fail
//	injector_test.go  counts commands and has one fail
//	machine_test.go   an archive with its library, in a directory; what a client does with it
//	script_test.go    what each run does, and the model that says what it must see
//	inspect_test.go   the volumes, read with packages ltfs and ltfscheck alone, against the catalog
//	every_test.go     the runs
//	table_test.go     what came of them
//
// Each run ends with a restart on sound devices: then all confirmed data must be
// there and everything must work. The tapes are compared with the catalog last.
//
// # Time
//
// Runs take place in testing/synctest bubbles: pauses and timeouts of the drivers,
// minutes long on real devices, take no time, and a hang is found by a clock that
// only goes on when nothing else does. No test depends on how fast the machine is.
//
// # Power loss
//
// TestPowerLoss (power_test.go) watches each change of the library's files while the script
// runs. Before the n-th the whole machine stops: the library's files are left as a disk has
// them that lost its power (disk_test.go: some of what was not synced, the last write
// torn), the catalog and the cache as the kernel has them. A new machine starts from that.
//
// TestPowerLossKeeping (keep_test.go) does the same while a volume is emptied, files get second copies, a bad copy is replaced, or a
// suspect volume is copied away, and before each write to the catalog's log as well. Here the catalog loses what was not synced,
// too, and the cache all.
//
// # Again and again
//
// TestInterruptedAgain (again_test.go) has a server write, remove, empty, format and copy at random. It is stopped at a change
// of the library's files, the next one while it puts that in order, and the one after that; commands fail in some of these
// lives. Some runs have two copies, keys, or volumes of the pool "scratch". The last life, a rebuild from the tapes alone, and one that empties every volume, say what is left.
//
// # Drills
//
// TestDrills (drill_test.go) has clients work at random on a library with the times of real
// drives (client_test.go), for hours of the bubble's clock. Then something breaks by a fault script,
// as an operator would write one; the clients go on; it is repaired or the server starts again,
// and all that was acknowledged is compared.
//
// # Losing things for good
//
// gone_test.go: a drive with a volume inside, the arm, the whole library.
//
// # Running
//
// SLIOD_FAULTS=all runs the whole product (make faults), SLIOD_FAULTS=N a sample of N runs,
// whose seed is printed; SLIOD_FAULTS_SEED repeats it. SLIOD_FAULTS_KINDS=lost,timeout is for runs of some
// kinds of failure alone. What fails prints how it is run
// again alone, such as SLIOD_FAULTS_RUN="41 medium-write after once", which shows the log.
package faults
