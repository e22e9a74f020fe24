package guest_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sliod/guest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestScripts boots one guest and shows what Sh promises.
func TestScripts(t *testing.T) {
	var streamed bytes.Buffer
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m := guest.Boot(t, guest.Options{Output: &streamed, Files: map[string]string{"/data/file": file}})
	for _, tc := range []struct {
		name, script, output string
		status               int
	}{
		{"nothing", "", "", 0},
		{"output and status", "echo out; echo err >&2; exit 7", "out\nerr\n", 7},
		{"a file of the host", "cat /data/file", "from the host\n", 0},
		{"no newline at the end", "printf abc", "abc", 0},
		{"bytes like a mark", `printf 'a\036b\0360 0\n'`, "a\x1eb\x1e0 0\n", 0},
		{"killed by a signal", "kill -9 $$", "Killed\n", 137},
		{"no standard input", "cat", "", 0},
		{"a syntax error", "if", "", 2},
		{"9p and tape modules", "grep -c 9p /proc/filesystems; for m in st sg ch; do grep -c ^$m' ' /proc/modules; done", "1\n1\n1\n1\n", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := m.Sh(t.Context(), tc.script)
			if err != nil {
				t.Fatal(err)
			}
			if r.Status != tc.status || tc.output != "" && r.Output != tc.output {
				t.Errorf("got %q, status %d, want %q, status %d", r.Output, r.Status, tc.output, tc.status)
			}
		})
	}
	t.Run("a megabyte", func(t *testing.T) {
		out := m.Must(t, "yes 0123456789abcde | head -c 1048576")
		if len(out) != 1<<20 {
			t.Errorf("got %d bytes", len(out))
		}
	})
	t.Run("streamed", func(t *testing.T) {
		if !strings.Contains(streamed.String(), "from the host\n") || strings.Contains(streamed.String(), " 137\n") {
			t.Error("the output was not streamed, or a mark was")
		}
	})
	t.Run("a guest that ends by itself", func(t *testing.T) {
		if _, err := m.Sh(t.Context(), "poweroff -f"); err == nil || !strings.Contains(err.Error(), "QEMU has ended") {
			t.Errorf("got %v", err)
		}
		if _, err := m.Sh(t.Context(), "true"); err == nil {
			t.Error("a script ran in a guest that has ended")
		}
	})
}

// TestCancel ends a boot and a script by their contexts.
func TestCancel(t *testing.T) {
	guest.Require(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if m, err := guest.Start(ctx, guest.Options{}); err == nil {
		m.Close()
		t.Error("the guest booted in 50 ms")
	}
	if _, err := guest.Run(t.Context(), "true", guest.Options{Bins: []string{"/nonexistent"}}); err == nil {
		t.Error("a program that does not exist was put into a guest")
	}
	if _, err := guest.Run(t.Context(), "true", guest.Options{QEMU: []string{"-device", "no-such-device"}}); err == nil ||
		!strings.Contains(err.Error(), "no-such-device") {
		t.Errorf("QEMU's own message is missing: %v", err)
	}
}
