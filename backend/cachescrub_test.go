package backend

import (
	"bytes"
	"os"
	"testing"
	"time"

	"sliod/tape/virtual"
)

func TestScrubStep(t *testing.T) {
	for _, tc := range []struct {
		size  int64
		every time.Duration
		step  time.Duration
		bytes int64
	}{
		{10e12, 30 * 24 * time.Hour, time.Second, 3858024},
		{1 << 30, 1024 * time.Hour, time.Hour, 1 << 20},
		{16 << 20, time.Second, time.Second, 16 << 20},
	} {
		if step, bytes := scrubStep(tc.size, tc.every); step != tc.step || bytes != tc.bytes {
			t.Errorf("%d bytes in %v: %d bytes every %v", tc.size, tc.every, bytes, step)
		}
	}
}

// TestCacheScrub has the disk of the cache change a byte: it is found, and the file is read from
// tape.
func TestCacheScrub(t *testing.T) {
	w := newWorld(t, func(o *Options, _ *virtual.Config) { o.CacheScrub = time.Second })
	content := pattern(1, 1<<20)
	w.put("f", content)
	w.job(JobArchive, "/")
	logged := w.logged()
	arena, err := os.ReadFile(w.opts.Dir + "/cache/arena")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(w.opts.Dir+"/cache/arena", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(arena, content)
	if at < 0 {
		t.Fatal("the content is not in the cache")
	}
	if _, err := f.WriteAt([]byte{content[7] ^ 1}, int64(at+7)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the scrubber finds it", func() bool { return logged.has("cached sliver is not what its checksum says") })
	if got := w.state("f"); got != string(Migrated) {
		t.Errorf("f is %s", got)
	}
	w.wantContent("f", content)
}
