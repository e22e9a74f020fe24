// Package schedule decides which volume a drive serves next, and in which
// order the slivers of one volume are read. It is pure: no goroutine, no clock,
// no tape. The caller (package mover) holds its own lock around every call and
// says what time it is.
//
// # Order on a volume
//
// A Queue holds the recalls of one volume. Its Planner knows where blocks lie on the tape and how long the
// drive takes from one place to the next (package geometry), and has a Goal: least total time, least mean
// wait, or just by block. Requests that the drive reads in one go, as each begins where the last one ends or a
// little behind, are a run, and runs are put in order (package order).
//
//	head --> run --> run --> run --> run |  next pass: what came too late
//	         `-- new requests are put in where they cost least --'
//
// What is new joins a run, or becomes one at the place in the plan where it costs least; what is being read is
// read to its end first, so that a reader who asks for the next sliver keeps the drive
// streaming. When much is new the whole is put in order again: Stale says when, and the caller chooses
// whether under its lock (Replan) or, as it takes up to 100 ms, beside it: Plan, Batch.Solve, Adopt.
//
// A drive that recommends an order itself (RAO) can take the place of Solve: the caller asks it for the order
// of Stops, and gives that to Recommend. It knows its medium better than the model, and has only the goal
// of the least time. How it finds its order is not published, so Dearer compares it with the model's own: what is
// much dearer than that is not due to what the drive knows better. What comes later is put into its order by the
// model; when Stale says so again, the caller asks the drive again.
//
// # Nobody waits for ever
//
// A request that has waited for longer than Planner.MaxWait is overdue. As long as one is, a pass that
// has begun is closed: new requests wait for the next pass, but for those whose time fits into an allowance of
// LateGrace a pass and LateShare of the time that the pass has taken till then. So whoever is overdue is passed over at
// most by
//
//  1. what is in the running pass when it becomes overdue,
//  2. if it is not in that pass: what is in the queue when that pass ends, which is the next pass,
//  3. what the allowances of these two passes take: a minute each, and a quarter of their time.
//
// Under this rule a batch that takes hours keeps its good order, though all of it is overdue.
//
// # Estimates
//
// ETA tells for each request when it will be done by the plan. It is asked for cheaply: the plan is timed
// once after each change, which costs a few nanoseconds a run.
//
// # Choice of a volume
//
// An exchange of cartridges costs more than a minute. A Demand is the work that
// waits for one volume. The most urgent Class that waits has its turn, unless another
// starves. Of the demands of a class, Policy weighs how long the oldest request has
// waited with how much work one mount would do. A demand that has waited longer than
// MaxWait goes before all that have not, the oldest first; so none starves. A mounted volume is read to its end before
// a demand of its class, and a little rest before any other (Decide), but one with endless work must go after some
// turns (Patience, Stay). Classes does the same
// for the requests of one volume.
package schedule
