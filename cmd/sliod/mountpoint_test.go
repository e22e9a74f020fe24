package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestOurMount: what somebody has mounted on the directory of a mount is told from that.
func TestOurMount(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink("/proc", link); err != nil {
		t.Fatal(err)
	}
	proc := mountpointOf(link)
	proc.mounted()
	if proc.device == "" || proc.dir != link {
		t.Errorf("a link to /proc is %+v", proc)
	}
	for _, c := range []struct {
		m    mountpoint
		want bool
	}{
		{proc, true},
		{mountpoint{real: "/proc", device: proc.device + "1"}, false}, // another one
		{mountpoint{real: dir, device: proc.device}, false},           // nothing is there any more
		{mountpoint{real: dir}, true},                                 // nobody could say
	} {
		if got := c.m.ours(); got != c.want {
			t.Errorf("%+v: %v", c.m, got)
		}
	}
}

func TestUnescapeMount(t *testing.T) {
	for in, want := range map[string]string{
		"/mnt": "/mnt", `/a\040b\134`: `/a b\`, `\011\012x`: "\t\nx", `/a\04`: `/a\04`, `\999`: `\999`, "": "",
	} {
		if got := unescapeMount(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
