// Package catalog says what is where: inodes, directories, extended attributes,
// bmaps, volumes and jobs, as typed records in an ordered key-value store. It
// knows nothing of the cache or of tape. docs/catalog.md has every key and
// record byte by byte.
//
// # Layers
//
//	Catalog, Tx     typed records, numbers that never repeat
//	KV, Txn         get, scan, transaction with retry, sync; a distributed store can stand here
//	pebbleKV        KV on Pebble
//	stopFS          keeps failed writes from Pebble and stops the store
//
// # Reads and updates
//
// Update runs one at a time and is all or nothing; the writes of a transaction
// are collected in an indexed batch. View takes no lock and no snapshot: each
// read in it sees the state committed at its moment.
//
// # What survives a crash
//
// Updates become durable in their order: a crash keeps a prefix of them, and
// Sync makes all durable that had returned before it was called. File numbers
// are reserved on disk in ranges before they are handed out, so none repeats,
// even if the Update that took it is lost.
//
// # Failed writes
//
//	running --a write to disk fails--> stopped --Close, Open--> running
//
// After a failed write nobody can say what the disk holds. So the first one
// stops the catalog: every later Update and Sync returns ErrStopped with the
// cause, reads go on, and nothing more is written. An Update or Sync that
// returned before is not touched by it; of one that returned ErrStopped the
// outcome is known after the next Open.
//
// # Lock order
//
//	idRange.fillMu
//	  pebbleKV.txnMu
//	    idRange.mu
//	    pebbleKV.memMu
//	      stopper.mu
//
// Pebble's own locks come after txnMu and before memMu.
package catalog
