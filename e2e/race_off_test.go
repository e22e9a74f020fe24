//go:build !race

package e2e

// raceArgs are what `go build` gets for the server.
var raceArgs []string

// rounds is how often TestNothingWaits does each operation while a read waits for tape.
const rounds = 1000
