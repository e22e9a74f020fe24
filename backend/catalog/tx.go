package catalog

import (
	"github.com/pkg/errors"
)

// Tx reads and, in an Update, writes typed records. It is used by one goroutine
// and only until the function that it was given to returns.
//
// A missing record is ErrNotFound (use errors.Is) unless a method says otherwise.
// A write that fails makes its Update fail, whether or not its error is looked at.
type Tx struct {
	cat *Catalog
	r   Reader
	w   Txn   // nil in a View
	err error // of the first failed write
	// wantIDs: NextFileID found nothing reserved.
	wantIDs bool

	key [maxKey]byte // scratch for keys
	val []byte       // scratch for values
}

// fail makes the whole transaction fail with err.
func (t *Tx) fail(err error) error {
	if t.err == nil {
		t.err = err
	}
	return err
}

// get returns the value of key, valid until the next get or set.
func (t *Tx) get(key []byte) ([]byte, bool, error) {
	v, found, err := t.r.Get(t.val[:0], key)
	if cap(v) > cap(t.val) {
		t.val = v
	}
	return v, found, err
}

// find is get for a record that should be there.
func (t *Tx) find(key []byte) ([]byte, error) {
	v, found, err := t.get(key)
	if err == nil && !found {
		return nil, ErrNotFound
	}
	return v, err
}

func (t *Tx) set(key, value []byte) error {
	if t.w == nil {
		return t.fail(errors.WithStack(ErrReadOnly))
	}
	if err := t.w.Set(key, value); err != nil {
		return t.fail(err)
	}
	return nil
}

func (t *Tx) delete(key []byte) error {
	if t.w == nil {
		return t.fail(errors.WithStack(ErrReadOnly))
	}
	if err := t.w.Delete(key); err != nil {
		return t.fail(err)
	}
	return nil
}

// scan calls fn for a range of keys until it returns false or an error.
func (t *Tx) scan(from, to []byte, fn func(key, value []byte) (bool, error)) error {
	var bad error
	err := t.r.Scan(from, to, func(key, value []byte) bool {
		more, err := fn(key, value)
		bad = err
		return more && err == nil
	})
	if err == nil {
		err = bad
	}
	return err
}

// deleteRange deletes all keys of a range, one by one: ranges are small, and a
// store's range deletions slow down every later read near them.
func (t *Tx) deleteRange(from, to []byte) error {
	return t.scan(from, to, func(key, _ []byte) (bool, error) { return true, t.delete(key) })
}

// nextOf takes the next number of a sequence that lives in the transaction.
func (t *Tx) nextOf(name string, last uint64) (uint64, error) {
	if t.w == nil {
		return 0, t.fail(errors.WithStack(ErrReadOnly))
	}
	n, err := sequence(t.w, name, 1)
	if err != nil {
		return 0, t.fail(err)
	}
	if n > last {
		return 0, t.fail(errors.Errorf("catalog: all %d numbers of the sequence %q are used up", last, name))
	}
	return n, t.set(keyPlain(nil, keySeq, name), encodeNumber(nil, n+1))
}
