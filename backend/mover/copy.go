package mover

import (
	stderrors "errors"
	"fmt"
	"slices"
	"time"

	"github.com/pkg/errors"

	"sliod/backend/cache"
	"sliod/backend/catalog"
	"sliod/backend/sliver"
)

// CopyOptions say what copies of a file's archived slivers there are to be.
type CopyOptions struct {
	// Pool is the pool of the volumes; "" stands for catalog.DefaultPool.
	Pool string
	// Group is as in Place.
	Group string
	// Copies is on how many volumes of the pool a sliver is to be. 0 stands for 1.
	Copies int
	// Not are volumes that do not count, and must not be used.
	Not []catalog.VolumeNo
}

// Lack is an archived sliver that is on fewer volumes than it is to be.
type Lack struct {
	No      sliver.No
	Version sliver.Version
	On      []catalog.VolumeNo // the volumes that have it, of whatever pool
}

// ErrNotResident is the error of a copy of which something was not in the cache: it has to be
// recalled first, and Copy called again. What was in the cache has been copied.
var ErrNotResident = stderrors.New("something of it is not in the cache")

// copiesAtOnce is how many files the clerk asks about before it looks at recalls again.
const copiesAtOnce = 64

// Copy queues files: their archived slivers that are on fewer volumes of the pool than they
// are to be are read from the cache, and appended to volumes of the pool that do not have them. done
// is called as that of Archive: nil says that nothing lacks a copy any longer, but what is dirty or was
// written meanwhile. Slivers that are not in the cache end in ErrNotResident.
func (m *Mover) Copy(files []sliver.FileID, o CopyOptions, done func(f sliver.FileID, err error)) {
	m.mu.Lock()
	if m.closed || m.closing {
		m.mu.Unlock()
		if done != nil {
			for _, f := range files {
				done(f, errClosed)
			}
		}
		return
	}
	now := time.Now()
	for _, f := range files {
		it := &archiveItem{file: f, to: Place{Pool: o.Pool, Group: o.Group}, copy: &o, since: now}
		if done != nil {
			it.dones = append(it.dones, done)
		}
		m.copyInbox = append(m.copyInbox, it)
	}
	m.pokeClerkLocked()
	m.mu.Unlock()
}

// clearCopyInbox finds out which volumes can take the copies that are new, or that need another
// volume. The clerk calls it.
func (m *Mover) clearCopyInbox() {
	m.mu.Lock()
	n := min(copiesAtOnce, len(m.copyInbox))
	items := slices.Clone(m.copyInbox[:n])
	m.copyInbox = m.copyInbox[n:]
	if len(m.copyInbox) == 0 {
		m.copyInbox = nil
	} else {
		m.pokeClerkLocked()
	}
	m.mu.Unlock()
	var wait []*archiveItem
	for _, it := range items {
		lacks, err := m.files.Lacking(it.file, *it.copy)
		switch {
		case err != nil:
			it.finish(errors.WithMessagef(err, "mover: copy file %d", it.file))
		case len(lacks) == 0:
			it.finish(nil)
		default:
			there := it.inCache(lacks)
			if len(there) == 0 {
				it.finish(errors.WithMessagef(ErrNotResident, "mover: copy file %d: sliver %d", it.file, lacks[0].No))
				break
			}
			it.not = it.cannotTake(there)
			wait = append(wait, it)
		}
	}
	if len(wait) == 0 {
		return
	}
	m.mu.Lock()
	closing := m.closing
	if !closing {
		for _, it := range wait {
			m.enqueueLocked(it)
		}
		m.wakeLocked()
	}
	m.mu.Unlock()
	if closing {
		for _, it := range wait {
			it.finish(errClosed)
		}
	}
}

// inCache returns what was not found to be absent.
func (it *archiveItem) inCache(lacks []Lack) []Lack {
	return slices.DeleteFunc(slices.Clone(lacks), func(l Lack) bool { return it.absent[l.No] })
}

