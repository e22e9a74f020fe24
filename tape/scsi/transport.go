package scsi

import (
	"context"
	"time"
)

// Direction says which way a command's data goes.
type Direction uint8

// Directions.
const (
	None Direction = iota
	In             // from the device
	Out            // to the device
)

// Status is the status byte of SAM-5.
type Status uint8

// Status codes.
const (
	Good                Status = 0x00
	CheckCondition      Status = 0x02
	Busy                Status = 0x08
	ReservationConflict Status = 0x18
	TaskSetFull         Status = 0x28
)

// Command is one command block with its data, and the device's answer.
type Command struct {
	CDB     []byte
	Dir     Direction
	Data    []byte        // filled by the device if Dir is In; lent to Do until it returns
	Tail    []byte        // goes behind Data, as part of the same transfer: only for a TailCarrier
	Timeout time.Duration // after it the transport gives the command up

	// What the device answered.
	Residual int // bytes of Data and Tail not transferred
	Status   Status
	Sense    []byte // if Status is CheckCondition
}

// Transferred is the number of bytes of Data that went over.
func (c *Command) Transferred() int {
	return min(max(len(c.Data)-c.Residual, 0), len(c.Data))
}

// Transport carries commands to one logical unit. It has one initiator, and one
// command at a time.
type Transport interface {
	// Do runs c to its end and fills in its answer. An error means that the device
	// could not be asked, or gave no answer: what the command did is not known. A
	// device that answers with bad news is no error of Do.
	Do(ctx context.Context, c *Command) error
	// Close ends the transport. It may be called more than once.
	Close() error
}
