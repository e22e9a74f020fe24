package catalog

import (
	"github.com/pkg/errors"

	"sliod/backend/sliver"
)

// A directory entry is stored twice: under (directory, name), which Lookup asks
// for, and under (directory, cookie), the order of Readdir. Both are written in
// one transaction.

// Lookup returns the entry called name of directory dir.
func (t *Tx) Lookup(dir sliver.FileID, name string) (Dirent, error) {
	if len(name) > MaxName {
		return Dirent{}, ErrNotFound
	}
	v, err := t.find(keyName(t.key[:0], keyDirent, uint64(dir), name))
	if err != nil {
		return Dirent{}, err
	}
	e, err := decodeDirent(name, v)
	return e, errors.WithMessagef(err, "directory %d", dir)
}

// PutDirent makes e the entry called e.Name of dir. Nothing is kept of an older
// entry of that name. A cookie that another name has is an error.
func (t *Tx) PutDirent(dir sliver.FileID, e Dirent) error {
	if err := checkName(e.Name, false); err != nil {
		return t.fail(err)
	}
	if e.Cookie < FirstCookie {
		return t.fail(errors.Errorf("catalog: put %q into directory %d: cookie %d is below %d", e.Name, dir, e.Cookie, FirstCookie))
	}
	old, err := t.Lookup(dir, e.Name)
	switch {
	case errors.Is(err, ErrNotFound):
		old.Cookie = 0
	case err != nil:
		return t.fail(err)
	}
	if old.Cookie != e.Cookie {
		if _, taken, err := t.get(key88(t.key[:0], keyCookie, uint64(dir), e.Cookie)); err != nil {
			return t.fail(err)
		} else if taken {
			return t.fail(errors.Errorf("catalog: put %q into directory %d: cookie %d belongs to another name", e.Name, dir, e.Cookie))
		}
		if old.Cookie != 0 {
			if err := t.delete(key88(t.key[:0], keyCookie, uint64(dir), old.Cookie)); err != nil {
				return err
			}
		}
	}
	return t.putDirent(dir, &e)
}

// AddDirent is PutDirent for a name that dir does not have, and a cookie that it never
// had: the caller has looked, and keeps others from adding to dir meanwhile. Nothing is
// read.
func (t *Tx) AddDirent(dir sliver.FileID, e Dirent) error {
	if err := checkName(e.Name, false); err != nil {
		return t.fail(err)
	}
	if e.Cookie < FirstCookie {
		return t.fail(errors.Errorf("catalog: add %q to directory %d: cookie %d is below %d", e.Name, dir, e.Cookie, FirstCookie))
	}
	return t.putDirent(dir, &e)
}

// putDirent writes both records of an entry.
func (t *Tx) putDirent(dir sliver.FileID, e *Dirent) error {
	t.val = encodeDirent(t.val[:0], e)
	if err := t.set(keyName(t.key[:0], keyDirent, uint64(dir), e.Name), t.val); err != nil {
		return err
	}
	t.val = encodeCookie(t.val[:0], e)
	return t.set(key88(t.key[:0], keyCookie, uint64(dir), e.Cookie), t.val)
}

// DeleteDirent deletes the entry called name, if there is one.
func (t *Tx) DeleteDirent(dir sliver.FileID, name string) error {
	old, err := t.Lookup(dir, name)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return t.fail(err)
	}
	return t.RemoveDirent(dir, old)
}

// RemoveDirent is DeleteDirent of an entry that dir has: the caller has looked it up, and
// keeps others from changing it meanwhile. Nothing is read.
func (t *Tx) RemoveDirent(dir sliver.FileID, e Dirent) error {
	if err := t.delete(keyName(t.key[:0], keyDirent, uint64(dir), e.Name)); err != nil {
		return err
	}
	return t.delete(key88(t.key[:0], keyCookie, uint64(dir), e.Cookie))
}

// Readdir calls fn for the entries of dir with cookies above after, in the order
// of cookies, until fn returns false. "." and ".." are not stored. An entry that
// stays is met exactly once by a reader that goes on with the last cookie it
// saw, whatever comes and goes meanwhile.
func (t *Tx) Readdir(dir sliver.FileID, after uint64, fn func(Dirent) bool) error {
	if after == 1<<64-1 {
		return nil
	}
	_, to := bounds(keyCookie, uint64(dir))
	err := t.scan(key88(nil, keyCookie, uint64(dir), after+1), to, func(key, value []byte) (bool, error) {
		cookie, err := tail8(key, 17)
		if err != nil {
			return false, err
		}
		e, err := decodeCookie(cookie, value)
		return err == nil && fn(e), err
	})
	return errors.WithMessagef(err, "directory %d", dir)
}

// DirEmpty says that dir has no entries.
func (t *Tx) DirEmpty(dir sliver.FileID) (bool, error) {
	empty := true
	err := t.Readdir(dir, 0, func(Dirent) bool { empty = false; return false })
	return empty && err == nil, err
}
