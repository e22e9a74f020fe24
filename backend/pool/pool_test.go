package pool

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sliod/backend/config"
	"sliod/tape"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// secret is a key that can be looked for in texts.
func secret(first byte) []byte {
	b := []byte("\xc0\xff\xee\xc0\xff\xee is the key of the tests!!")
	b = append(b, make([]byte, 32-len(b))...)
	b[31] = first
	return b
}

func write(t *testing.T, name string, mode os.FileMode, text []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

// script makes a program.
func script(t *testing.T, text string) string {
	return write(t, filepath.Join(t.TempDir(), "key"), 0o700, []byte("#!/bin/sh\n"+text))
}

// noSecret looks that an error does not tell a key.
func noSecret(t *testing.T, err error) {
	t.Helper()
	text := strings.ToLower(fmt.Sprintf("%v %+v", err, err))
	if strings.Contains(text, "c0ffee") || strings.Contains(text, "is the key of") {
		t.Errorf("the key is in %s", text)
	}
}

func TestKeyFiles(t *testing.T) {
	hexed := []byte(hex.EncodeToString(secret(1)))
	for _, tc := range []struct {
		name string
		mode os.FileMode
		text []byte
		err  string
	}{
		{"hex", 0o600, hexed, ""},
		{"hex and a newline", 0o400, append([]byte("  "), append(hexed, "\r\n"...)...), ""},
		{"upper case", 0o600, []byte(strings.ToUpper(string(hexed))), ""},
		{"raw", 0o600, secret(1), ""},
		{"group", 0o640, hexed, "has mode 0640: others than its owner have access to it; change that with `chmod 600"},
		{"others", 0o604, hexed, "has mode 0604"},
		{"short", 0o600, hexed[:63], "it has 63 bytes: a key is 64 hex digits, or 32 bytes"},
		{"half", 0o600, hexed[:32], "it has 32 hex digits: 64 are needed"},
		{"no hex", 0o600, append([]byte("x"), hexed[1:]...), "it has 64 characters, which are not all hex digits"},
		{"raw and a newline", 0o600, append(secret(1), '\n'), "it has 33 bytes"},
		{"zeros", 0o600, []byte(strings.Repeat("0", 64)), "nothing but zeros"},
		{"empty", 0o600, nil, "it has 0 bytes"},
		{"huge", 0o600, make([]byte, 1<<20), "a key is 64 hex digits"},
	} {
		name := write(t, filepath.Join(t.TempDir(), "the-key"), tc.mode, tc.text)
		ps, err := New([]*config.Pool{{Name: "default", Encryption: "on", KeyID: "k", KeyFile: name}})
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "pool default: key_file") {
				t.Errorf("%s: %v", tc.name, err)
			}
			noSecret(t, err)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		k, err := ps.Source(ps.Of("A00001L9"))("")
		if err != nil || k.ID != "k" || string(k.Key[:]) != string(secret(1)) {
			t.Errorf("%s: %v, %v", tc.name, k, err)
		}
	}
	if _, err := New([]*config.Pool{{Name: "x", KeyFile: t.TempDir(), KeyID: "k"}}); err == nil || !strings.Contains(err.Error(), "is no file") {
		t.Errorf("a folder: %v", err)
	}
	if _, err := New([]*config.Pool{{Name: "x", KeyFile: "/no/such/key", KeyID: "k"}}); err == nil || !strings.Contains(err.Error(), "/no/such/key") {
		t.Errorf("no file: %v", err)
	}
	if _, err := New([]*config.Pool{{Name: "x", OldKeys: "/no/such/folder"}}); err == nil || !strings.Contains(err.Error(), "old_keys") {
		t.Errorf("no folder: %v", err)
	}
}

