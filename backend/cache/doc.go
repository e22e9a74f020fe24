// Package cache is the page cache: a preallocated, mapped file (the arena), cut
// into slots that hold slivers, and a table of checksummed slot records beside it,
// so that a restart finds the cache warm. It knows the states of slivers, the
// requests that wait for them, and which slots may be given out again. It knows
// nothing of the catalog, of tape, or of names and sizes of files.
//
// # Words
//
// A chunk is 1 MiB of the arena: one whole slot, or cut into slots of 4, 16, 60 or
// 252 KiB behind a header with their records. A slot is one allocation of a place;
// its seq is never used again. A pin is a reader's reference to a slot. A staged
// write is one whose bytes are in the slot of a faulting sliver already. A slot is
// named if the catalog on disk may call it the only place of some content.
//
// # States
//
// See package sliver for the table. A sliver without an entry here is a hole or
// absent, which only the caller knows (Behind). All moves go through Cache.move.
//
//	        Write                        BeginArchive
//	hole ----------> dirty <==========================> archiving
//	                 ^  ^     written meanwhile, failed     |
//	 Deliver with    |  | Write, Truncate                   | EndArchive
//	 staged writes   |  +------------------- clean <--------+
//	                 |          Deliver      ^   |
//	absent ------> faulting -----------------+   | Evict
//	   ^   Read,     |                           |
//	   |   Write     | Fail, DropFault           |
//	   +-------------+---------------------------+
//
// # Locks
//
//	the caller's locks of the file
//	  file.syncMu           one SyncFile of a file at a time; held during I/O
//	    entry.wmu           one change of a resident sliver's bytes at a time; held during I/O
//	      Cache.recMu[i]    one record write of a chunk at a time; a write to the page cache
//	        Cache.mu        all tables; never during I/O or copying
//	          what Events.Merged and TruncateFile's function take
//
// Slots' reference counts are atomic: they grow under mu only, and shrink anywhere.
// Effects on others (Events but for Merged, wakes, record writes) are collected in
// a post under mu and done after it is released. The package starts no goroutine
// but that of a timer (awaitDue).
//
// # Parked requests
//
// A parked request is its vfs.Waiter in one list: of the faulting sliver, or of
// those that wait for a slot. A write is staged if it overlaps none that waits, else
// it keeps its first bytes and is done short, in order, when the fault is over.
// Whoever brings a fault's last bytes ends it: the mover, the write that covers what
// was missing, or the last of the writes that were still being copied when the
// mover was done. So nobody ever blocks on anybody's copy.
//
// # Eviction
//
// S3-FIFO (Yang et al., SOSP 2023): a small queue for newcomers, a main queue for
// those that were read more than once in it, and a ghost list of keys that small let
// go and that enter main when they return. One pass over a large file flows through
// small and leaves main alone, and a hit costs one counter and no list move. Two
// changes: a sliver that was delivered to waiters is passed over until it was read as
// often, or for five seconds; and small slots are evicted by whole chunks when a
// larger slot is wanted. Only Clean, unpinned slivers are in the queues; the work of a
// search is bounded. Heads (head.go) are in a queue of their own.
//
// # What survives a crash
//
// Content that SyncFile has returned and the catalog has recorded survives anything:
// its slot is named, and not given out before the catalog says otherwise on disk
// (see Committed, EndArchive, ReleaseQuarantine). Clean content survives if its bytes
// still match their sum. All else is lost, as fsync(2) allows. The argument is in
// docs/cache.md. The kernel tells one sync of what it could not write of all: a failed one is
// taken for everybody's (see distrust).
package cache
