package catalog

import stderrors "errors"

// Errors of a KV.
var (
	// ErrClosed is returned after Close.
	ErrClosed = stderrors.New("catalog is closed")
	// ErrReadOnly is returned by a write in a View.
	ErrReadOnly = stderrors.New("write in a read-only transaction")
)

// Reader reads an ordered map of byte strings.
type Reader interface {
	// Get appends the value of key to dst and returns the result, and whether
	// there is such a key; if not, dst is returned as it was. key is not kept.
	Get(dst, key []byte) (value []byte, found bool, err error)
	// Scan calls fn for each key with from <= key < to, in order, until fn returns
	// false. key and value are valid only during the call and must not be changed.
	// Scan shows the state at its beginning: what fn writes is not seen by it.
	// from and to must not be changed while Scan runs.
	Scan(from, to []byte, fn func(key, value []byte) bool) error
}

// Txn is a transaction: its reads see its own writes. It is used by one
// goroutine, and only until the function that it was given to returns.
type Txn interface {
	Reader
	// Set and Delete keep neither key nor value. Deleting what is not there is
	// no error.
	Set(key, value []byte) error
	Delete(key []byte) error
}

// KV is the store below the catalog: an ordered map with transactions. It is as
// small as it is so that a distributed store (etcd, TiKV, FoundationDB) can
// stand here. All methods are safe for concurrent use.
//
// Transactions are serialisable. They need not be durable when Transact
// returns, but they become durable in the order in which Transact returned:
// after a crash the store holds a prefix of them, which includes all that had
// returned when the last successful Sync began.
type KV interface {
	// Get and Scan read committed state. Two calls may see different states.
	Reader
	// Transact runs fn and commits what it wrote: all or nothing. If fn returns an
	// error, nothing is written and Transact returns that error. fn may be run
	// again from the start, with a fresh Txn, when the store sees a conflict: it
	// must have no effects but those through its Txn, or set them anew each time.
	// fn must not call Transact. After any other error the outcome is not known.
	Transact(fn func(Txn) error) error
	// Sync returns when all transactions whose Transact had returned are durable.
	Sync() error
	// Close makes all durable and ends the store. Calls that run are waited for;
	// later ones return ErrClosed. A second Close returns ErrClosed.
	Close() error
}
