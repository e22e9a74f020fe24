// Package backend is the archive: a POSIX file tree whose data lives in slivers
// of 1 MiB, in the page cache (backend/cache), on tape (backend/mover), or both.
// What is where is in the catalog (backend/catalog). FS implements vfs.FS for
// the server and Admin for the control tree.
//
// # The way of a request
//
//	file.ReadAt, WriteAt (file.go)      which sliver, and what stands behind it
//	  cache.Read, Write                 resident: done. absent: parked, and a fault
//	    events.Fault (events.go)        the mover is told
//	      files.Locate (files.go)       the mover asks where the sliver is on tape
//	    cache.Deliver                   the sliver is there: merge, wake
//	  events.Merged                     the size grows with the data of a parked write
//
// Archiving goes pending.go -> mover -> files.Plan -> cache.BeginArchive -> tape
// -> files.Archived -> cache.EndArchive.
//
// # Locks, in the order in which they are taken
//
//	FS.ns             a change of names
//	  inode.mu        a change of one file's data, or a commit of its records
//	    FS.countMu    an update that makes or removes files, whose number it writes
//	    catalog.Update (its own lock)
//	    cache (its own lock)
//	      inode.am    attributes: a leaf, the cache calls back to it
//	        inodeSet.mu, pendingSet.mu: leaves
//	pathJob.recording a change of a job's record; FS.pinMu, job.mu and the catalog come after it
//	inode.syncMu      one sync of a file at a time; before inode.mu
//	inodeTable.mu     finding inodes; reads the catalog
//
// None of them is ever held while waiting for tape, and only syncMu and recording
// while waiting for the disk.
//
// # What a crash leaves
//
// The catalog is a prefix of the changes made, at least up to the last sync. A
// file's size, and the slots that hold its dirty slivers, reach the catalog only
// after the data is on disk; so the catalog never names what is not there. At
// start the catalog decides which slots of the cache are still meant (recover.go).
// A slot that the durable catalog names as the only copy of something is not used
// again before a later durable record says otherwise: the cache keeps it in
// quarantine until syncAll has synced the catalog.
package backend
