package catalog

import (
	stderrors "errors"
	"sync"

	"github.com/pkg/errors"

	"sliod/backend/sliver"
)

// Numbers of files are handed out from a range that has been reserved on disk:
// the record seqFile holds the first number that was never reserved. What is
// left of a range at a crash or at Close is not used.
const (
	seqFile    = "file"
	seqVolume  = "volume"
	seqJob     = "job"
	idsAtOnce  = 16384 // numbers reserved by one write to disk
	idsPerCall = 256   // numbers that an Update finds reserved when it begins
)

// errMoreIDs ends a transaction that needs more numbers than are reserved.
var errMoreIDs = stderrors.New("more file numbers must be reserved")

// idRange is the reserved range of file numbers. fillMu comes before the lock of
// the store's transactions, mu after it.
type idRange struct {
	fillMu sync.Mutex // held while a range is reserved

	mu        sync.Mutex // guards what follows
	next, end uint64     // numbers next to end-1 are free and durably reserved
	want      uint64     // numbers that an Update finds reserved when it begins
}

// fill sees to it that enough numbers for a usual Update are reserved.
func (r *idRange) fill(kv KV) error {
	if _, enough := r.enough(); enough {
		return nil
	}
	r.fillMu.Lock()
	defer r.fillMu.Unlock()
	want, enough := r.enough()
	if enough {
		return nil
	}
	var first, end uint64
	err := kv.Transact(func(txn Txn) error {
		var err error
		if first, err = sequence(txn, seqFile, uint64(sliver.RootID)+1); err != nil {
			return err
		}
		end = first + max(idsAtOnce, want)
		return txn.Set(keyPlain(nil, keySeq, seqFile), encodeNumber(nil, end))
	})
	if err == nil {
		err = kv.Sync()
	}
	if err != nil {
		return errors.WithMessage(err, "reserve file numbers")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// If another server has reserved in between, the rest of the old range and the
	// new one do not touch: the rest is given up.
	if first != r.end {
		r.next = first
	}
	r.end = end
	return nil
}

func (r *idRange) enough() (want uint64, enough bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	want = max(idsPerCall, r.want)
	return want, r.end-r.next >= want
}

// needMore makes the next fill reserve for a transaction that found too little.
func (r *idRange) needMore() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.want = max(idsAtOnce, 2*r.want)
}

func (r *idRange) take() (sliver.FileID, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next >= r.end {
		return 0, false
	}
	r.next++
	return sliver.FileID(r.next - 1), true
}

// sequence reads the next number of a sequence that begins at first.
func sequence(r Reader, name string, first uint64) (uint64, error) {
	v, found, err := r.Get(nil, keyPlain(nil, keySeq, name))
	if err != nil || !found {
		return first, err
	}
	n, err := decodeNumber("sequence "+name, v)
	return max(n, first), err
}

// NextFileID returns a number that no file has had or will have: not even after
// a crash, and not if this Update fails.
func (t *Tx) NextFileID() (sliver.FileID, error) {
	if t.w == nil {
		return 0, t.fail(ErrReadOnly)
	}
	id, ok := t.cat.ids.take()
	if !ok {
		t.wantIDs = true // Update reserves more and runs fn again
		return 0, t.fail(errMoreIDs)
	}
	return id, nil
}

// NextVolumeNo returns a number that no volume has. It is used up if the Update
// succeeds.
func (t *Tx) NextVolumeNo() (VolumeNo, error) {
	n, err := t.nextOf(seqVolume, 1<<32-1)
	return VolumeNo(n), err
}

// NextJobID returns a number that no job has. It is used up if the Update
// succeeds.
func (t *Tx) NextJobID() (uint64, error) { return t.nextOf(seqJob, 1<<64-2) }
