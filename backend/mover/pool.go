package mover

import (
	stderrors "errors"

	"sliod/backend/catalog"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// Pools say which volume belongs to which pool, and have the pools' keys. Package pool has the
// implementation.
type Pools interface {
	// Of returns the name of a volume's pool.
	Of(b tape.Barcode) string
	// Source returns what finds the keys of a volume; nil: nothing is encrypted.
	Source(b tape.Barcode) ltfs.KeySource
}

// noPools is for a mover without pools.
type noPools struct{}

func (noPools) Of(tape.Barcode) string             { return "" }
func (noPools) Source(tape.Barcode) ltfs.KeySource { return nil }

func (m *Mover) mountOptions(b tape.Barcode) ltfs.MountOptions {
	return ltfs.MountOptions{Log: m.log, Key: m.cfg.Pools.Source(b), Pool: m.cfg.Pools.Of(b)}
}

func (m *Mover) formatOptions(v *volume) ltfs.FormatOptions {
	return ltfs.FormatOptions{Barcode: v.barcode(), BlockSize: m.cfg.BlockSize, UUID: v.rec.UUID, Log: m.log,
		Key: m.cfg.Pools.Source(v.barcode()), Pool: m.cfg.Pools.Of(v.barcode())}
}

// keyTrouble says whether err is about keys: neither volume nor drive is to blame, and
// nothing helps but the configuration.
func keyTrouble(err error) bool {
	var ke *ltfs.KeyError
	return stderrors.As(err, &ke) || tape.KindOf(err) == tape.WrongKey
}

// noteKey records which key the mounted volume has.
func (m *Mover) noteKey(v *volume, lv *ltfs.Volume) {
	m.mu.Lock()
	same := v.rec.KeyID == lv.KeyID()
	m.mu.Unlock()
	if same {
		return
	}
	if err := m.updateVolume(v, func(rec *catalog.Volume) { rec.KeyID = lv.KeyID() }); err != nil {
		m.log.WithField(fieldVolume, v.rec.Barcode).WithError(err).Warn("the id of the volume's key could not be recorded")
	}
}
