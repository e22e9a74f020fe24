// Package pool says which volume belongs to which pool of the configuration, and has the
// pools' keys.
//
// A pool is a set of volumes, by patterns of barcodes. A pool that encrypts has a
// current key, with which its new volumes are written, and may have older ones, which are only
// good for reading. A key has an id, which is on tape with what it has encrypted, and so
// finds the key again; no id is ever given to another key.
//
// The current key of a file is read once, by New, so that a file that is changed later cannot
// give one id to two keys. Older keys are read when they are asked for. A command is run when
// a key of it is first asked for, and what it said is kept.
//
// Keys are in memory, and in no error, log or report. There is nothing on disk and no
// goroutine; methods may be called concurrently.
package pool