// cannotTake returns the volumes that can take no copy of what lacks one: those that have all of
// it, and those that must not be used.
func (it *archiveItem) cannotTake(lacks []Lack) []catalog.VolumeNo {
	not := append(haveAll(lacks), it.copy.Not...)
	slices.Sort(not)
	return slices.Compact(not)
}

// haveAll returns the volumes that have all slivers of lacks.
func haveAll(lacks []Lack) []catalog.VolumeNo {
	if len(lacks) == 0 {
		return nil
	}
	have := slices.Clone(lacks[0].On)
	for _, l := range lacks[1:] {
		have = slices.DeleteFunc(have, func(v catalog.VolumeNo) bool { return !slices.Contains(l.On, v) })
	}
	return have
}

// copyFile appends what lacks a copy of one file, and is not on the mounted volume. It is
// archiveFile for copies.
func (d *drive) copyFile(b *batch, next planned) error {
	m, it, plan := d.m, next.item, next.plan
	if plan == nil {
		it.finish(nil) // it is gone
		return nil
	}
	lacks := slices.DeleteFunc(it.inCache(next.lacks), func(l Lack) bool { return slices.Contains(l.On, d.vol.rec().No) })
	if len(lacks) == 0 {
		m.lookAgainAt(it) // the volumes were others when the clerk looked
		return nil
	}
	if !it.begun {
		it.begun = true
		it.hash = d.beginHash(plan, len(lacks))
	}
	d.setState(driveWriting, fmt.Sprintf("copy of file %d", it.file))
	b.parts = append(b.parts, part{item: it, plan: plan})
	p := &b.parts[len(b.parts)-1]
	n := 0
	for ; n < len(lacks) && !d.batchFull(b) && !m.ending(); n++ {
		if err := d.copySliver(b, p, lacks[n]); err != nil {
			return err
		}
	}
	p.more = n < len(lacks)
	if len(p.done) == 0 && !p.more {
		b.parts = b.parts[:len(b.parts)-1]
		d.copied(p)
	}
	return nil
}

// copySliver appends one sliver, if it still is what lacked a copy.
func (d *drive) copySliver(b *batch, p *part, l Lack) error {
	k := keyOf(p.item.file, l.No)
	buf := d.archiveBuffer()
	n, sum, err := d.m.cache.CopyClean(k, l.Version, buf)
	switch {
	case stderrors.Is(err, cache.ErrChanged):
		d.freeBuffer(buf)
		return nil // it will be archived again
	case stderrors.Is(err, cache.ErrAbsent):
		d.freeBuffer(buf)
		if p.item.absent == nil {
			p.item.absent = map[sliver.No]bool{}
		}
		p.item.absent[k.No], p.absent = true, true
		return nil
	case err != nil:
		d.freeBuffer(buf)
		p.err = errors.WithMessagef(err, "mover: copy sliver %v: read it from the cache", k)
		return nil
	}
	return d.appendSliver(b, p, buf, Done{No: l.No, Version: l.Version, Sum: sum, Len: n})
}

// copied ends a file of which all that the mounted volume could take was copied: what is left may need
// another volume, as the slivers of a file need not lie on the same ones.
func (d *drive) copied(p *part) {
	it := p.item
	switch {
	case p.err != nil:
		it.finish(p.err)
	case len(p.done) == 0 && !p.absent:
		it.finish(nil) // all was written meanwhile
	default:
		d.m.lookAgainAt(it)
	}
}

// lookAgainAt gives a copy back to the clerk.
func (m *Mover) lookAgainAt(it *archiveItem) {
	it.begun, it.rest, it.hash = false, nil, nil
	m.mu.Lock()
	closing := m.closing
	if !closing {
		m.copyInbox = append(m.copyInbox, it)
		m.pokeClerkLocked()
	}
	m.mu.Unlock()
	if closing {
		it.finish(errClosed)
	}
}
