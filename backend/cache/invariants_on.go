//go:build invariants

package cache

import (
	"bytes"
	"runtime/debug"
)

// invariants says whether a broken rule of the cache ends the process.
const invariants = true

// crash is a panic that nobody recovers: who did would go on, and wait for ever for the
// locks that the caller holds.
var crash = func(why string) {
	why += "\n\n" + string(debug.Stack())
	go func() { panic(why) }()
	select {}
}

// poisoned is a chunk of poison, see poison.go.
var poisoned = bytes.Repeat([]byte{poisonByte}, chunkSize)
