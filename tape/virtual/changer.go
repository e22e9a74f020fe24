package virtual

import (
	"context"
	stderrors "errors"
	"maps"
	"slices"

	"sliod/tape"
	"sliod/tape/geometry"
	"sliod/tape/scsi"
)

// changer is the emulated robot: a scsi.Transport. All fields belong to who holds
// the turn, and so do the library's places.
type changer struct {
	lib       *Library
	turn      chan struct{}
	attention []scsi.Code
	pace      pace
	drop      bool // the cartridge of the next move that is carried out falls down
	odd       map[uint16]Exception
}

// Do implements scsi.Transport.
func (r *changer) Do(ctx context.Context, c *scsi.Command) error {
	if err := r.lib.take(ctx, r.turn); err != nil {
		return err
	}
	defer func() { r.turn <- struct{}{} }()
	c.Status, c.Sense, c.Residual = scsi.Good, nil, len(c.Data)
	if len(c.CDB) == 0 {
		answer(c, sense(scsi.IllegalKey, scsi.CodeInvalidOpcode))
		return nil
	}
	e := &Event{Device: Changer, Opcode: c.CDB[0], CDB: c.CDB}
	if b, err := scsi.ParseChanger(c.CDB); err == nil {
		if m, ok := b.(scsi.MoveMedium); ok {
			e.Volume = r.lib.places.Elements[m.From].Volume
		}
	}
	if err := r.lib.before(ctx, e, c.Timeout); err != nil {
		return err
	}
	if r.lib.wasReset(Changer) {
		r.attention = append(r.attention, scsi.CodeReset)
	}
	if e.out.sense != nil {
		answer(c, e.out.sense)
		return nil
	}
	r.drop = r.drop || e.out.drop
	timed, stop := r.lib.untilClose(ctx)
	defer stop()
	s, err := r.serve(timed, c)
	if err != nil {
		return err
	}
	answer(c, s)
	e.After = true
	if err := r.lib.point(e); err != nil {
		return err
	}
	answer(c, e.out.sense)
	return nil
}

// Close implements scsi.Transport. The library owns the changer.
func (r *changer) Close() error { return nil }

func (r *changer) serve(ctx context.Context, c *scsi.Command) (*scsi.Sense, error) {
	block, err := scsi.ParseChanger(c.CDB)
	switch {
	case stderrors.Is(err, scsi.ErrOpcode):
		return sense(scsi.IllegalKey, scsi.CodeInvalidOpcode), nil
	case err != nil:
		return badField, nil
	}
	switch b := block.(type) {
	case scsi.Inquiry:
		return serveInquiry(c, b, scsi.InquiryData{Device: scsi.DeviceChanger, Vendor: "SLIOD", Product: "VIRTUAL LIBRARY", Revision: "0001"}, "VL00000001"), nil
	case scsi.RequestSense:
		s := scsi.Sense{Descriptor: b.Descriptor}
		if len(r.attention) > 0 {
			s.Key, s.Code, r.attention = scsi.AttentionKey, r.attention[0], r.attention[1:]
		}
		give(c, s.Bytes(), int(b.Alloc))
		return nil, nil
	}
	if len(r.attention) > 0 {
		s := sense(scsi.AttentionKey, r.attention[0])
		r.attention = r.attention[1:]
		return s, nil
	}
	switch b := block.(type) {
	case scsi.TestUnitReady, scsi.InitializeElementStatus, scsi.InitializeElementRange, scsi.PreventAllow:
		return nil, nil
	case scsi.ModeSense:
		return r.modeSense(c, b), nil
	case scsi.ReadElementStatus:
		give(c, scsi.ElementBytes(b, r.status(b)), int(b.Alloc))
		return nil, nil
	case scsi.PositionToElement:
		if r.lib.kind(b.To) == 0 {
			return sense(scsi.IllegalKey, scsi.CodeInvalidElement), nil
		}
		r.pace.spend(ctx, geometry.RobotMove.Seconds()/2)
		return nil, nil
	case scsi.MoveMedium:
		return r.move(ctx, b)
	}
	return sense(scsi.IllegalKey, scsi.CodeInvalidOpcode), nil
}

func (r *changer) modeSense(c *scsi.Command, b scsi.ModeSense) *scsi.Sense {
	if b.Page != scsi.PageElements && b.Page != scsi.PageAll || b.Control == 3 {
		return badField
	}
	cfg := r.lib.cfg
	page := scsi.ElementAddresses{
		Arms:         scsi.Addresses{First: armAddress, Count: 1},
		Slots:        scsi.Addresses{First: slotAddress, Count: uint16(cfg.Slots)},
		ImportExport: scsi.Addresses{First: mailAddress, Count: uint16(cfg.ImportExport)},
		Drives:       scsi.Addresses{First: driveAddress, Count: uint16(cfg.Drives)},
	}.Page()
	give(c, scsi.ModeData{Pages: []scsi.ModePage{page}}.Bytes(b.Ten), int(b.Alloc))
	return nil
}

