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

// kinds runs a test on an emulated machine and in user mode.
func kinds(t *testing.T, test func(t *testing.T, userMode bool)) {
	t.Run("emulated", func(t *testing.T) { test(t, false) })
	t.Run("user mode", func(t *testing.T) { test(t, true) })
}

// TestScripts boots one guest of each kind and shows what Sh promises.
func TestScripts(t *testing.T) { kinds(t, testScripts) }

func testScripts(t *testing.T, userMode bool) {
	var streamed bytes.Buffer
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m := guest.Boot(t, guest.Options{UserMode: userMode, Output: &streamed, Files: map[string]string{"/data/file": file}})
	modules := "for m in st sg ch; do grep -c ^$m' ' /proc/modules; done"
	loaded, ended := "1\n1\n1\n", "QEMU has ended"
	if userMode {
		modules, loaded, ended = "grep -c ^fuse' ' /proc/modules", "1\n", "the kernel in user mode has ended"
	}
	for _, tc := range []struct {
		name, script, output string
		status               int
	}{
		{"nothing", "", "", 0},
		{"output and status", "echo out; echo err >&2; exit 7", "out\nerr\n", 7},
		{"a file of the host", "cat /data/file", "from the host\n", 0},
		{"no newline at the end", "printf abc", "abc", 0},
		{"bytes like a mark", `printf 'a\036b\0360 0\n'`, "a\x1eb\x1e0 0\n", 0},
		{"bytes that a terminal knows", `printf '\003\004\r\n\021\023\177\n'`, "\x03\x04\r\n\x11\x13\x7f\n", 0},
		{"killed by a signal", "kill -9 $$", "Killed\n", 137},
		{"no standard input", "cat", "", 0},
		{"a syntax error", "if", "", 2},
		{"a long script", "echo end #" + strings.Repeat("x", 10_000), "end\n", 0},
		{"9p and other modules", "grep -c 9p /proc/filesystems; " + modules, "1\n" + loaded, 0},
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
		if out != strings.Repeat("0123456789abcde\n", 1<<16) {
			t.Errorf("got %d bytes, or others", len(out))
		}
	})
	t.Run("streamed", func(t *testing.T) {
		if !strings.Contains(streamed.String(), "from the host\n") || strings.Contains(streamed.String(), " 137\n") {
			t.Error("the output was not streamed, or a mark was")
		}
	})
	t.Run("a guest that ends by itself", func(t *testing.T) {
		if _, err := m.Sh(t.Context(), "poweroff -f"); err == nil || !strings.Contains(err.Error(), ended) {
			t.Errorf("got %v", err)
		}
		if _, err := m.Sh(t.Context(), "true"); err == nil {
			t.Error("a script ran in a guest that has ended")
		}
	})
}

// TestCancel ends a boot and a script by their contexts.
func TestCancel(t *testing.T) {
	kinds(t, func(t *testing.T, userMode bool) {
		guest.Require(t, userMode)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if m, err := guest.Start(ctx, guest.Options{UserMode: userMode}); err == nil {
			m.Close()
			t.Error("the guest booted in 50 ms")
		}
		if _, err := guest.Run(t.Context(), "true", guest.Options{UserMode: userMode, Bins: []string{"/nonexistent"}}); err == nil {
			t.Error("a program that does not exist was put into a guest")
		}
	})
	if _, err := guest.Run(t.Context(), "true", guest.Options{QEMU: []string{"-device", "no-such-device"}}); err == nil ||
		!strings.Contains(err.Error(), "no-such-device") {
		t.Errorf("QEMU's own message is missing: %v", err)
	}
	if _, err := guest.Start(t.Context(), guest.Options{UserMode: true, QEMU: []string{"-device", "sga"}}); err == nil {
		t.Error("a device of QEMU in user mode")
	}
}
