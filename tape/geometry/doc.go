// Package geometry is the one model of where data lie on a tape and of the time that a drive takes to
// get there. The emulated library takes its time from it (package virtual), and the
// order of recalls and the estimates of when they will be done rest on it (package schedule), so
// that what is planned and what is emulated agree.
//
// # Words
//
// A tape is written in wraps: down the whole length and, on the next wrap, back. Even wraps
// run forward. An Offset is a byte on the tape, counted along the wraps from the begin of the
// first. A Spot is an Offset as wrap and metres. A fourth of the wraps is a band; between
// bands the head moves further. A Map knows which Offset a block of a volume has.
//
//	              0 m                                        970 m
//	wrap 0        |------------------------------------------->|
//	wrap 1        |<-------------------------------------------|
//	wrap 2        |------------------------------------------->|
//
// # The model
//
// A locate takes 4 s, 2.5 s for each turn of direction, the time to wind (4 m/s^2 up to 13 m/s), and
// something for another wrap and another band. Less than 1 m ahead on the same wrap is passed
// at reading speed: the drive just reads on. The constants were fitted to published averages of
// LTO-9: they are good for ranking orders, and not for claims about hardware. Models
// of this kind: Sandstå and Midtstraum, Low-cost access time model for serpentine tape drives, MSS 1999. They map single
// cartridges by measuring; here READ END OF WRAP does (Map).
//
// All is pure: values without state, safe for concurrent use.
package geometry
