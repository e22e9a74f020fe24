// Package mover is the only place where cache meets tape: it archives dirty
// slivers and recalls absent ones.
//
// # Words
//
// A recall is a fault of the cache on its way through the mover. A batch is what
// is written to one volume between two flushes. A target is a volume that a
// batch can be appended to.
//
// # Goroutines
//
// Each drive has one owner goroutine; only it uses the tape.Drive and the
// ltfs.Volume in it. It asks next what to do, does one step (one sliver, one
// batch, one exchange), and asks again, so that a new recall joins the running
// pass at the next sliver. One more goroutine, the clerk, asks Files where the
// slivers of new recalls lie: the cache's events come with locks held and must
// not wait. All end at Close.
//
//	Recall --> inbox --clerk: Locate--> queue of a volume --owner: read, verify--> Deliver
//	             ^                            |  ^
//	             |  another copy, another     |  | SpaceFreed, or a batch was committed
//	             +------ drive: failover -----+--+--> aside (no slot in the cache)
//
// # States of a drive
//
//	empty -> mounting -> idle <-> reading | writing
//	idle  -> unmounting -> empty
//	any   -> busy -> idle | empty        lent to a use (UseVolume)
//	empty | idle -> cleaning -> empty    a cleaning cartridge is in it
//	empty -> blocked -> empty            the library cannot use it
//	any   -> failed              two volumes failed in it (strike.go), or it is gone
//
// # Others move cartridges, too
//
// What is where is asked of the library before each fetch and each way home (inventory). A
// volume that a drive has, or that is being carried, is placed by its owner only: a report that
// was begun before its last move is stale (Mover.moves). The moves of imports and
// exports that need no drive are made by their callers; they claim the volume by
// volume.moving.
//
// # Lock order
//
//	backend's locks (Recall, Unwanted, SpaceFreed, Archive are called with them held)
//	  Mover.recording, Mover.publishMu
//	    Mover.mu
//
// Mover.mu is a leaf: no call to Files, catalog, cache or tape is made with it
// held.
//
// # What survives a crash
//
// The order is: data on the medium (Flush returned nil), then the catalog names
// it and is synced (Files.Archived), then the sliver is clean. A crash before
// the first leaves bytes on tape that nobody names; before the second the
// same; before the third the sliver is archived though the cache calls it
// dirty. The LTFS index lags behind the catalog, by Config.IndexBytes and
// Config.IndexInterval at most. At mount the end of data on the medium is compared
// with the catalog's record, and an index that lacks committed data is written
// anew from the catalog. Nothing of the mover itself is kept on disk.
//
// # No deadlock with a full cache
//
// A recall reserves its slot before the tape is moved for it. If there is none
// it is put aside, and costs its volume's queue nothing; archive work is urgent
// then, and takes the drive at once, even if it is the only one. What it makes
// clean can be evicted, and the recalls put aside come back.
package mover
