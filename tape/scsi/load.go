package scsi

import (
	"context"
	"io"
	"time"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"

	"sliod/tape"
)

// Load implements tape.Drive. It takes all unit attentions that wait: they tell
// of what happened before, and the medium is new to the caller in any case.
//
// The cartridge is then kept from being removed, by an operator or the arm, until Unload.
// A cleaning cartridge has no medium: its Limits say only that, and the drive cleans itself.
func (d *Drive) Load(ctx context.Context) error {
	d.forget()
	d.loading = true
	defer func() { d.loading = false }()
	cleaning, err := d.ready(ctx)
	if err != nil {
		return d.place(err)
	}
	if cleaning {
		d.limits.Cleaning = true
		d.loaded, d.swapped = true, false
		return nil
	}
	for _, step := range []func(context.Context) error{d.learnTimeouts, d.configure, d.learn} {
		if err := step(ctx); err != nil {
			return d.place(err)
		}
	}
	d.loaded, d.swapped = true, false
	return nil
}

// forget drops all that was known of a medium.
func (d *Drive) forget() {
	d.loaded, d.changed, d.known, d.unflushed, d.limits, d.written, d.count = false, false, false, false, tape.Limits{}, 0, nil
	d.pos, d.appendOnly, d.writeAt = tape.Position{}, false, nowhere
	d.capacityMB, d.readOnly = 0, false
	d.algorithm, d.key, d.keyTold, d.lost, d.swapped = nil, nil, false, 0, false
}

// patience is how often Load says in the log that it still waits.
const patience = 5 * time.Minute

// ready waits until the medium can be used, and has it loaded if need be. An LTO-9
// cartridge that is loaded for the first time is measured for 40 minutes to two hours, and says 04/01
// all the time.
func (d *Drive) ready(ctx context.Context) (cleaning bool, err error) {
	start := time.Now()
	said, asked := start, false
	for {
		_, err := d.patient(ctx, call{"load", TestUnitReady{}, None, nil, d.times.Short})
		if err == nil {
			return false, nil
		}
		s, ok := senseOf(err)
		if !ok || s.Deferred {
			return false, err
		}
		limit := d.times.Load
		switch s.readiness() {
		case cleans:
			return true, nil
		case needsLoad:
			if asked {
				return false, err
			}
			asked = true
			if _, err := d.patient(ctx, call{"load", LoadUnload{Load: true}, None, nil, d.times.Load}); err != nil {
				if s, ok := senseOf(err); !ok || s.readiness() != waits && s.readiness() != cleans {
					return false, err
				}
			}
			continue
		case broken:
			return false, err
		}
		if s.Code == CodeBecomingReady {
			limit = d.times.Ready
		}
		now := time.Now()
		if now.Sub(start) > limit {
			return false, explain(err, "the medium is not ready after %v", limit)
		}
		if now.Sub(said) >= patience {
			said = now
			d.log.Infof("the medium is not ready after %v (%v); the first load of an LTO-9 cartridge takes up to two hours", now.Sub(start).Round(time.Second), s)
		}
		if err := pause(ctx, retryInterval); err != nil {
			return false, d.fail("load", tape.KindOther, nil, err)
		}
	}
}

// prevent keeps the cartridge in the drive. A drive that does not know how is used all the
// same.
func (d *Drive) prevent(ctx context.Context) error {
	_, err := d.patient(ctx, call{"prevent removal", PreventAllow{Prevent: 1}, None, nil, d.times.Short})
	if s, ok := senseOf(err); ok && s.Key == IllegalKey {
		d.log.Debugf("the drive does not keep its cartridge in: %v", s)
		return nil
	}
	return err
}

// Unload implements tape.Drive. For a cartridge that was not loaded by this Drive,
// such as one that the last run left, unit attentions tell nothing that matters.
func (d *Drive) Unload(ctx context.Context) error {
	d.dropKey(ctx)
	// Who had the drive before, or a run of ours that was killed, may have prevented removal.
	allow := call{"allow removal", PreventAllow{}, None, nil, d.times.Short}
	if err := d.finish(ctx, allow); err != nil {
		if s, ok := senseOf(err); !ok || s.Deferred || s.Key != IllegalKey {
			return err
		} // the drive never kept it in
	}
	if err := d.finish(ctx, call{"unload", LoadUnload{}, None, nil, d.times.Load}); err != nil {
		return err
	}
	d.forget()
	return nil
}

// Release lets a cartridge go that stays in the drive when the use of the drive ends: it could
// not be taken out by an operator otherwise until the drive is reset. Load keeps it in again.
func (d *Drive) Release(ctx context.Context) error {
	if !d.loaded || d.limits.Cleaning {
		return nil
	}
	d.dropKey(ctx)
	err := d.finish(ctx, call{"allow removal", PreventAllow{}, None, nil, d.times.Short})
	if s, ok := senseOf(err); ok && s.Key == IllegalKey && !s.Deferred {
		return nil
	}
	return err
}

// finish runs one of the commands that end the use of a medium.
func (d *Drive) finish(ctx context.Context, c call) error {
	if d.loaded {
		_, err := d.run(ctx, absolute, c)
		return err
	}
	if _, err := d.patient(ctx, c); err != nil {
		return d.place(err)
	}
	return nil
}

// refused reports whether the device does not know a command or a field of it.
func refused(err error) bool {
	s, ok := senseOf(err)
	return ok && s.Key == IllegalKey && !s.Deferred && (s.Code == CodeInvalidOpcode || s.Code == CodeInvalidField)
}

// silent is a log for those who gave none.
func silent() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

// notLoaded is the answer to what needs a medium before Load.
func (d *Drive) notLoaded(op string) error {
	return d.place(d.fail(op, tape.NotReady, nil, errors.New("no medium is loaded: load it first")))
}
