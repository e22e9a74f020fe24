// Package simulate lets a tape library do the work of a trace, by the server's own decisions
// (package schedule) and the model of motion (package geometry), and says how long requests
// wait and what the drives do meanwhile. A year takes seconds. All is pure: no goroutines, no clock, no tape.
//
// # Events
//
//	Add(request): time goes on until it comes ----> it waits in the queue of its volume
//	                  |
//	                  +--> drives end their steps, in the order of time; each asks what it does
//	                       next (decide.go), and begins that
//	Finish: time goes on until nothing waits -----> Result
//
// What happens at the same instant happens in a fixed order: requests come first, in their
// order, then drives end their steps, by number. So the same trace gives the same result.
//
// # Memory
//
// Only requests that wait are kept. Waits go into a Histogram, what happens over time into a Series, which
// have the same size whatever is added. So memory is bounded by Config.MaxWaiting and the number
// of volumes, not by the length of the trace.
//
// # What is not in the model
//
// No cache (the trace has what must come from tape), no failures, no cleaning, no host that is slower
// than a drive. docs/simulate.md says more. The times are fitted and not measured: good for
// ranking policies, not for claims about hardware.
package simulate
