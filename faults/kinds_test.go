package faults

import (
	"slices"

	"github.com/pkg/errors"

	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// kind is one way in which a device fails a command.
type kind struct {
	name string
	// spoil makes the answer. An error is the transport's.
	spoil func(c *scsi.Command) error
	// after, if set, is the only moment at which the kind makes sense: the
	// command was done.
	after bool
	// ops are the commands that can fail so; nil: all.
	ops []byte
}

// applies says whether a command can fail in this way.
func (k *kind) applies(opcode byte) bool { return k.ops == nil || slices.Contains(k.ops, opcode) }

// check answers CHECK CONDITION with sense data.
func check(s scsi.Sense) func(*scsi.Command) error {
	return func(c *scsi.Command) error {
		c.Status, c.Sense = scsi.CheckCondition, s.Bytes()
		return nil
	}
}

func sense(k scsi.Key, code scsi.Code) func(*scsi.Command) error {
	return check(scsi.Sense{Key: k, Code: code})
}

func status(s scsi.Status) func(*scsi.Command) error {
	return func(c *scsi.Command) error {
		c.Status, c.Sense = s, nil
		return nil
	}
}

func broken(err error) func(*scsi.Command) error {
	return func(*scsi.Command) error { return errors.WithStack(err) }
}

var writes = []byte{scsi.OpWrite6, scsi.OpWriteFilemarks6}

// kinds are all ways to fail. Codes are those of SPC-5 and SSC-5.
var kinds = []*kind{
	{name: "medium-read", spoil: sense(scsi.MediumErrorKey, scsi.CodeReadError)},
	{name: "medium-write", spoil: sense(scsi.MediumErrorKey, scsi.CodeWriteError)},
	{name: "hardware", spoil: sense(scsi.HardwareKey, scsi.CodeInternalFailure)},
	{name: "deferred", spoil: check(scsi.Sense{Deferred: true, Key: scsi.MediumErrorKey, Code: scsi.CodeWriteError})},
	{name: "attention-medium", spoil: sense(scsi.AttentionKey, scsi.CodeMediumChanged)},
	{name: "attention-reset", spoil: sense(scsi.AttentionKey, scsi.CodeReset)},
	{name: "attention-mode", spoil: sense(scsi.AttentionKey, scsi.CodeModeChanged)},
	{name: "becoming-ready", spoil: sense(scsi.NotReadyKey, scsi.CodeBecomingReady)},
	{name: "no-medium", spoil: sense(scsi.NotReadyKey, scsi.CodeNoMedium)},
	{name: "illegal-opcode", spoil: sense(scsi.IllegalKey, scsi.CodeInvalidOpcode)},
	{name: "illegal-field", spoil: sense(scsi.IllegalKey, scsi.CodeInvalidField)},
	{name: "write-protect", spoil: sense(scsi.ProtectKey, scsi.CodeWriteProtected)},
	{name: "aborted", spoil: sense(scsi.AbortedCommand, 0x4700)},
	{name: "block-protection", spoil: sense(scsi.AbortedCommand, scsi.CodeProtectionFailed)},
	{name: "early-warning", after: true, ops: writes, spoil: check(scsi.Sense{Code: scsi.CodeEndOfMedium, EOM: true})},
	{name: "end-of-medium", spoil: check(scsi.Sense{Key: scsi.VolumeOverflow, Code: scsi.CodeEndOfMedium, EOM: true})},
	{name: "blank", spoil: sense(scsi.BlankCheck, scsi.CodeEndOfData)},
	{name: "busy", spoil: status(scsi.Busy)},
	{name: "task-set-full", spoil: status(scsi.TaskSetFull)},
	{name: "reservation", spoil: status(scsi.ReservationConflict)},
	{name: "lost", spoil: broken(virtual.ErrLost)},
	{name: "timeout", spoil: broken(virtual.ErrTimeout)},
}

func kindNamed(name string) *kind {
	for _, k := range kinds {
		if k.name == name {
			return k
		}
	}
	return nil
}
