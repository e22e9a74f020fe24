package mover

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"

	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
	"sliod/tape/virtual"
)

// secrets are Pools of one pool.
type secrets struct {
	current *tape.EncryptionKey // nil: in clear
	old     []*tape.EncryptionKey
}

func (s secrets) Of(tape.Barcode) string { return "secret" }

func (s secrets) Source(string) ltfs.KeySource {
	return func(id string) (*tape.EncryptionKey, error) {
		if id == "" {
			return s.current, nil
		}
		for _, k := range append(s.old, s.current) {
			if k != nil && k.ID == id {
				return k, nil
			}
		}
		return nil, errors.Errorf("there is no %s in the ring", id)
	}
}

func secretKey(id string) *tape.EncryptionKey {
	k := &tape.EncryptionKey{ID: id}
	copy(k.Key[:], "\xc0\xff\xee"+id+"\xc0\xff\xee this is a key")
	return k
}

// text is a log that can be read while it is written.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

// marked makes a file whose content can be found again.
func (r *rig) marked(name string) sliver.FileID {
	r.t.Helper()
	f := r.create(name, 0)
	if err := r.write(f, 0, bytes.Repeat([]byte("plain text of "+name+" "), 70000)); err != nil {
		r.t.Fatal(err)
	}
	return f
}

// inClear says whether a text is in the files of a cartridge.
func (r *rig) inClear(b tape.Barcode, text string) bool {
	r.t.Helper()
	names, err := filepath.Glob(filepath.Join(r.dir, "library", "volumes", string(b), "*"))
	if err != nil || len(names) == 0 {
		r.t.Fatal(names, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			r.t.Fatal(err)
		}
		if bytes.Contains(b, []byte(text)) {
			return true
		}
	}
	return false
}

func (r *rig) restart(pools Pools) {
	r.t.Helper()
	r.stop()
	r.s.cfg.Pools = pools
	r.start()
}

func (r *rig) readErr(f sliver.FileID) error {
	r.t.Helper()
	_, err := r.read(keyOf(f, 0), 100)
	return err
}

