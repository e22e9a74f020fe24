package scsi

import (
	"context"
	"io"
	"time"

	"github.com/sirupsen/logrus"

	"sliod/tape"
)

// Load implements tape.Drive. It takes all unit attentions that wait: they tell
// of what happened before, and the medium is new to the caller in any case.
func (d *Drive) Load(ctx context.Context) error {
	d.loaded, d.changed, d.known, d.unflushed, d.limits, d.written = false, false, false, false, tape.Limits{}, 0
	if err := d.ready(ctx); err != nil {
		return d.place(err)
	}
	if err := d.configure(ctx); err != nil {
		return d.place(err)
	}
	if err := d.learn(ctx); err != nil {
		return d.place(err)
	}
	d.loaded = true
	return nil
}

// ready waits until the medium can be used, and has it loaded if need be.
func (d *Drive) ready(ctx context.Context) error {
	limit := time.Now().Add(d.times.Ready)
	asked := false
	for {
		_, err := d.patient(ctx, call{"load", TestUnitReady{}, None, nil, d.times.Short})
		if err == nil {
			return nil
		}
		s, ok := senseOf(err)
		switch {
		case ok && s.Key == NotReadyKey && (s.Code == CodeNeedsLoad || s.Code == CodeNoMedium) && !asked:
			asked = true
			if _, err := d.patient(ctx, call{"load", LoadUnload{Load: true}, None, nil, d.times.Load}); err != nil {
				if s, ok := senseOf(err); !ok || !s.Is(NotReadyKey, CodeBecomingReady) {
					return err
				}
			}
		case ok && s.Is(NotReadyKey, CodeBecomingReady):
			if time.Now().After(limit) {
				return explain(err, "the medium is not ready after %v", d.times.Ready)
			}
			if err := pause(ctx, retryInterval); err != nil {
				return d.fail("load", tape.KindOther, nil, err)
			}
		default:
			return err
		}
	}
}

// configure sets what a reset undoes: records of any length, and buffered writes.
func (d *Drive) configure(ctx context.Context) error {
	m, err := d.modeSense(ctx, PageConfiguration, d.patient)
	if err != nil {
		return err
	}
	d.limits.WriteProtected = m.WriteProtected
	if m.BlockLength == 0 && m.Buffered == 1 {
		return nil
	}
	data := ModeData{Buffered: 1, HasBlock: true, Density: m.Density}.Bytes(false)
	data[0] = 0 // reserved in MODE SELECT
	_, err = d.patient(ctx, call{"mode select", ModeSelect{Pages: true, Length: uint16(len(data))}, Out, data, d.times.Short})
	return err
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
	switch p, err := d.readPosition(ctx); {
	case err == nil:
		d.limits.HasLocate, d.pos, d.known = true, p, true
	case !refused(err):
		return err
	}
	return d.capacity(ctx)
}

// capacity asks how much room there is. Drives without the log page leave it
// at 0.
func (d *Drive) capacity(ctx context.Context) error {
	l, err := d.LogPage(ctx, LogCapacity)
	if refused(err) {
		return nil
	}
	if err != nil {
		return err
	}
	const mib = 1 << 20
	max0, _ := l.Find(CapacityMaximum0)
	max1, _ := l.Find(CapacityMaximum1)
	left, _ := l.Find(CapacityRemaining0)
	if max1 > 0 { // two partitions: data is in the second
		left, _ = l.Find(CapacityRemaining1)
	}
	d.limits.CapacityBytes, d.limits.RemainingBytes, d.written = int64(max0+max1)*mib, int64(left)*mib, 0
	return nil
}

// LogPage reads a log page. Reading LogTapeAlert clears it.
func (d *Drive) LogPage(ctx context.Context, page uint8) (LogData, error) {
	buf := make([]byte, 8192)
	n, err := d.ask(ctx, call{"log sense", LogSense{Control: LogCumulative, Page: page, Alloc: uint16(len(buf))}, In, buf, d.times.Short})
	if err != nil {
		return LogData{}, err
	}
	l, err := ParseLog(buf[:n])
	if err != nil {
		return l, d.fail("log sense", tape.HardwareError, nil, err)
	}
	return l, nil
}

// TapeAlerts returns the numbers (1 to 64) of the TapeAlert flags that are set,
// and clears them.
func (d *Drive) TapeAlerts(ctx context.Context) ([]int, error) {
	l, err := d.LogPage(ctx, LogTapeAlert)
	if err != nil {
		return nil, err
	}
	var set []int
	for _, p := range l.Parameters {
		if p.Code >= 1 && p.Code <= 64 && p.Number()&1 != 0 {
			set = append(set, int(p.Code))
		}
	}
	return set, nil
}

// Unload implements tape.Drive. For a cartridge that was not loaded by this Drive,
// such as one that the last run left, unit attentions tell nothing that matters.
func (d *Drive) Unload(ctx context.Context) error {
	c := call{"unload", LoadUnload{}, None, nil, d.times.Load}
	var err error
	if d.loaded {
		_, err = d.run(ctx, absolute, c)
	} else if _, err = d.patient(ctx, c); err != nil {
		err = d.place(err)
	}
	if err != nil {
		return err
	}
	d.loaded, d.changed, d.known, d.unflushed, d.limits, d.written = false, false, false, false, tape.Limits{}, 0
	return nil
}

// refused reports whether the device does not know a command or a field of it.
func refused(err error) bool {
	s, ok := senseOf(err)
	return ok && s.Key == IllegalKey && (s.Code == CodeInvalidOpcode || s.Code == CodeInvalidField)
}

// silent is a log for those who gave none.
func silent() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}
