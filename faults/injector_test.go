package faults

import (
	"context"
	"fmt"
	"sync"

	"sliod/tape"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// plan says which command fails, and how.
type plan struct {
	nth     int64 // of all commands to all devices that the kind fits, from 1; 0: none
	kind    *kind
	after   bool // the command is done, and only its answer changed
	forever bool // all later commands to that device fail as well, when the kind fits them
}

func (p plan) String() string {
	if p.nth == 0 {
		return "no failure"
	}
	return fmt.Sprintf("%d %s %s %s", p.nth, p.kind.name, choose(p.after, "after", "before"), choose(p.forever, "forever", "once"))
}

func choose(yes bool, a, b string) string {
	if yes {
		return a
	}
	return b
}

// parsePlan is the reverse of String.
func parsePlan(s string) (plan, error) {
	var p plan
	var name, when, often string
	if _, err := fmt.Sscan(s, &p.nth, &name, &when, &often); err != nil {
		return p, err
	}
	if p.kind = kindNamed(name); p.kind == nil {
		return p, fmt.Errorf("%q: no kind of failure is called %s", s, name)
	}
	p.after, p.forever = when == "after", often == "forever"
	return p, nil
}

// injector counts the commands to all devices of a library and has those fail that
// its plan says.
type injector struct {
	plan plan

	mu     sync.Mutex
	off    bool
	rule   func(device int, cdb []byte) *kind // instead of the plan, if set
	count  int64                              // of commands that the kind fits
	hit    string                             // the first that failed: "drive 1 write", "" if none
	device int                                // that it went to
}

// library is lib with the injector between its devices and the SCSI driver.
func (x *injector) library(lib *virtual.Library, drives int) (*tape.Library, error) {
	out := &tape.Library{Name: lib.Tape().Name, VolumeBytes: lib.Tape().VolumeBytes, Close: lib.Close}
	for i := range drives {
		d, err := scsi.NewDrive(x.wrap(lib, i), scsi.DriveOptions{})
		if err != nil {
			return nil, err
		}
		out.Drives = append(out.Drives, d)
	}
	c, err := scsi.NewChanger(x.wrap(lib, virtual.Changer), scsi.ChangerOptions{})
	if err != nil {
		return nil, err
	}
	out.Changer = c
	return out, nil
}

func (x *injector) wrap(lib *virtual.Library, device int) scsi.Transport {
	return &faulty{Transport: lib.Transport(device), x: x, device: device}
}

// stop ends all failing, and counting.
func (x *injector) stop() {
	x.mu.Lock()
	x.off = true
	x.mu.Unlock()
}

// set has the commands fail, from now on, for which rule returns a kind; nil: none.
func (x *injector) set(rule func(device int, cdb []byte) *kind) {
	x.mu.Lock()
	x.rule = rule
	x.mu.Unlock()
}

// strikes says whether a command that goes to device fails, and how.
func (x *injector) strikes(device int, cdb []byte) *kind {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.rule != nil {
		return x.rule(device, cdb)
	}
	if !x.off && x.planned(device, cdb) {
		return x.plan.kind
	}
	return nil
}

// planned says whether the plan has the command fail. The caller has the lock.
func (x *injector) planned(device int, cdb []byte) bool {
	p := &x.plan
	if p.kind != nil && !p.kind.applies(cdb[0]) {
		return false
	}
	x.count++
	switch {
	case x.hit == "" && x.count == p.nth:
		x.hit, x.device = opName(device, cdb), device
	case x.hit != "" && p.forever && device == x.device:
	default:
		return false
	}
	return true
}

// faulty is the Transport of one device, with the injector in it.
type faulty struct {
	scsi.Transport
	x      *injector
	device int
}

// Do implements scsi.Transport.
func (f *faulty) Do(ctx context.Context, c *scsi.Command) error {
	k := f.x.strikes(f.device, c.CDB)
	if k == nil {
		return f.Transport.Do(ctx, c)
	}
	if f.x.plan.after {
		if err := f.Transport.Do(ctx, c); err != nil {
			return err
		}
	} else {
		c.Status, c.Sense, c.Residual = scsi.Good, nil, len(c.Data)
	}
	return k.spoil(c)
}

var opNames = map[byte]string{
	0x00: "test-unit-ready", 0x01: "rewind", 0x03: "request-sense", 0x05: "read-block-limits", 0x08: "read", 0x0A: "write", 0x10: "write-filemarks",
	0x11: "space", 0x12: "inquiry", 0x15: "mode-select", 0x1A: "mode-sense", 0x1B: "load-unload", 0x1E: "prevent", 0x04: "format-medium", 0x07: "initialize",
	0x34: "read-position", 0x4D: "log-sense", 0x55: "mode-select", 0x5A: "mode-sense", 0x82: "allow-overwrite", 0x8C: "read-attribute", 0x8D: "write-attribute",
	0x91: "space", 0x92: "locate", 0xA5: "move", 0xB8: "element-status", 0x2B: "locate", 0xA3: "report", 0x44: "report-density",
}

func opName(device int, cdb []byte) string {
	name := opNames[cdb[0]]
	if name == "" {
		name = fmt.Sprintf("op-%02x", cdb[0])
	}
	if cdb[0] == 0x1B {
		name = choose(cdb[4]&1 != 0, "load", "unload")
	}
	return choose(device == virtual.Changer, "changer ", "drive ") + name
}
