//go:build !race

package e2e

// raceArgs are what `go build` gets for the server.
var raceArgs []string

// tapeSpeed is the library's speed in TestNothingWaits: that of real drives.
const tapeSpeed = "1"
