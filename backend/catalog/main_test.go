package catalog

import (
	"testing"

	"go.uber.org/goleak"
)

// Pebble's goroutines must be gone after Close.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
