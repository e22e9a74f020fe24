//go:build invariants

package cache

import "bytes"

// invariants says whether a broken rule of the cache is a panic.
const invariants = true

// poisoned is a chunk of poison, see poison.go.
var poisoned = bytes.Repeat([]byte{poisonByte}, chunkSize)
