package scsi

import (
	"context"

	"github.com/pkg/errors"

	"sliod/tape"
)

// configure sets what a reset undoes: records of any length, buffered writes,
// compression, early warning, logical block protection, that the cartridge is kept in, and the
// key. If the drive is reset meanwhile, all is done again; if it fails, it is tried again
// before the next command.
func (d *Drive) configure(ctx context.Context) error {
	for range maxAttention {
		d.lost = 0
		if err := d.configureOnce(ctx); err != nil {
			d.mustSetAgain()
			return err
		}
		if d.loaded && d.swapped { // told behind the reset: the settings are those of a drive with another medium
			d.loaded, d.changed = false, true
			return d.fail("mode sense", tape.UnitAttention, nil, &SenseError{Sense{Key: AttentionKey, Code: CodeMediumChanged}})
		}
		if d.lost == 0 {
			return nil
		}
		if d.lost&0xFF00 == CodeReset&0xFF00 && d.unflushed {
			d.unflushed = false
			reset := d.fail("mode sense", tape.UnitAttention, nil, &SenseError{Sense{Key: AttentionKey, Code: d.lost}})
			return d.fail("write", tape.Deferred, nil, errors.WithMessage(reset, "the drive was reset with records in its buffer"))
		}
	}
	return d.fail("mode select", tape.HardwareError, nil, errors.New("the drive loses its settings again and again"))
}

