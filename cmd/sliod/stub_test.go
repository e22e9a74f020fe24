package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sliod/backend/cache"
	"sliod/backend/config"
)

// The configuration takes the stubs that the cache has slots for, and no others.
func TestStubSizes(t *testing.T) {
	for _, n := range cache.StubSizes() {
		c, err := config.Parse("f.toml", fmt.Appendf(nil, "[cache]\nstub = %d\n", n))
		if err != nil || c.Cache.StubBytes != int64(n) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	keys := config.Keys()
	i := slices.IndexFunc(keys, func(k config.Key) bool { return k.Name() == "cache.stub" })
	if i < 0 {
		t.Fatal("no key cache.stub")
	}
	if n := len(strings.Split(keys[i].Allowed(), ", ")); n != len(cache.StubSizes()) {
		t.Errorf("the configuration takes %s, and the cache %v", keys[i].Allowed(), cache.StubSizes())
	}
}
