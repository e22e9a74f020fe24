package virtual

import (
	"context"
	stderrors "errors"
	"time"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"sliod/tape"
	"sliod/tape/geometry"
	"sliod/tape/scsi"
)

// mediumState is where a drive's cartridge is; doc.go draws the transitions.
type mediumState uint8

const (
	noMedium  mediumState = iota
	threading             // becoming ready
	ready
	ejected // in the drive, and the arm can take it
)

func (s mediumState) String() string {
	return [...]string{"no medium", "threading", "ready", "ejected"}[s]
}

// drive is an emulated tape drive: a scsi.Transport that obeys. All fields below
// turn belong to who holds it.
type drive struct {
	lib     *Library
	no      int
	serial  string
	address uint16
	log     *logrus.Entry

	turn chan struct{} // holds one token

	state   mediumState
	dir     string // of the cartridge's folder, unless noMedium
	barcode tape.Barcode
	readyAt time.Time
	cart    *cartridge // if ready

	attention []scsi.Code // unit attentions, not yet told
	partition int
	block     int64
	layout    *scsi.Partitioning // set by MODE SELECT for the next FORMAT MEDIUM
	prevent   bool
	pace      pace
	compress  bool
	// protection and extension are mode pages 0Ah/F0h and 10h/01h.
	protection  scsi.Protection
	extension   scsi.ConfigurationExtension
	crypt       crypt
	keyInstance uint32              // counts settings of crypt
	allowed     *tape.Position      // ALLOW OVERWRITE: where the next write may overwrite
	order       []scsi.NamedSegment // what RECEIVE RECOMMENDED ACCESS ORDER will give
	cleaned     bool                // the cleaning cartridge in the drive has been used
	expired     bool                // and it was used up
	tapeAt      geometry.Offset     // where the head is
}

// sense makes an answer.
func sense(k scsi.Key, c scsi.Code) *scsi.Sense { return &scsi.Sense{Key: k, Code: c} }

var badField = sense(scsi.IllegalKey, scsi.CodeInvalidField)

// take waits for a device's turn.
func (l *Library) take(ctx context.Context, turn chan struct{}) error {
	select {
	case <-l.closing:
		return errors.WithStack(ErrClosed)
	case <-ctx.Done():
		return errors.WithStack(ctx.Err())
	default:
	}
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		return errors.WithStack(ctx.Err())
	case <-l.closing:
		return errors.WithStack(ErrClosed)
	}
}

// Do implements scsi.Transport.
func (d *drive) Do(ctx context.Context, c *scsi.Command) error {
	if err := d.lib.take(ctx, d.turn); err != nil {
		return err
	}
	defer func() { d.turn <- struct{}{} }()
	c.Status, c.Sense, c.Residual = scsi.Good, nil, len(c.Data)+len(c.Tail)
	if len(c.CDB) == 0 {
		answer(c, sense(scsi.IllegalKey, scsi.CodeInvalidOpcode))
		return nil
	}
	e := &Event{Device: d.no, Opcode: c.CDB[0], CDB: c.CDB}
	d.place(e)
	if err := d.lib.before(ctx, e, c.Timeout); err != nil {
		return err
	}
	if d.lib.wasReset(d.no) {
		d.reset()
	}
	if e.out.sense != nil {
		d.note(e.Opcode, e.out.sense)
		answer(c, e.out.sense)
		return nil
	}
	if c.Dir == scsi.Out && len(e.out.flips) > 0 {
		data := c.Data
		defer func() { c.Data = data }()
		for _, at := range e.out.flips {
			flip(c, len(c.Data), at)
		}
	}
	sent := *e.out
	ctx, stop := d.lib.untilClose(ctx)
	defer stop()
	s := d.serve(ctx, c)
	d.note(e.Opcode, s)
	answer(c, d.oldSense(s))
	e.After = true
	d.place(e)
	if err := d.lib.point(e); err != nil {
		return err
	}
	if c.Dir == scsi.In {
		for _, at := range append(sent.flips, e.out.flips...) {
			flip(c, c.Transferred(), at)
		}
	}
	d.note(e.Opcode, e.out.sense)
	answer(c, e.out.sense)
	return nil
}

// Close implements scsi.Transport. The library owns the drive.
func (d *drive) Close() error { return nil }

func (d *drive) place(e *Event) {
	if d.state == ready {
		e.Volume, e.Position = d.barcode, tape.Position{Partition: tape.Partition(d.partition), Block: tape.BlockNo(d.block)}
	}
}

