package scsi

import "time"

// Timeouts are how long commands may take before the transport gives them up.
type Timeouts struct {
	Short, Read, Write, Filemarks, Move, Rewind, Load, Format time.Duration
	Robot, Inventory                                          time.Duration
	// Ready is how long a load may take in all, becoming ready included: an LTO-9
	// cartridge's first load can take two hours.
	Ready time.Duration
}

// LTO9Timeouts are the longest of the LTO generations that are in use.
var LTO9Timeouts = Timeouts{
	Short: time.Minute, Read: 2340 * time.Second, Write: 1500 * time.Second, Filemarks: 1620 * time.Second,
	Move: 2940 * time.Second, Rewind: 600 * time.Second, Load: 960 * time.Second, Format: 3000 * time.Second,
	Robot: 10 * time.Minute, Inventory: time.Hour, Ready: 150 * time.Minute,
}