// status describes the elements that are asked for.
func (r *changer) status(b scsi.ReadElementStatus) []scsi.ElementStatus {
	l := r.lib
	addresses := []uint16{armAddress}
	for i := range l.cfg.ImportExport {
		addresses = append(addresses, mailAddress+uint16(i))
	}
	for i := range l.cfg.Drives {
		addresses = append(addresses, driveAddress+uint16(i))
	}
	for i := range l.cfg.Slots {
		addresses = append(addresses, slotAddress+uint16(i))
	}
	var es []scsi.ElementStatus
	for _, a := range addresses {
		kind := l.kind(a)
		if len(es) == int(b.Count) {
			break
		}
		if a < b.Start || b.Type != 0 && b.Type != uint8(kind) {
			continue
		}
		v := l.places.Elements[a]
		e := scsi.ElementStatus{Type: uint8(kind), Address: a, Full: v.Volume != "", Accessible: kind != tape.Arm,
			Tag: string(v.Volume), Source: v.Source, SourceValid: v.Source != 0}
		if odd, ok := r.odd[a]; ok {
			e.Exception, e.Code, e.Accessible = true, odd.Code, !odd.OutOfReach
			if odd.Tag != "" || odd.NoTag {
				e.Tag = odd.Tag
			}
		}
		if kind == tape.DriveElement {
			d := l.drives[a-driveAddress]
			id := make([]byte, 24, 34)
			copy(id, "SLIOD   VIRTUAL "+l.cfg.Cartridge)
			for i := len("SLIOD   VIRTUAL ") + len(l.cfg.Cartridge); i < 24; i++ {
				id[i] = ' '
			}
			e.DeviceID = scsi.DeviceID{CodeSet: 2, Type: 1, ID: append(id, d.serial...)}
		}
		es = append(es, e)
	}
	return es
}

// move carries a cartridge. Where it is said to be changes on disk in one step;
// a drive at either end is held meanwhile.
func (r *changer) move(ctx context.Context, b scsi.MoveMedium) (*scsi.Sense, error) {
	l := r.lib
	from, to := l.kind(b.From), l.kind(b.To)
	if b.Arm > 1 || from == 0 || to == 0 || from == tape.Arm || to == tape.Arm {
		return sense(scsi.IllegalKey, scsi.CodeInvalidElement), nil
	}
	v := l.places.Elements[b.From]
	switch {
	case b.Invert:
		return badField, nil
	case v.Volume == "":
		return sense(scsi.IllegalKey, scsi.CodeSourceEmpty), nil
	case b.From == b.To:
		return nil, nil
	case l.places.Elements[b.To].Volume != "":
		return sense(scsi.IllegalKey, scsi.CodeDestinationFull), nil
	}
	var source, goal *drive
	for _, end := range []struct {
		address uint16
		drive   **drive
	}{{b.From, &source}, {b.To, &goal}} {
		if l.kind(end.address) != tape.DriveElement {
			continue
		}
		d := l.drives[end.address-driveAddress]
		if err := l.take(ctx, d.turn); err != nil {
			return nil, err
		}
		defer func() { d.turn <- struct{}{} }()
		*end.drive = d
	}
	if source != nil && source.state != ejected {
		return sense(scsi.IllegalKey, scsi.CodeRemovalPrevented), nil
	}
	r.pace.spend(ctx, geometry.RobotMove.Seconds())
	next := places{placesFormat, maps.Clone(l.places.Elements)}
	delete(next.Elements, b.From)
	if !r.drop {
		next.Elements[b.To] = placedVolume{v.Volume, b.From}
	}
	if err := next.save(l.cfg.Dir); err != nil {
		l.cfg.Log.WithError(err).Error("the library cannot note a move")
		return sense(scsi.HardwareKey, scsi.CodeInternalFailure), nil
	}
	l.places = next
	if source != nil {
		source.state, source.dir, source.barcode, source.attention = noMedium, "", "", nil
	}
	if r.drop {
		r.drop = false
		return sense(scsi.HardwareKey, codeArmFailed), nil
	}
	if goal != nil {
		goal.insert(l.cartridgeDir(v.Volume), v.Volume)
	}
	return nil, nil
}

// Exception is what the changer reports of an element that is not in order.
type Exception struct {
	Code       scsi.Code
	NoTag      bool   // the barcode cannot be read
	Tag        string // or it is read as this
	OutOfReach bool   // the arm does not get there
}

// SetException has an element reported as not in order; nil: in order again.
func (l *Library) SetException(at uint16, x *Exception) error {
	if err := l.take(context.Background(), l.changer.turn); err != nil {
		return err
	}
	defer func() { l.changer.turn <- struct{}{} }()
	if x == nil {
		delete(l.changer.odd, at)
		return nil
	}
	if l.changer.odd == nil {
		l.changer.odd = map[uint16]Exception{}
	}
	l.changer.odd[at] = *x
	return nil
}

// volumes lists all cartridges, sorted. The caller holds the turn.
func (l *Library) volumes() []tape.Barcode {
	var out []tape.Barcode
	for _, v := range l.places.Elements {
		out = append(out, v.Volume)
	}
	slices.Sort(out)
	return out
}