// serve carries a command out.
func (d *drive) serve(ctx context.Context, c *scsi.Command) *scsi.Sense {
	block, err := scsi.ParseStream(c.CDB)
	switch {
	case stderrors.Is(err, scsi.ErrOpcode):
		return sense(scsi.IllegalKey, scsi.CodeInvalidOpcode)
	case err != nil:
		return badField
	}
	d.settle()
	switch b := block.(type) { // never stopped by a unit attention
	case scsi.Inquiry:
		return serveInquiry(c, b, scsi.InquiryData{Device: scsi.DeviceTape, Vendor: "SLIOD", Product: "VIRTUAL " + d.lib.cfg.Cartridge, Revision: "0001"}, d.serial)
	case scsi.RequestSense:
		s := scsi.Sense{Descriptor: b.Descriptor}
		if len(d.attention) > 0 {
			s.Key, s.Code, d.attention = scsi.AttentionKey, d.attention[0], d.attention[1:]
		}
		give(c, s.Bytes(), int(b.Alloc))
		return nil
	}
	if len(d.attention) > 0 {
		s := sense(scsi.AttentionKey, d.attention[0])
		d.attention = d.attention[1:]
		return s
	}
	if s, done := d.serveOld(ctx, c, block); done {
		return s
	}
	switch b := block.(type) { // that need no medium
	case scsi.LoadUnload:
		return d.loadUnload(ctx, b)
	case scsi.ReadBlockLimits:
		give(c, scsi.BlockLimits{Max: maxRecord, Min: 1}.Bytes(), 6)
		return nil
	case scsi.ModeSense:
		return d.modeSense(c, b)
	case scsi.ModeSelect:
		return d.modeSelect(c, b)
	case scsi.LogSense:
		return d.logSense(c, b)
	case scsi.ReportDensity:
		return d.reportDensity(c, b)
	case scsi.ReportSupported:
		return d.reportSupported(c, b)
	case scsi.SecurityOut:
		return d.securityOut(c, b)
	case scsi.SecurityIn:
		return d.securityIn(c, b)
	case scsi.PreventAllow:
		d.prevent = b.Prevent&1 != 0
		return nil
	}
	if s := d.notReady(); s != nil {
		return s
	}
	if touchesMedium(c.CDB[0]) && d.lib.dirtiness(d.no) == tape.AlertCleanNow {
		return sense(scsi.MediumErrorKey, scsi.CodeCleaning)
	}
	switch b := block.(type) {
	case scsi.TestUnitReady:
		return nil
	case scsi.Read6:
		return d.read(ctx, c, b)
	case scsi.Write6:
		return d.write(ctx, c, b)
	case scsi.WriteFilemarks6:
		return d.filemarks(ctx, b)
	case scsi.Space6:
		return d.space(ctx, b.Code, int64(b.Count))
	case scsi.Space16:
		return d.space(ctx, b.Code, b.Count)
	case scsi.Locate10:
		return d.locate(ctx, b.ChangePartition, b.Partition, uint64(b.Block))
	case scsi.Locate16:
		return d.locate(ctx, b.ChangePartition, b.Partition, b.Block)
	case scsi.Erase6:
		return d.erase(b)
	case scsi.Rewind:
		return d.locate(ctx, false, 0, 0)
	case scsi.ReadPosition:
		return d.readPosition(c, b)
	case scsi.FormatMedium:
		return d.format(ctx, b)
	case scsi.AllowOverwrite:
		return d.allowOverwrite(b)
	case scsi.GenerateOrder:
		return d.generateOrder(c, b)
	case scsi.ReceiveOrder:
		return d.receiveOrder(c, b)
	case scsi.ReadWraps:
		return d.readWraps(c, b)
	case scsi.ReadAttribute:
		return d.readAttribute(c, b)
	case scsi.WriteAttribute:
		return d.writeAttribute(c, b)
	}
	return sense(scsi.IllegalKey, scsi.CodeInvalidOpcode)
}

// give answers a command with data, cut to what was allocated.
func give(c *scsi.Command, b []byte, alloc int) {
	if c.Dir == scsi.In {
		c.Residual = len(c.Data) - copy(c.Data, b[:min(len(b), alloc)])
	}
}

// taken returns the first n bytes of the data sent with a command; ok is false
// if there are not so many.
func taken(c *scsi.Command, n int) (b []byte, ok bool) {
	if c.Dir != scsi.Out || len(c.Data) < n {
		return nil, n == 0
	}
	c.Residual = len(c.Data) - n
	return c.Data[:n], true
}

// serveInquiry answers INQUIRY.
func serveInquiry(c *scsi.Command, b scsi.Inquiry, q scsi.InquiryData, serial string) *scsi.Sense {
	switch {
	case !b.VPD:
		give(c, q.Bytes(), int(b.Alloc))
	case b.Page == scsi.PageSupported:
		give(c, scsi.VitalPage(q.Device, b.Page, []byte{scsi.PageSupported, scsi.PageSerial}), int(b.Alloc))
	case b.Page == scsi.PageSerial:
		give(c, scsi.VitalPage(q.Device, b.Page, []byte(serial)), int(b.Alloc))
	default:
		return badField
	}
	return nil
}

