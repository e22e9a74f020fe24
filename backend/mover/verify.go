package mover

import (
	"context"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
)

// Check is a copy of a sliver that is to be read from its volume and compared.
type Check struct {
	Key sliver.Key
	Located
	Copy catalog.Copy
}

// verifyTries is how often a copy is tried that could not be read through no fault of its volume.
const verifyTries = 4

// Verify reads copies on volume b, in the order of list, which should be that of the tape, and
// compares them with their checksums; nothing gets into the cache. It does so in the background,
// in turns, so that recalls and archiving go before it. uuid is what the volume's label must say.
//
// done is called for every copy that was looked at, in order, from one goroutine at a time: with nil, or with
// why the copy is bad. Its error ends the work. A checksum that the catalog does not know yet is
// recorded (Files.Summed). An error of Verify says that the volume could not be read at all.
func (m *Mover) Verify(ctx context.Context, b tape.Barcode, uuid string, list []Check, done func(c *Check, bad error) error) error {
	tries := 0
	for len(list) > 0 {
		n := 0
		err := m.UseVolume(ctx, b, UseOptions{Background: true}, func(ctx context.Context, s *Session) error {
			d := s.d
			if d.lv == nil || d.lv.UUID() != uuid {
				if s.MountErr != nil {
					return errors.WithMessagef(s.MountErr, "volume %s cannot be read", b)
				}
				return errors.Errorf("volume %s is not what it was any longer", b)
			}
			for n < len(list) && (n == 0 || !s.Wanted()) {
				if err := ctx.Err(); err != nil {
					return errors.WithStack(err)
				}
				bad, err := d.verify(&list[n])
				if err != nil {
					return err
				}
				c := &list[n]
				n++
				if err := done(c, bad); err != nil {
					return err
				}
			}
			return nil
		})
		list = list[n:]
		if n > 0 {
			tries = 0
		}
		if err != nil {
			if tries++; ctx.Err() != nil || tries >= verifyTries || tape.KindOf(err) == tape.KindOther {
				return err
			}
		}
	}
	return nil
}

// verify reads one copy on the mounted volume. bad says what is wrong with it; err that the
// drive could not read, whatever the volume holds.
func (d *drive) verify(c *Check) (bad, err error) {
	m, v := d.m, d.vol
	j := job{key: c.Key, loc: c.Located, copy: c.Copy}
	d.setState(driveReading, fmt.Sprintf("verify of sliver %v", c.Key))
	err = d.readCopy(j)
	if err != nil && m.ctx.Err() == nil && d.worthAnother(err) {
		err = d.readCopy(j)
	}
	switch {
	case err != nil && (m.ctx.Err() != nil || d.blameFor(err) != blameVolume):
		return nil, err
	case err != nil:
		err = m.note("verify", v, d, placeOf(c.Copy).Position.String(), err)
		m.log.WithField(fieldVolume, v.rec().Barcode).WithField(fieldDrive, d.tape.Serial()).WithError(err).Error("a copy cannot be read")
		d.strikeRead(v, blameVolume, err, placeOf(c.Copy).Position)
		if !d.failed && d.asksAnother(v) {
			return nil, err
		}
		m.countReadError(v)
		return err, nil
	}
	if !c.HasSum {
		if err := m.files.Summed(c.Key, c.Version, xxhash.Sum64(d.buf[:c.ArchLen])); err != nil {
			m.log.WithField(fieldFile, c.Key.File).WithError(err).Warnf("the checksum of sliver %d could not be recorded; the next recall tries again", c.Key.No)
		}
	}
	m.mu.Lock()
	m.stats.Verified++
	m.stats.VerifiedBytes += int64(c.ArchLen)
	d.position = placeOf(c.Copy).Position
	m.mu.Unlock()
	d.hasRead(placeOf(c.Copy).Position)
	return nil, nil
}
