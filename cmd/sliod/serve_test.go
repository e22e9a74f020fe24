package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"sliod/backend/config"
)

// awaitText waits until the buffer holds text.
func awaitText(t *testing.T, b *lockedBuffer, text string) {
	t.Helper()
	for !strings.Contains(b.String(), text) {
		select {
		case <-b.written:
		case <-t.Context().Done():
			t.Fatalf("no %q in %s", text, b)
		}
	}
}

func TestServe(t *testing.T) {
	dir := shortDir(t)
	file := filepath.Join(dir, "sliod.toml")
	if err := os.WriteFile(file, []byte("[cache]\nsize = \"64MiB\"\n[log]\nlevel = \"error\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, out, stderr := newApp()
	fake := newFake(&fakeAdmin{})
	var got *config.Config
	var listens []string
	a.open = func(_ context.Context, cfg *config.Config, _ string, listen []string, _ *logrus.Entry) (archive, error) {
		got, listens = cfg, listen
		return fake, nil
	}
	sock := socketPath(dir)
	done := make(chan int)
	go func() {
		done <- a.run(t.Context(), []string{"serve", "--config", file, "--state", dir, "--listen", "tcp:127.0.0.1:0", "--listen", "unix:" + sock, "--http", "127.0.0.1:0"})
	}()
	awaitText(t, out, "Ctrl-C stops")
	if got.Cache.SizeBytes != 64<<20 || len(listens) != 2 || strings.HasSuffix(listens[0], ":0") {
		t.Errorf("opened with %+v, %v", got.Cache, listens)
	}
	text := out.String()
	for _, want := range []string{
		`sliod .* serves the archive in ` + dir + `\n`, `listening on tcp:127\.0\.0\.1:\d+\n`, `listening on unix:` + sock + `\n`, `listening on http://127\.0\.0\.1:\d+\n`,
		`mount -t 9p -o trans=tcp,port=\d+,version=9p2000\.L,msize=1048576,access=user 127\.0\.0\.1 /mnt\n`,
		`mount -t 9p -o trans=unix,version=9p2000\.L,msize=1048576,access=user ` + sock + ` /mnt\n`, `sliod --state ` + dir + ` status\n`, `sliod --state ` + dir + ` archive --wait /\n`, `diodls -s 127\.0\.0\.1:\d+ -a / -l\n`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	for path, want := range map[string]string{"/healthz": "ok\n", "/status": `"pid": 42`} {
		url := regexp.MustCompile(`http://\S+`).FindString(text) + path
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s, %s, %v", path, resp.Status, body, err)
		}
	}
	http.DefaultClient.CloseIdleConnections()

	for _, server := range listens {
		if status, stdout, stderr := command(t, "status", "--server", server); status != exitDone || !strings.Contains(stdout, "process 42") {
			t.Errorf("status at %s: %d, %s", server, status, stderr)
		}
	}
	status, _, errText := command(t, "serve", "--state", dir, "--listen", "tcp:127.0.0.1:0")
	if want := fmt.Sprintf("is in use by another server: pid %d;", os.Getpid()); status != exitFailed || !strings.Contains(errText, want) {
		t.Errorf("a second server: status %d, %s", status, errText)
	}
	other := shortDir(t)
	status, _, errText = command(t, "serve", "--state", other, "--listen", "unix:"+sock)
	if status != exitFailed || !strings.Contains(errText, "another") {
		t.Errorf("a second server on the socket: status %d, %s", status, errText)
	}
	status, _, errText = command(t, "serve", "--state", other, "--listen", listens[0])
	if status != exitFailed || !strings.Contains(errText, "another program does") {
		t.Errorf("a second server on the port: status %d, %s", status, errText)
	}

	a.signals <- os.Interrupt
	if status := <-done; status != exitDone || !fake.closed {
		t.Errorf("status %d, closed %v, %s", status, fake.closed, stderr)
	}
	if _, err := os.Stat(sock); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
	// The directory is free again; this server's archive cannot be opened.
	if status, _, errText := command(t, "serve", "--state", dir, "--listen", "tcp:127.0.0.1:0"); status != exitFailed || !strings.Contains(errText, "no archive in") {
		t.Errorf("after the stop: status %d, %s", status, errText)
	}
}

func TestServeRefuses(t *testing.T) {
	dir := shortDir(t)
	bad, long := filepath.Join(dir, "bad.toml"), filepath.Join(dir, strings.Repeat("x", 120))
	if err := os.WriteFile(bad, []byte("[cache]\nsize = \"1KiB\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"no file", []string{"--config", filepath.Join(dir, "none.toml")}, exitFailed, "read the configuration: open "},
		{"bad file", []string{"--config", bad}, exitFailed, bad + `:2: cache.size: "1KiB" cannot be used: it is out of range (allowed: 16MiB to 1PiB; default: "1GiB")`},
		{"long path", []string{"--state", long, "--listen", "unix:" + socketPath(long)}, exitFailed, "no archive in xxx"}, // so it listens there
		{"a file", []string{"--state", bad, "--listen", "tcp:127.0.0.1:0"}, exitFailed, "make the state directory"},
		{"all the world", []string{"--state", dir, "--listen", "tcp:0.0.0.0:0"}, exitUsage, "loopback"},
	} {
		status, _, stderr := command(t, append([]string{"serve"}, tc.args...)...)
		if status != tc.status || !strings.Contains(stderr, tc.want) {
			t.Errorf("%s: status %d, %s", tc.name, status, stderr)
		}
	}
}

func TestHTTPIsForLoopback(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "8080", "192.0.2.1:80", "[::]:0", "example.org:80"} {
		if _, err := listenHTTP(addr); err == nil || !strings.Contains(err.Error(), "--http "+addr) {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestDefaultStateDir(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/x/state")
	want := "/x/state/sliod"
	if os.Geteuid() == 0 {
		want = "/var/lib/sliod"
	}
	if got := defaultStateDir(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