func (d *Drive) configureOnce(ctx context.Context) error {
	m, err := d.modeSense(ctx, PageConfiguration, d.patient)
	if err != nil {
		return err
	}
	d.limits.WriteProtected = m.WriteProtected || d.readOnly || d.limits.WORM
	if m.HasBlock {
		d.limits.Density = m.Density
	}
	if m.BlockLength != 0 || m.Buffered != 1 {
		data := ModeData{Buffered: 1, HasBlock: true, Density: m.Density}.Bytes(false)
		data[0] = 0 // reserved in MODE SELECT
		if _, err := d.patient(ctx, call{"mode select", ModeSelect{Pages: true, Length: uint16(len(data))}, Out, data, d.times.Short}); err != nil {
			return err
		}
	}
	for _, step := range []func(context.Context) error{d.compress, d.extend, d.protect, d.prevent, d.applyKey} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// modeSelect writes pages back. What the drive does not let itself be told stays as it is.
func (d *Drive) modeSelect(ctx context.Context, what string, pages ...ModePage) error {
	for i := range pages {
		pages[i].Saveable = false // reserved in MODE SELECT
	}
	data := ModeData{Buffered: 1, Pages: pages}.Bytes(true)
	data[0], data[1] = 0, 0 // likewise
	_, err := d.patient(ctx, call{"mode select", ModeSelect{Ten: true, Pages: true, Length: uint16(len(data))}, Out, data, d.times.Short})
	if s, ok := senseOf(err); ok && s.Key == IllegalKey && !s.Deferred {
		d.log.Infof("the drive does not set its %s: %v", what, s)
		return nil
	}
	return err
}

// compress turns the drive's compression on or off (mode page 0Fh).
func (d *Drive) compress(ctx context.Context) error {
	m, err := d.modeSense(ctx, PageCompression, d.patient)
	page := m.Find(PageCompression)
	if refused(err) || err == nil && page == nil {
		return nil
	}
	if err != nil {
		return err
	}
	c, err := ParseCompression(page)
	if err != nil {
		return d.fail("mode sense", tape.HardwareError, nil, err)
	}
	if !c.Capable || c.Enabled == !d.noCompression {
		return nil
	}
	page = append([]byte(nil), page...)
	page[0] ^= 0x80
	return d.modeSelect(ctx, "compression", ModePage{Page: PageCompression, Data: page})
}

// extend reads mode page 10h/01h, and sets the programmable early warning.
func (d *Drive) extend(ctx context.Context) error {
	buf := make([]byte, 255)
	n, err := d.patient(ctx, call{"mode sense", ModeSense{Ten: true, NoDescriptors: true, Page: PageConfiguration, Subpage: SubpageExtension, Alloc: uint16(len(buf))},
		In, buf, d.times.Short})
	if s, ok := senseOf(err); ok && s.Key == IllegalKey && !s.Deferred {
		return nil
	} else if err != nil {
		return err
	}
	m, err := ParseMode(true, buf[:min(n, modeLength(true, buf))])
	if err != nil {
		return d.fail("mode sense", tape.HardwareError, nil, err)
	}
	page := m.FindSubpage(PageConfiguration, SubpageExtension)
	if page == nil {
		return nil
	}
	e, err := ParseConfigurationExtension(page)
	if err != nil {
		d.log.WithError(err).Warn("the drive's configuration extension makes no sense and is left alone")
		return nil
	}
	d.appendOnly = e.AppendOnly
	if d.earlyWarning == 0 || e.EarlyWarning == d.earlyWarning {
		return nil
	}
	page = append([]byte(nil), page...)
	page[2], page[3] = byte(d.earlyWarning>>8), byte(d.earlyWarning)
	return d.modeSelect(ctx, "early warning", ModePage{Page: PageConfiguration, Subpage: SubpageExtension, Data: page})
}

// learn finds out what the drive can do with this medium. What it does not know
// is no error.
func (d *Drive) learn(ctx context.Context) error {
	buf := make([]byte, 6)
	n, err := d.patient(ctx, call{"read block limits", ReadBlockLimits{}, In, buf, d.times.Short})
	if err != nil {
		return err
	}
	limits, err := ParseBlockLimits(buf[:n])
	if err != nil {
		return d.fail("read block limits", tape.HardwareError, nil, err)
	}
	d.limits.MaxBlock = int(limits.Max)
	if d.maxTransfer > 0 {
		d.limits.MaxBlock = min(d.limits.MaxBlock, d.maxTransfer)
	}
	if d.limits.Protected {
		d.limits.MaxBlock -= ProtectionSize
	}
	d.limits.Partitions = 1
	switch p, err := d.partitioning(ctx); {
	case err == nil:
		d.limits.Partitions = 1 + int(p.MaxAdditional)
	case !refused(err):
		return err
	}
	switch _, err := d.readAttributes(ctx, ReadAttribute{List: true, Alloc: 1024}); {
	case err == nil:
		d.limits.HasMAM = true
	case !refused(err):
		return err
	}
	for _, step := range []func(context.Context) error{d.learnPosition, d.learnMedium, d.learnDensity, d.learnOrder, d.learnWraps, d.learnEncryption, d.capacity} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// learnMedium asks for the kind of cartridge: the medium's memory is believed
// first, then mode page 1Dh. A drive without LOCATE is not asked: WORM cartridges are
// younger than LOCATE, and tgt's drive claims WORM for every cartridge.
func (d *Drive) learnMedium(ctx context.Context) error {
	if d.limits.HasMAM {
		as, err := d.readAttributes(ctx, ReadAttribute{First: AttrMediumType, Alloc: 4 + 5 + 64})
		switch {
		case refused(err):
		case err != nil:
			return err
		case len(as) > 0 && as[0].ID == AttrMediumType && len(as[0].Value) == 1:
			switch as[0].Value[0] {
			case MediumWORM:
				d.worm("its memory says so")
			case MediumCleaning:
				d.limits.Cleaning = true
			}
			return nil
		}
	}
	if !d.limits.HasLocate {
		return nil
	}
	m, err := d.modeSense(ctx, PageMedium, d.patient)
	if refused(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if p := m.Find(PageMedium); len(p) > 0 && p[0]&1 != 0 { // WORMM
		d.worm("mode page 1Dh says so")
	}
	return nil
}

// worm notes that the cartridge can be written once only. It is read, and never written.
func (d *Drive) worm(why string) {
	d.log.Warnf("the cartridge is WORM (%s): it can be read, and is not written", why)
	d.limits.WORM, d.limits.WriteProtected = true, true
}

// learnDensity asks which formats the drive knows for this medium (REPORT
// DENSITY SUPPORT): one that it cannot write is write protected here.
func (d *Drive) learnDensity(ctx context.Context) error {
	buf := make([]byte, 4+16*DensitySize)
	n, err := d.patient(ctx, call{"report density", ReportDensity{Media: true, Alloc: uint16(len(buf))}, In, buf, d.times.Short})
	if s, ok := senseOf(err); ok && s.Key == IllegalKey && !s.Deferred {
		return nil
	}
	if err != nil {
		return err
	}
	ds, err := ParseDensities(buf[:n])
	if err != nil {
		d.log.WithError(err).Warn("the drive's list of densities makes no sense and is left alone")
		return nil
	}
	known, writable := false, false
	for _, x := range ds {
		known = known || x.Primary == d.limits.Density
		writable = writable || x.Writable
		d.capacityMB = max(d.capacityMB, int64(x.CapacityMB))
	}
	if !known && len(ds) > 0 {
		d.limits.Density = ds[0].Primary
	}
	if len(ds) > 0 && !writable && !d.limits.WriteProtected {
		d.log.Infof("the drive reads this medium (density %02x) and cannot write it", d.limits.Density)
		d.limits.WriteProtected, d.readOnly = true, true
	}
	return nil
}

// learnPosition finds out whether the drive can LOCATE, and whether READ
// POSITION is true. An answer in the long form that says "beginning" at block 0
// and nowhere else is believed. Every other one is put to the test: the tape is
// rewound, and the drive is told to LOCATE to where it is then. A drive that can does
// not move; one that cannot is not believed either, and blocks are counted.
func (d *Drive) learnPosition(ctx context.Context) error {
	p, err := d.positionData(ctx)
	if err != nil && !refused(err) {
		return err
	}
	if err != nil || d.shortForm || !p.plausible() {
		if err := d.Rewind(ctx); err != nil {
			return err
		}
		if err := d.locate(ctx, tape.Position{}); refused(err) {
			return d.startCounting(ctx)
		} else if err != nil {
			return err
		}
		if p, err = d.positionData(ctx); refused(err) {
			return d.startCounting(ctx)
		} else if err != nil {
			return err
		}
	}
	d.limits.HasLocate = true
	if !p.Unknown && p.Partition <= 0xFF {
		d.pos, d.known = tape.Position{Partition: tape.Partition(p.Partition), Block: tape.BlockNo(p.Block)}, true
	}
	return nil
}
