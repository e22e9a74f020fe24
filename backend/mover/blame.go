package mover

import (
	"context"
	stderrors "errors"
	"fmt"
	"time"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/catalog"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// blame says who is at fault for an error.
type blame uint8

const (
	blameVolume blame = iota // the medium, or what is on it
	blameDrive               // the drive or its connection
	blameNobody              // a reset, or the mover is being closed: try again
)

// Errors of the mover itself.
var (
	errClosed   = stderrors.New("mover: closed")
	errShort    = stderrors.New("fewer bytes on tape than the catalog says")
	errChecksum = stderrors.New("checksum mismatch")
	// errNowScratch: what is named on a scratch volume is formatted away.
	errNowScratch = stderrors.New("the volume has become scratch: nothing may be named on it")
	errNoDrive    = stderrors.New("mover: no drive is in service: see `sliod drives` for why, repair it and run `sliod drives reset`")
	errNoSlot     = stderrors.New("no slot is free for it: take a cartridge out of the library")
	errTapeSpace  = stderrors.New("mover: no volume has room: put scratch cartridges in and run `sliod volumes import`")
)

// blameFor sorts an error of a drive, a changer or the format on the tape.
func blameFor(err error) blame {
	if stderrors.Is(err, context.Canceled) || stderrors.Is(err, context.DeadlineExceeded) {
		return blameNobody
	}
	if stderrors.Is(err, catalog.ErrStopped) {
		return blameDrive // nothing is wrong with the volume, and only a restart helps
	}
	if arm := (armError{}); stderrors.As(err, &arm) && tape.KindOf(err) != tape.UnitAttention {
		return blameDrive
	}
	if stderrors.Is(err, ltfs.ErrCannotEncrypt) {
		return blameNobody // the drive is as it was made, and good for other volumes
	}
	switch tape.KindOf(err) {
	case tape.HardwareError, tape.NotReady, tape.Disconnected, tape.CleaningNeeded, tape.IllegalRequest, tape.RemovalPrevented,
		tape.ProtectionError: // the way to the drive: another drive has another
		return blameDrive
	case tape.UnitAttention:
		return blameNobody
	case tape.Deferred: // as what has befallen the records that were in the drive's buffer: a reset, say
		var e, cause *tape.Error
		if stderrors.As(err, &e) && stderrors.As(e.Err, &cause) {
			return blameFor(cause)
		}
	}
	return blameVolume
}

// blameFor is blameFor with what the drive says of itself. A drive that refuses to
// write though its medium is not protected would, one after the other, have all
// volumes taken out of use.
func (d *drive) blameFor(err error) blame {
	l := d.tape.Limits()
	if tape.KindOf(err) == tape.WriteProtected && !l.WriteProtected && !l.WORM {
		return blameDrive
	}
	return blameFor(err)
}

// armError is an error of the library's arm. Whatever it says of a medium, it cannot
// know.
type armError struct{ error }

func (e armError) Unwrap() error { return e.error }

// faultError is what the waiters of a failed fault get: an error of the tape, or of
// the catalog, is EIO to a client, whatever it is made of. The cache's ENOSPC stays.
func faultError(err error) error {
	if stderrors.Is(err, linux.ENOSPC) {
		return err
	}
	return &eio{err}
}

// eio is err, and EIO.
type eio struct{ err error }

func (e *eio) Error() string   { return e.err.Error() }
func (e *eio) Unwrap() []error { return []error{linux.EIO, e.err} }

// TapeError is one of the last errors of the library.
type TapeError struct {
	Time     time.Time
	Op       string
	Volume   tape.Barcode
	Drive    string
	Position string
	Kind     string
	Err      error
}

// keepErrors is the number of errors that Status shows.
const keepErrors = 64

// note keeps err for Status and returns it with the volume, the drive and the
// position in its text.
func (m *Mover) note(op string, v *volume, d *drive, at string, err error) error {
	e := TapeError{Time: time.Now(), Op: op, Kind: tape.KindOf(err).String(), Position: at, Err: err}
	if stderrors.Is(err, errChecksum) {
		e.Kind = errChecksum.Error()
	}
	if v != nil {
		e.Volume = v.barcode()
	}
	if d != nil {
		e.Drive = d.tape.Serial()
	}
	var te *tape.Error
	if stderrors.As(err, &te) && e.Position == "" {
		e.Position = te.Position.String()
	}
	m.mu.Lock()
	if len(m.errs) == keepErrors {
		m.errs = append(m.errs[:0], m.errs[1:]...)
	}
	m.errs = append(m.errs, e)
	m.mu.Unlock()
	return &opError{e}
}

// opError is an error with its circumstances.
type opError struct{ TapeError }

func (e *opError) Error() string {
	s := e.Op
	if e.Volume != "" {
		s += " on volume " + string(e.Volume)
	}
	if e.Drive != "" {
		s += " in drive " + e.Drive
	}
	if e.Position != "" {
		s += " at " + e.Position
	}
	return fmt.Sprintf("%s: %v", s, e.Err)
}

func (e *opError) Unwrap() error { return e.Err }