func TestEncryptedArchive(t *testing.T) {
	log := &text{}
	l := logrus.New()
	l.SetOutput(log)
	l.SetLevel(logrus.TraceLevel)
	a, b := secretKey("2026-a"), secretKey("2026-b")
	r := newRig(t, setup{cfg: Config{Pools: secrets{current: a}}})
	r.s.cfg.Log, r.s.log = logrus.NewEntry(l), logrus.NewEntry(l)
	r.restart(secrets{current: a})
	one := r.marked("one")
	r.archive(one)
	r.evict(one)
	first := r.onlyVolume()
	r.check(one)
	rep, err := r.m.CheckFormat(t.Context(), first, true)
	if err != nil || len(rep.Findings) > 0 {
		t.Errorf("check of the format: %+v, %v", rep, err)
	}
	if st := r.status(first); st.Pool != "secret" || st.KeyID != "2026-a" || st.State != "append" {
		t.Errorf("%+v", st)
	}
	// A reset in between costs nothing but a batch that is written again.
	two := r.marked("two")
	r.lib.Reset(0)
	if err := r.archiveErr(two); err != nil {
		r.archive(two)
	}
	r.evict(one, two)
	r.restart(secrets{current: a})
	r.check(one)
	r.check(two)

	// The key is gone: what it has encrypted cannot be read, and the rest goes on, with another key.
	r.evict(one, two)
	r.restart(secrets{current: b})
	if err := r.readErr(one); err == nil || !strings.Contains(err.Error(), `is encrypted with key "2026-a", which cannot be had: there is no 2026-a in the ring`) {
		t.Errorf("a recall without the key: %v", err)
	}
	st := r.status(first)
	if st.State != "read-only" || !strings.Contains(st.Reason, `"2026-a"`) {
		t.Errorf("%+v", st)
	}
	three := r.marked("three")
	r.archive(three)
	second, _ := r.placeOfSliver(keyOf(three, 0))
	if st := r.status(second); second == first || st.KeyID != "2026-b" {
		t.Errorf("%+v after the rotation", st)
	}
	// Another key under the same id is told.
	wrong := secretKey("2026-b")
	wrong.ID = "2026-a"
	r.restart(secrets{current: b, old: []*tape.EncryptionKey{wrong}})
	r.evict(one)
	if err := r.readErr(one); err == nil || !strings.Contains(err.Error(), "what is configured under that id is another key") {
		t.Errorf("a recall with another key: %v", err)
	}
	// With the old key it is read, and nothing is added to it.
	r.restart(secrets{current: b, old: []*tape.EncryptionKey{a}})
	r.check(one)
	r.check(two)
	four := r.marked("four")
	r.archive(four)
	if v, _ := r.placeOfSliver(keyOf(four, 0)); v == first {
		t.Error("new data went to a volume with an old key")
	}
	if st := r.status(first); st.State != "read-only" || !strings.Contains(st.Reason, "its pool's data are encrypted with") {
		t.Errorf("%+v", st)
	}
	// Back to the first key: the volume is written again.
	r.restart(secrets{current: a, old: []*tape.EncryptionKey{b}})
	r.evict(one)
	r.check(one)
	if st := r.status(first); st.State != "append" || st.Reason != "" {
		t.Errorf("%+v", st)
	}
	for _, d := range r.m.Status().Drives {
		if d.State == "failed" || d.Err != nil {
			t.Errorf("%+v", d)
		}
	}
	all, _ := json.Marshal(r.m.Status())
	said := fmt.Sprintf("%s %+v %#v %s", log, r.m.Status(), r.m.Status(), all)
	r.stop()
	for _, v := range []tape.Barcode{first, second} {
		for what, text := range map[string]string{"content": "plain text of", "an index": "<ltfsindex", "key a": string(a.Key[:]), "key b": string(b.Key[:])} {
			if r.inClear(v, text) {
				t.Errorf("volume %s holds %s in clear", v, what)
			}
		}
	}
	if strings.Contains(strings.ToLower(said), "c0ffee32303236") || strings.Contains(said, "this is a key") || strings.Contains(said, "\xc0\xff\xee") || strings.Contains(said, "192 255 238 50") {
		t.Error("a key was told")
	}
}

func TestPoolEncryptedLater(t *testing.T) {
	r := newRig(t, setup{cfg: Config{Pools: secrets{}}})
	one := r.marked("one")
	r.archive(one)
	first := r.onlyVolume()
	r.restart(secrets{current: secretKey("k")})
	two := r.marked("two")
	r.archive(two)
	r.evict(one, two)
	r.check(one)
	r.check(two)
	second, _ := r.placeOfSliver(keyOf(two, 0))
	if st := r.status(first); second == first || st.State != "read-only" || !strings.Contains(st.Reason, "not encrypted") {
		t.Errorf("%+v; new data are on %s", st, second)
	}
	r.stop()
	if !r.inClear(first, "plain text of one") || r.inClear(first, "plain text of two") || r.inClear(second, "plain text of") {
		t.Error("what is in clear is not what was written so")
	}
}

func TestDriveCannotEncrypt(t *testing.T) {
	r := newRig(t, setup{slots: 2, profile: virtual.ProfileOld, cfg: Config{Pools: secrets{current: secretKey("k")}}})
	f := r.marked("one")
	err := r.archiveErr(f)
	if err == nil || !strings.Contains(err.Error(), `cannot encrypt; pool "secret" wants it`) {
		t.Fatal(err)
	}
	if st := r.m.Status().Drives[0]; st.State == "failed" {
		t.Errorf("%+v", st)
	}
	for _, v := range r.m.Status().Volumes {
		if v.State != "scratch" || r.inClear(v.Barcode, "plain text of") {
			t.Errorf("%+v", v)
		}
	}
}
