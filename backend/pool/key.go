package pool

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/pkg/errors"

	"sliod/backend/config"
	"sliod/tape"
)

const (
	keyBytes = 32
	maxText  = 4096 // of a key file, and of what a command says
	// commandTime is how long a command may take.
	commandTime = 30 * time.Second
)

// readKey reads a key file.
func readKey(name, id string) (*tape.EncryptionKey, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, errors.Wrap(err, "read the key")
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, errors.Wrap(err, "read the key")
	}
	switch mode := st.Mode(); {
	case !mode.IsRegular():
		return nil, errors.Errorf("%s is no file", name)
	case mode.Perm()&0o077 != 0:
		return nil, errors.Errorf("the key file %s has mode %04o: others than its owner have access to it; change that with `chmod 600 %s`, and think about who may have read it", name, mode.Perm(), name)
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Uid != 0 && int(sys.Uid) != os.Geteuid() {
		return nil, errors.Errorf("the key file %s belongs to user %d: it must belong to root, or to the user who runs the server (%d)", name, sys.Uid, os.Geteuid())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return nil, errors.Wrap(err, "read the key")
	}
	defer clear(text)
	k, err := parseKey(text, id, true)
	return k, errors.WithMessagef(err, "the key file %s", name)
}

// parseKey takes a key as 64 hex digits with white space around them, or, if raw, 32 bytes.
// Its errors say nothing of what stands there.
func parseKey(text []byte, id string, raw bool) (*tape.EncryptionKey, error) {
	k := &tape.EncryptionKey{ID: id}
	trimmed := bytes.TrimSpace(text)
	switch n := len(trimmed); {
	case n == 2*keyBytes:
		if _, err := hex.Decode(k.Key[:], trimmed); err != nil {
			return nil, errors.Errorf("it has %d characters, which are not all hex digits", n)
		}
	case raw && len(text) == keyBytes:
		if _, err := hex.Decode(make([]byte, keyBytes/2), text); err == nil {
			return nil, errors.Errorf("it has %d hex digits: %d are needed for a key of 256 bits", n, 2*keyBytes)
		}
		copy(k.Key[:], text)
	case raw:
		return nil, errors.Errorf("it has %d bytes: a key is %d hex digits, or %d bytes as they are", len(text), 2*keyBytes, keyBytes)
	default:
		return nil, errors.Errorf("it has %d bytes: a key is %d hex digits", len(text), 2*keyBytes)
	}
	if k.Key == [keyBytes]byte{} {
		return nil, errors.New("it is nothing but zeros, which is no key")
	}
	return k, k.Check()
}

// runCommand has a pool's command print a key.
func runCommand(p *config.Pool, id string, patience time.Duration) (*tape.EncryptionKey, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, p.KeyCommand[0], p.KeyCommand[1:]...)
	c.Env = append(os.Environ(), "SLIOD_KEY_ID="+id, "SLIOD_POOL="+p.Name)
	c.WaitDelay = time.Second
	var out, said limited
	defer func() { clear(out.b) }()
	c.Stdout, c.Stderr = &out, &said
	err := c.Run()
	switch {
	case ctx.Err() != nil:
		return nil, errors.Errorf("key_command %s gave no key %q within %v%s", p.KeyCommand[0], id, patience, said.tail())
	case err != nil:
		return nil, errors.Errorf("key_command %s for key %q: %v%s", p.KeyCommand[0], id, err, said.tail())
	}
	k, err := parseKey(out.b, id, false)
	if err != nil {
		return nil, errors.WithMessagef(err, "what key_command %s printed for key %q is no key%s", p.KeyCommand[0], id, said.tail())
	}
	return k, nil
}

// limited keeps the first bytes of what is written.
type limited struct{ b []byte }

func (l *limited) Write(p []byte) (int, error) {
	if l.b == nil {
		l.b = make([]byte, 0, maxText+1) // not moved, so that clearing it clears all
	}
	l.b = append(l.b, p[:min(len(p), cap(l.b)-len(l.b))]...)
	return len(p), nil
}

var looksLikeKey = regexp.MustCompile(`[0-9A-Fa-f]{32,}`)

// tail is what a command said on standard error, for a message. A program that says the key
// there is not repeated.
func (l *limited) tail() string {
	s := strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(l.b), "?")))
	if s == "" {
		return ""
	}
	return "; it said: " + looksLikeKey.ReplaceAllString(s, "[hex digits]")
}
