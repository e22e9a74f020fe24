package backend

import (
	stderrors "errors"
	"fmt"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/mover"
	"sliod/backend/sliver"
)

// ruled is a file that is to be archived, and how.
type ruled struct {
	id sliver.FileID
	v  *verdict
}

// errNever is why a file is not archived that a rule keeps in the cache.
type errNever struct{ v *verdict }

func (e errNever) Error() string {
	if e.v.From != "" {
		return fmt.Sprintf("it is never archived, by the attribute %s of %s", policyXattr, e.v.From)
	}
	return fmt.Sprintf("it is never archived, by the rule %q of the configuration", e.v.Rule)
}

// shortError says that a file is on tape, and not as often as it should be.
type shortError struct{ err error }

func (e *shortError) Error() string {
	return "it is on tape, but not with all the copies that its rule wants: " + e.err.Error()
}
func (e *shortError) Unwrap() error { return e.err }

// archive has files archived, as their rules say how and whatever they say of when.
func (fs *FS) archive(ids []sliver.FileID, done func(sliver.FileID, error)) {
	var list []ruled
	for _, id := range ids {
		v, err := fs.verdict(id)
		if err == nil && v.Never {
			err = errNever{v}
		}
		if err != nil {
			done(id, err)
			continue
		}
		list = append(list, ruled{id, v})
	}
	fs.toTape(list, done)
}

// toTape has files archived, each where its rule says, and then copied as it says. done is called
// once for each, not always by another goroutine; a shortError says that copies are missing.
func (fs *FS) toTape(list []ruled, done func(sliver.FileID, error)) {
	byPlace := map[mover.Place][]sliver.FileID{}
	var order []mover.Place
	several := map[sliver.FileID]bool{}
	for _, r := range list {
		if several[r.id] = len(r.v.Copies) > 1; several[r.id] && !fs.unarchived(r.id) {
			fs.copier.add(r.id, done) // only copies are missing
			continue
		}
		if byPlace[r.v.place] == nil {
			order = append(order, r.v.place)
		}
		byPlace[r.v.place] = append(byPlace[r.v.place], r.id)
	}
	for _, to := range order {
		fs.mover.Archive(to, byPlace[to], func(id sliver.FileID, err error) {
			if err == nil && several[id] {
				fs.copier.add(id, done)
				return
			}
			done(id, err)
		})
	}
}

// unarchived says whether something of a file is not on tape at all.
func (fs *FS) unarchived(id sliver.FileID) bool {
	ino, err := fs.get(id)
	if stderrors.Is(err, linux.ENOENT) || err != nil {
		return true // its removal is
	}
	defer ino.release()
	return ino.unarchived()
}
