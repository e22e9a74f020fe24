// Package virtual emulates a tape library below the command blocks: it takes
// the SCSI commands that package scsi sends to real devices, keeps records,
// filemarks, partitions, positions, mode pages and the medium's memory, answers
// sense data, takes a real drive's time (or none), and fails on demand. The
// driver above it is the one for real hardware.
//
// # Words
//
// An object is a record or a filemark; its block number is its place in the
// partition. The memory of a cartridge is what a real one keeps in its chip
// (MAM). A stop point is a call of the hook before or after a command.
//
// # A drive's medium
//
//	              move here              load time over
//	no medium ---------------> threading ---------------> ready
//	    ^                          |  LOAD waits for it     |  ^
//	    |                          v                        |  | LOAD
//	    +--------------------- ejected <--------------------+--+
//	       move away                         UNLOAD
//
// Ready after threading raises unit attention 28/00. A cartridge that cannot be
// opened goes from threading to ejected. Only an ejected cartridge can be moved
// away: else 5/53 02. After Open every device raises 29/00, and cartridges that were in
// drives thread again. A cleaning cartridge goes from threading to ejected too, and has
// cleaned the drive then.
//
// # Faults
//
// A Fault strikes at a command, at its stop point before or after: an answer, or an Effect. A
// fault script is a list of them. A device that is dead, away or without power gives no
// answer; all devices are reset when the library comes back.
//
// # What survives a crash
//
// What WRITE FILEMARKS (without IMMED, also with count 0), LOCATE, SPACE, REWIND or
// UNLOAD acknowledged is on disk: records first, by fdatasync, then the index entries that
// name them. What was written since is lost by a kill, as a drive's buffer is
// by a loss of power. An overwrite cuts the index, durably, before its
// first byte goes to the data file. The checks of index entries are chained; a torn tail of
// the index is cut off when the cartridge is loaded. The memory of a cartridge and
// the places of cartridges are files that are replaced as a whole. Records carry a CRC-32C
// that every read checks; what does not match is a medium error (3/11 00).
// docs/virtual-library.md has the bytes. Every change of a file goes through type file, where
// a test can watch it (WatchFiles).
//
// # Concurrency
//
// There are no goroutines. A device works on one command at a time: its turn
// is a token that the caller of Do holds. Order:
//
//	changer's turn (and Library.places) -> a drive's turn -> Library.mu
//
// Nothing blocks under Library.mu. Hooks are called with the device's turn.
//
// # Time
//
// With Speed 0 no clock is used. Else every motion and transfer takes the time of the
// model in package geometry, divided by Speed; writes run ahead by the drive's buffer, reads
// by what it can have read ahead. If a command's context ends, or the library
// closes, the pretended time ends at once, but the command is done.
package virtual
