//go:build race

package e2e

// raceArgs are what `go build` gets for the server.
var raceArgs = []string{"-race"}

// rounds is how often TestNothingWaits does each operation while a read waits for tape.
const rounds = 200

// tapeSpeed is the library's speed in TestNothingWaits: with the race detector a
// real drive would be done before its operations are.
const tapeSpeed = "0.01"
