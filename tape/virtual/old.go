package virtual

import (
	"context"

	"sliod/tape/scsi"
)

// Profiles of drives: which commands they know, and how they answer.
const (
	// ProfileModern is a drive of the cartridge's generation.
	ProfileModern = ""
	// ProfileOld is the drive that Linux' tgt emulates: READ and WRITE(6), WRITE
	// FILEMARKS, SPACE(6), REWIND, READ BLOCK LIMITS, INQUIRY, MODE SENSE and SELECT,
	// LOAD/UNLOAD, PREVENT; READ POSITION answers the same whatever the position.
	// Its ways are taken over too, see serveOld.
	ProfileOld = "old"
	// ProfileSSC2 knows the same commands and ERASE, not READ POSITION, and keeps to SSC-2.
	ProfileSSC2 = "ssc2"
)

// serveOld is for drives of the past: done says that the command needs no other
// care. Where ProfileOld differs from the standard it does what tgt's source
// (usr/bs_ssc.c) does:
//
//   - READ POSITION gives 14h and zeros in the short form, 20h and zeros in the long one.
//   - SPACE over blocks runs over filemarks and counts them; if it lands on the end of
//     data it fails with 0/00 05 even if the count was reached, and never gives INFORMATION.
//   - SPACE over filemarks backward goes one object too far.
//   - At the end of data READ answers key 8 with EOM and no code.
//   - Early warning is EOM alone.
//   - Mode page 1Dh calls every cartridge WORM.
//
// Not taken over: UNLOAD does nothing in tgt, and its tape has no end.
func (d *drive) serveOld(ctx context.Context, c *scsi.Command, block scsi.CommandBlock) (s *scsi.Sense, done bool) {
	profile := d.lib.cfg.Profile
	if profile == ProfileModern {
		return nil, false
	}
	switch b := block.(type) {
	case scsi.Inquiry, scsi.RequestSense, scsi.TestUnitReady, scsi.LoadUnload, scsi.PreventAllow,
		scsi.WriteFilemarks6, scsi.Rewind, scsi.ModeSelect:
		return nil, false
	case scsi.ModeSense:
		switch {
		case b.Page == scsi.PagePartitions || b.Subpage != 0:
			return badField, true
		case b.Page == scsi.PageMedium && profile == ProfileOld:
			medium := make([]byte, 30)
			medium[0] = 1 // WORMM
			give(c, scsi.ModeData{Buffered: 1, Pages: []scsi.ModePage{{Page: b.Page, Data: medium}}}.Bytes(b.Ten), int(b.Alloc))
			return nil, true
		}
		return nil, false
	case scsi.ReadBlockLimits:
		give(c, scsi.BlockLimits{Granularity: 9, Max: 1 << 20, Min: 4}.Bytes(), 6) // and takes all lengths
		return nil, true
	case scsi.Erase6:
		if profile == ProfileSSC2 {
			return nil, false
		}
	case scsi.Read6, scsi.Write6:
		return nil, false
	case scsi.Space6:
		if profile == ProfileSSC2 {
			return nil, false
		}
		if s := d.notReady(); s != nil {
			return s, true
		}
		return d.spaceOld(ctx, b), true
	case scsi.ReadPosition:
		if profile == ProfileSSC2 {
			break
		}
		if s := d.notReady(); s != nil {
			return s, true
		}
		data := make([]byte, 20)
		if b.Form == scsi.PositionLong {
			data = make([]byte, 32)
		}
		data[0] = byte(len(data))
		give(c, data, len(data))
		return nil, true
	}
	return sense(scsi.IllegalKey, scsi.CodeInvalidOpcode), true
}

// spaceOld is SPACE as tgt does it.
func (d *drive) spaceOld(ctx context.Context, b scsi.Space6) *scsi.Sense {
	if s := d.flush(); s != nil {
		return s
	}
	p, n := d.part(), int64(b.Count)
	end := sense(scsi.NoSense, scsi.CodeEndOfData)
	switch b.Code {
	case scsi.SpaceEnd:
		return d.travel(ctx, d.partition, p.count())
	case scsi.SpaceBlocks:
		goal := max(d.block+n, 0) // it does not notice the beginning of the tape
		if n > 0 && goal >= p.count() {
			if s := d.travel(ctx, d.partition, p.count()); s != nil {
				return s
			}
			return end
		}
		return d.travel(ctx, d.partition, goal)
	case scsi.SpaceFilemarks:
		s := d.spaceMarks(ctx, p, n)
		switch {
		case s != nil && n > 0:
			return end
		case s != nil:
			return sense(scsi.NoSense, scsi.CodeBeginning)
		case n < 0:
			return d.travel(ctx, d.partition, max(d.block-1, 0))
		}
		return nil
	}
	return badField
}

// oldSense makes sense data what a drive of the profile would say.
func (d *drive) oldSense(s *scsi.Sense) *scsi.Sense {
	if s == nil || d.lib.cfg.Profile != ProfileOld {
		return s
	}
	o := *s
	switch {
	case s.Is(scsi.BlankCheck, scsi.CodeEndOfData):
		o = scsi.Sense{Key: scsi.BlankCheck, EOM: true}
	case s.Is(scsi.NoSense, scsi.CodeEndOfMedium):
		o = scsi.Sense{EOM: true}
	}
	return &o
}

// erase makes the head's place the end of data (SSC-2, short erase).
func (d *drive) erase(b scsi.Erase6) *scsi.Sense {
	if s := d.protected(); s != nil {
		return s
	}
	if s := d.overwrite(); s != nil {
		return s
	}
	return d.flush()
}
