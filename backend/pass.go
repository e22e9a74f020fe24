package backend

import (
	"context"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/tape"
)

// passTurn is the right to verify a volume as a whole: one at a time, so that a library in which
// all is due keeps its drives, and no two passes write one record. An operator's pass goes before.
type passTurn struct {
	turn   chan struct{} // capacity 1
	wanted chan struct{} // capacity 1: somebody waits for the turn
}

func newPassTurn() passTurn {
	return passTurn{turn: make(chan struct{}, 1), wanted: make(chan struct{}, 1)}
}

// take waits for the turn, and has a pass that nobody asked for give it up.
func (p *passTurn) take(ctx context.Context) error {
	for {
		select {
		case p.turn <- struct{}{}:
			select {
			case <-p.wanted:
			default:
			}
			return nil
		case p.wanted <- struct{}{}:
		case <-ctx.Done():
			return errors.WithStack(ctx.Err())
		}
	}
}

// try takes the turn if nobody has it.
func (p *passTurn) try() bool {
	select {
	case p.turn <- struct{}{}:
		select {
		case <-p.wanted: // who waits says so again
		default:
		}
		return true
	default:
		return false
	}
}

func (p *passTurn) give() { <-p.turn }

// passOf returns the pass record of a volume, as far as it is about what is on it now.
func passOf(tx *catalog.Tx, v *catalog.Volume) (catalog.Pass, error) {
	p, err := tx.Pass(v.No)
	if err == nil && p.UUID != v.UUID {
		p = catalog.Pass{Volume: v.No, UUID: v.UUID}
	}
	return p, err
}

// pass is a run over the copies on one volume.
type pass struct {
	fs  *FS
	vol catalog.Volume
	rec catalog.Pass
	// look is called for each copy that was looked at; with an error, it is bad.
	look func(c *mover.Check, bad error)
	// found is told how many bytes lie before the pass, when it begins.
	found func(bytes int64)
	// stop says that the pass is to stop where it is; nil: never.
	stop func() bool
}

var errPassStopped = errors.New("the pass gives way to another one")

// run goes over the volume from where the last pass was left, or, with anew, from its begin. How far it came
// is recorded, so a pass that was cut off goes on there. The caller has the turn.
func (p *pass) run(ctx context.Context, anew bool) error {
	fs := p.fs
	err := fs.cat.View(func(tx *catalog.Tx) (err error) {
		p.rec, err = passOf(tx, &p.vol)
		return err
	})
	if err != nil {
		return err
	}
	if anew || p.rec.Begun == (catalog.Time{}) {
		p.rec.Begun, p.rec.At = fs.now(), catalog.VolPos{}
	}
	if err := p.record(); err != nil {
		return err
	}
	from := place{VolPos: p.rec.At}
	for first := true; ; first = false {
		list, bytes, err := fs.copiesOn(ctx, p.vol.No, from, copyWindow)
		if err != nil {
			return err
		}
		if first && p.found != nil {
			p.found(bytes)
		}
		if len(list) == 0 {
			break
		}
		from = list[len(list)-1].at
		from.offset++
		for len(list) > 0 {
			n := min(len(list), copyBatch)
			if err := p.batch(ctx, list[:n]); err != nil {
				return err
			}
			list = list[n:]
		}
	}
	p.rec.Verified, p.rec.Through = p.rec.Begun, from.VolPos
	if from.offset > 0 {
		p.rec.Through.Block++
	}
	p.rec.Begun, p.rec.At = catalog.Time{}, catalog.VolPos{}
	if err := p.record(); err != nil {
		return err
	}
	return fs.forgetBad()
}

// batch verifies some copies, and records how far it came, whatever happens.
func (p *pass) batch(ctx context.Context, list []copyAt) error {
	fs := p.fs
	checks, err := fs.checksOf(p.vol.No, list)
	if err != nil {
		return err
	}
	err = fs.mover.Verify(ctx, tape.Barcode(p.vol.Barcode), p.vol.UUID, checks, func(c *mover.Check, bad error) error {
		if err := fs.verified(c, bad); err != nil {
			return err
		}
		p.rec.At, _, _ = c.Copy.Place()
		p.look(c, bad)
		if p.stop != nil && p.stop() {
			return errPassStopped
		}
		return nil
	})
	if err == nil {
		p.rec.At = list[len(list)-1].at.VolPos
	}
	return firstError(err, p.record())
}

// record puts down how far the pass is. What was noted about the volume when it had another UUID goes.
func (p *pass) record() error {
	return p.fs.cat.Update(func(tx *catalog.Tx) error {
		old, err := tx.Pass(p.vol.No)
		if err != nil {
			return err
		}
		if old.UUID != "" && old.UUID != p.rec.UUID {
			if err := tx.DeletePass(p.vol.No); err != nil {
				return err
			}
		}
		return tx.PutPass(&p.rec)
	})
}
