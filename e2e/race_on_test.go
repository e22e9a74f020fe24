//go:build race

package e2e

// raceArgs are what `go build` gets for the server.
var raceArgs = []string{"-race"}

// tapeSpeed is the library's speed in TestNothingWaits: with the race detector a
// real drive would be done before its operations are.
const tapeSpeed = "0.01"