// insert puts a cartridge into the drive, which begins to thread it. The caller holds the turn.
func (d *drive) insert(dir string, barcode tape.Barcode) {
	d.state, d.dir, d.barcode, d.cleaned = threading, dir, barcode, false
	if d.lib.cfg.Speed > 0 {
		takes := d.lib.gen.Load
		if isCleaner(barcode) {
			takes += cleanTime
		}
		d.readyAt = d.lib.cfg.Clock.Now().Add(d.pace.scaled(takes.Seconds()))
	}
}

// settle ends the threading when its time has come.
func (d *drive) settle() {
	if d.state != threading || d.lib.cfg.Speed > 0 && d.lib.cfg.Clock.Now().Before(d.readyAt) {
		return
	}
	if s := d.open(); s != nil {
		d.state = ejected // LOAD tries again, and tells
		return
	}
	d.attention = append(d.attention, scsi.CodeMediumChanged)
}

func (d *drive) open() *scsi.Sense {
	if isCleaner(d.barcode) {
		d.state = ejected
		return d.clean()
	}
	if a := d.lib.dirtiness(d.no); a != 0 {
		d.lib.raise(d.no, a)
	}
	c, err := openCartridge(d.dir, d.log)
	if err != nil {
		d.log.WithError(err).Errorf("cannot load volume %s", d.barcode)
		d.lib.raise(d.no, 55) // loading or threading failure
		return sense(scsi.HardwareKey, scsi.CodeLoadEjectFailed)
	}
	d.cart, d.state, d.partition, d.block, d.tapeAt, d.layout = c, ready, 0, 0, 0, nil
	d.order, d.allowed = nil, nil
	return nil
}

func (d *drive) notReady() *scsi.Sense {
	switch d.state {
	case noMedium:
		return sense(scsi.NotReadyKey, scsi.CodeNoMedium)
	case threading:
		return sense(scsi.NotReadyKey, scsi.CodeBecomingReady)
	case ejected:
		if isCleaner(d.barcode) {
			return d.cleanerState()
		}
		return sense(scsi.NotReadyKey, scsi.CodeNeedsLoad)
	}
	return nil
}

func (d *drive) loadUnload(ctx context.Context, b scsi.LoadUnload) *scsi.Sense {
	if d.state == noMedium {
		return sense(scsi.NotReadyKey, scsi.CodeNoMedium)
	}
	if !b.Load {
		return d.unload(ctx)
	}
	switch d.state {
	case threading:
		d.pace.until = d.readyAt
		d.pace.spend(ctx, 0)
		return d.open()
	case ejected:
		if !isCleaner(d.barcode) {
			d.pace.spend(ctx, d.lib.gen.Load.Seconds())
		}
		return d.open()
	}
	return d.locate(ctx, true, 0, 0)
}

func (d *drive) unload(ctx context.Context) *scsi.Sense {
	if d.prevent {
		return sense(scsi.IllegalKey, scsi.CodeRemovalPrevented)
	}
	d.crypt = crypt{}
	var failed *scsi.Sense    // told, but the cartridge comes out: it would stay for ever
	if d.state == threading { // a cleaning is not broken off
		d.pace.until = d.readyAt
		d.pace.spend(ctx, 0)
		if isCleaner(d.barcode) {
			d.open()
		}
	}
	if d.state == ready {
		d.cart.memDirty = d.cart.memDirty || d.cart.mem.Use != d.cart.before
		if failed = d.flush(); failed == nil {
			failed = d.written(d.cart.saveMemory())
		}
		d.pace.spend(ctx, d.lib.gen.Locate(d.tapeAt, 0)+d.lib.gen.Unload.Seconds())
		d.cart.close()
		d.cart = nil
	}
	d.state = ejected
	return failed
}

// flush puts all that was written on disk.
func (d *drive) flush() *scsi.Sense {
	return d.written(d.cart.flush())
}

// written turns an error of writing into sense data. A full disk is a full
// tape to the host: the next volume may be elsewhere, and this one can be read.
func (d *drive) written(err error) *scsi.Sense {
	if err == nil {
		return nil
	}
	d.log.WithError(err).WithField("volume", d.barcode).Error("the volume's files cannot be written")
	if stderrors.Is(err, unix.ENOSPC) {
		return &scsi.Sense{Key: scsi.VolumeOverflow, Code: scsi.CodeEndOfMedium, EOM: true}
	}
	return sense(scsi.MediumErrorKey, scsi.CodeWriteError)
}

// damaged turns an error of reading into sense data.
func (d *drive) damaged(err error) *scsi.Sense {
	d.log.WithError(err).WithField("volume", d.barcode).Error("the volume's files cannot be read")
	return sense(scsi.MediumErrorKey, scsi.CodeReadError)
}
