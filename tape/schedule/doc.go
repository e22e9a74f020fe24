// Package schedule decides which volume a drive serves next, and in which
// order the slivers of one volume are read. It is pure: no goroutine, no clock,
// no tape. The caller (package mover) holds its own lock around every call and
// says what time it is.
//
// # Order on a volume
//
// Recalls of one volume are served in passes from the begin of the tape to its
// end, in the order of partition, block and offset in the block:
//
//	head ----------->
//	|   .  .  [ running pass:  o   o o    o ]
//	|[ next pass: o o ]
//
// What is added in front of the head joins the running pass, so that a reader
// who asks for the next sliver keeps the drive streaming. What is added behind
// it waits for the next pass. A pass ends at the end of the tape at the latest,
// so nothing starves. The drive's own recommendation (RAO), or a model of wraps,
// can later stand behind the same Queue.
//
// # Choice of a volume
//
// An exchange of cartridges costs more than a minute. A Demand is the work that
// waits for one volume. The most urgent Class that waits has its turn, unless another
// starves. Of the demands of a class, Policy weighs how long the oldest request has
// waited with how much work one mount would do. A demand that has waited longer than
// MaxWait goes before all that have not, the oldest first; so none starves, and
// a mounted volume with endless work must go after its Turn. Classes does the same
// for the requests of one volume.
package schedule