func TestPoolsOfVolumes(t *testing.T) {
	dir := t.TempDir()
	hexed := func(n byte) []byte { return []byte(hex.EncodeToString(secret(n))) }
	ps, err := New([]*config.Pool{
		{Name: "a", Volumes: []string{"A0*"}, Encryption: "on", KeyID: "a2", KeyFile: write(t, filepath.Join(dir, "a2"), 0o600, hexed(2)), OldKeys: filepath.Dir(write(t, filepath.Join(dir, "old", "a1"), 0o600, hexed(1)))},
		{Name: "b", Volumes: []string{"A*", "B?"}, Encryption: "off", KeyID: "b1", KeyFile: write(t, filepath.Join(dir, "b1"), 0o600, hexed(11))},
	})
	if err != nil {
		t.Fatal(err)
	}
	for b, want := range map[tape.Barcode]string{"A00001L9": "a", "A10001L9": "b", "B1": "b", "B12": "default", "": "default"} {
		if got := ps.Of(b); got != want {
			t.Errorf("volume %q is of pool %s, want %s", b, got, want)
		}
	}
	write(t, filepath.Join(dir, "old", "open"), 0o644, hexed(3))
	for _, tc := range []struct {
		volume tape.Barcode
		id     string
		want   byte // 0: none
		err    string
	}{
		{"A00001L9", "", 2, ""},
		{"A10001L9", "", 0, ""}, // off
		{"C", "", 0, ""},
		{"A00001L9", "a2", 2, ""},
		{"A00001L9", "a1", 1, ""},
		{"C", "a1", 1, ""}, // another pool's
		{"A00001L9", "b1", 11, ""},
		{"A00001L9", "gone", 0, `no pool has key "gone": put it into a file of that name in the folder of old_keys of [pool.a]`},
		{"A00001L9", "../b1", 0, `no pool has key "../b1"`},
		{"A00001L9", "open", 0, "has mode 0644"},
	} {
		k, err := ps.Source(ps.Of(tc.volume))(tc.id)
		switch {
		case tc.err != "":
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%+v: %v", tc, err)
			}
			noSecret(t, err)
		case err != nil || (k == nil) != (tc.want == 0) || k != nil && k.Key[31] != tc.want:
			t.Errorf("%+v: %v, %v", tc, k, err)
		}
	}
	// The current key is that of the start, whatever happens to the file.
	write(t, filepath.Join(dir, "a2"), 0o600, hexed(99))
	if k, err := ps.Source(ps.Of("A00001L9"))(""); err != nil || k.Key[31] != 2 {
		t.Errorf("a changed file: %v, %v", k, err)
	}
	var none *Pools
	if none.Of("A") != "" || none.Source("A") != nil {
		t.Error("no pools have some")
	}
}

func TestKeyCommand(t *testing.T) {
	counter := filepath.Join(t.TempDir(), "count")
	hexed := hex.EncodeToString(secret(5))
	for _, tc := range []struct{ name, text, err string }{
		{"good", "echo run >>" + counter + "; echo talk >&2; [ \"$SLIOD_KEY_ID\" = k -a \"$SLIOD_POOL\" = p -a \"$1\" = 'an $argument' ] && echo " + hexed, ""},
		{"fails", "echo 'no such token' >&2; echo " + hexed + "; exit 3", `: exit status 3; it said: no such token`},
		{"tells the key", "echo the key is " + hexed + " >&2; exit 1", "the key is [hex digits]"},
		{"says nothing", "exit 0", "is no key: it has 0 bytes: a key is 64 hex digits"},
		{"says too much", "echo " + hexed + hexed, "it has 129 bytes"},
		{"says raw", "printf '%s' '" + string(secret(0x41)[6:31]) + "1234567'", "it has 32 bytes: a key is 64 hex digits"},
	} {
		ps, err := New([]*config.Pool{{Name: "p", Volumes: []string{"*"}, Encryption: "on", KeyID: "k", KeyCommand: []string{script(t, tc.text), "an $argument"}}})
		if err != nil {
			t.Fatal(err)
		}
		k, err := ps.Source(ps.Of("A"))("")
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(tc.err, "is no key: ")) {
				t.Errorf("%s: %v", tc.name, err)
			}
			noSecret(t, err)
			continue
		}
		if err != nil || string(k.Key[:]) != string(secret(5)) || k.ID != "k" {
			t.Fatalf("%s: %v, %v", tc.name, k, err)
		}
		if k, err = ps.Source(ps.Of("A"))("k"); err != nil || k.Key[31] != 5 {
			t.Errorf("by its id: %v, %v", k, err)
		}
		if b, _ := os.ReadFile(counter); string(b) != "run\n" {
			t.Errorf("the command ran %d times", strings.Count(string(b), "run"))
		}
	}
	ps, err := New([]*config.Pool{{Name: "p", Volumes: []string{"*"}, Encryption: "on", KeyID: "k", KeyCommand: []string{"/no/such/program"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ps.Source(ps.Of("A"))(""); err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Error(err)
	}
	ps, err = New([]*config.Pool{{Name: "p", Volumes: []string{"*"}, Encryption: "on", KeyID: "k", KeyCommand: []string{script(t, "exec sleep 1000")}}})
	if err != nil {
		t.Fatal(err)
	}
	ps.patience = 50 * time.Millisecond
	if _, err := ps.Source(ps.Of("A"))(""); err == nil || !strings.Contains(err.Error(), "gave no key \"k\" within 50ms") {
		t.Error(err)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add([]byte(strings.Repeat("ab", 32)), true)
	f.Add(secret(1), true)
	f.Fuzz(func(t *testing.T, b []byte, raw bool) {
		k, err := parseKey(b, "k", raw)
		if (k == nil) == (err == nil) {
			t.Fatal(k, err)
		}
	})
}
