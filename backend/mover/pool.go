package mover

import (
	stderrors "errors"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// Pools say which volume belongs to which pool, and have the pools' keys. Package pool has the
// implementation.
type Pools interface {
	// Of returns the name of the pool that a volume is of by its barcode.
	Of(b tape.Barcode) string
	// Source returns what finds the keys of a pool's volumes; nil: nothing is encrypted.
	Source(pool string) ltfs.KeySource
}

// noPools is for a mover without pools.
type noPools struct{}

func (noPools) Of(tape.Barcode) string       { return "" }
func (noPools) Source(string) ltfs.KeySource { return nil }

func (m *Mover) mountOptions(pool string) ltfs.MountOptions {
	return ltfs.MountOptions{Log: m.log, Key: m.cfg.Pools.Source(pool), Pool: pool}
}

func (m *Mover) formatOptions(v *volume) ltfs.FormatOptions {
	return ltfs.FormatOptions{Barcode: v.barcode(), BlockSize: m.cfg.BlockSize, UUID: newUUID(), Log: m.log,
		Key: m.cfg.Pools.Source(v.rec().Pool), Pool: v.rec().Pool}
}

// poolOf returns the pool that a volume in the library is of now: that of its barcode, or that
// into which it came last from the pool "scratch".
func (m *Mover) poolOf(rec *catalog.Volume) string {
	by := m.cfg.Pools.Of(tape.Barcode(rec.Barcode))
	if catalog.PoolName(by) == catalog.ScratchPool && rec.Flags&catalog.VolTaken != 0 {
		return rec.Pool
	}
	return by
}

// intoPool takes a scratch volume of the pool "scratch" into the pool that needs it. It is on
// record before the volume is formatted, with the pool's key.
func (m *Mover) intoPool(v *volume, pool string) error {
	m.mu.Lock()
	same := v.pool() == pool
	m.mu.Unlock()
	if same {
		return nil
	}
	m.log.WithField(fieldVolume, v.rec().Barcode).Infof("scratch volume comes into pool %q, which has none with room", pool)
	return m.updateVolume(v, func(rec *catalog.Volume) {
		rec.Pool = pool
		rec.Flags |= catalog.VolTaken
	})
}

// poolsLocked says whether there are volumes of several pools.
func (m *Mover) poolsLocked() bool {
	for _, v := range m.volumes {
		if v.pool() != catalog.DefaultPool {
			return true
		}
	}
	return false
}

// spaceError says that no volume can take what is in a lane.
func (m *Mover) spaceError(a *lane) error {
	switch {
	case a.copies:
		return errors.WithMessagef(errTapeSpace, "a further copy needs another volume of pool %q than those that have one", a.pool)
	case !m.poolsLocked():
		return errTapeSpace
	}
	return errors.WithMessagef(errTapeSpace, "pool %q", a.pool)
}

// keyTrouble says whether err is about keys: neither volume nor drive is to blame, and
// nothing helps but the configuration.
func keyTrouble(err error) bool {
	var ke *ltfs.KeyError
	return stderrors.As(err, &ke) || stderrors.Is(err, ltfs.ErrNoKey) || tape.KindOf(err) == tape.WrongKey
}

// noteKey records which key the mounted volume has.
func (m *Mover) noteKey(v *volume, lv *ltfs.Volume) {
	m.mu.Lock()
	same := v.rec().KeyID == lv.KeyID()
	m.mu.Unlock()
	if same {
		return
	}
	if err := m.updateVolume(v, func(rec *catalog.Volume) { rec.KeyID = lv.KeyID() }); err != nil {
		m.log.WithField(fieldVolume, v.rec().Barcode).WithError(err).Warn("the id of the volume's key could not be recorded")
	}
}
