package catalog

import (
	stderrors "errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// memKV is a KV in memory that runs each transaction twice, as a distributed
// store does after a conflict.
type memKV struct {
	mu     sync.Mutex
	txn    sync.Mutex
	m      map[string]string
	closed bool
}

func newMemKV() *memKV { return &memKV{m: map[string]string{}} }

func (k *memKV) state() (map[string]string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, ErrClosed
	}
	return k.m, nil // never changed, only replaced
}

func (k *memKV) Get(dst, key []byte) ([]byte, bool, error) {
	m, err := k.state()
	if err != nil {
		return dst, false, err
	}
	return memTxn{m}.Get(dst, key)
}

func (k *memKV) Scan(from, to []byte, fn func(key, value []byte) bool) error {
	m, err := k.state()
	if err != nil {
		return err
	}
	return memTxn{m}.Scan(from, to, fn)
}

func (k *memKV) Transact(fn func(Txn) error) error {
	k.txn.Lock()
	defer k.txn.Unlock()
	for run := range 2 {
		m, err := k.state()
		if err != nil {
			return err
		}
		c := make(map[string]string, len(m))
		for key, v := range m {
			c[key] = v
		}
		if err := fn(memTxn{c}); err != nil {
			return err
		}
		if run == 1 {
			k.mu.Lock()
			k.m = c
			k.mu.Unlock()
		}
	}
	return nil
}

func (k *memKV) Sync() error { _, err := k.state(); return err }

func (k *memKV) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return ErrClosed
	}
	k.closed = true
	return nil
}

type memTxn struct{ m map[string]string }

func (t memTxn) Get(dst, key []byte) ([]byte, bool, error) {
	v, ok := t.m[string(key)]
	return append(dst, v...), ok, nil
}

func (t memTxn) Scan(from, to []byte, fn func(key, value []byte) bool) error {
	type pair struct{ k, v string }
	var all []pair
	for k, v := range t.m {
		if k >= string(from) && k < string(to) {
			all = append(all, pair{k, v})
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].k < all[j].k })
	for _, p := range all {
		if !fn([]byte(p.k), []byte(p.v)) {
			break
		}
	}
	return nil
}

func (t memTxn) Set(key, value []byte) error { t.m[string(key)] = string(value); return nil }
func (t memTxn) Delete(key []byte) error     { delete(t.m, string(key)); return nil }

func openMem(t testing.TB) *pebbleKV {
	kv, err := openPebble("cat", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func TestKVContract(t *testing.T) {
	t.Run("memory", func(t *testing.T) { testKV(t, newMemKV()) })
	t.Run("pebble", func(t *testing.T) { testKV(t, openMem(t)) })
}

// testKV is what every KV must do. It closes kv.
func testKV(t *testing.T, kv KV) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	keys := func(r Reader, from, to string) (got []string) {
		must(r.Scan([]byte(from), []byte(to), func(k, v []byte) bool {
			got = append(got, string(k)+"="+string(v))
			return len(got) < 5
		}))
		return got
	}
	must(kv.Transact(func(txn Txn) error {
		for _, k := range []string{"b", "a", "c", "d\x00", "d"} {
			must(txn.Set([]byte(k), []byte("1"+k)))
		}
		must(txn.Delete([]byte("c")))
		must(txn.Delete([]byte("missing")))
		if v, found, err := txn.Get([]byte("x"), []byte("a")); !found || string(v) != "x1a" || err != nil {
			t.Errorf("own write: %q %v %v", v, found, err)
		}
		if got := keys(txn, "a", "z"); !slices.Equal(got, []string{"a=1a", "b=1b", "d=1d", "d\x00=1d\x00"}) {
			t.Errorf("scan of own writes: %q", got)
		}
		// A scan does not see what its callback writes.
		n := 0
		must(txn.Scan([]byte("a"), []byte("c"), func(k, _ []byte) bool {
			n++
			must(txn.Set([]byte(fmt.Sprintf("bb%d", n)), nil))
			return true
		}))
		if n != 2 {
			t.Errorf("scan saw %d keys", n)
		}
		must(txn.Delete([]byte("bb1")))
		must(txn.Delete([]byte("bb2")))
		return nil
	}))
	failure := stderrors.New("no")
	if err := kv.Transact(func(txn Txn) error { must(txn.Set([]byte("a"), []byte("2"))); return failure }); err != failure {
		t.Errorf("failed transaction returned %v", err)
	}
	if got := keys(kv, "a", "d"); !slices.Equal(got, []string{"a=1a", "b=1b"}) {
		t.Errorf("after the transactions: %q", got)
	}
	if v, found, err := kv.Get([]byte("x"), []byte("c")); found || string(v) != "x" || err != nil {
		t.Errorf("missing key: %q %v %v", v, found, err)
	}
	// A panic in fn leaves the store usable.
	func() {
		defer func() { _ = recover() }()
		_ = kv.Transact(func(Txn) error { panic("in fn") })
	}()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				must(kv.Transact(func(txn Txn) error {
					v, _, err := txn.Get(nil, []byte("n"))
					must(err)
					return txn.Set([]byte("n"), append(v, 'x'))
				}))
				must(kv.Sync())
			}
		})
	}
	wg.Wait()
	if v, _, err := kv.Get(nil, []byte("n")); len(v) != 160 || err != nil {
		t.Errorf("%d of 160 increments are left: %v", len(v), err)
	}
	must(kv.Close())
	_, _, err := kv.Get(nil, []byte("a"))
	for what, err := range map[string]error{"get": err, "sync": kv.Sync(), "close": kv.Close(),
		"scan":     kv.Scan(nil, []byte("z"), func(_, _ []byte) bool { return true }),
		"transact": kv.Transact(func(Txn) error { return nil })} {
		if !stderrors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
}
