//go:build !race

package e2e

// raceArgs are what `go build` gets for the server.
var raceArgs []string
