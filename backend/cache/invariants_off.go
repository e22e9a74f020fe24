//go:build !invariants

package cache

// invariants says whether a broken rule of the cache ends the process.
const invariants = false

func crash(string) {}

var poisoned []byte
