package scsi

import (
	"context"
	"encoding/binary"

	"sliod/tape"
)

// Parameters of LogVolume (SSC-5, volume statistics; the reference implementation of LTFS
// reads the same). Capacities are in 10^6 bytes.
const (
	VolumeMounts           = 0x0001
	VolumeWriteRetries     = 0x0003
	VolumeWriteErrors      = 0x0004
	VolumeReadRetries      = 0x0008
	VolumeReadErrors       = 0x0009
	VolumeLastWriteErrors  = 0x000C
	VolumeLastReadErrors   = 0x000D
	VolumeMBWritten        = 0x0010
	VolumeMBRead           = 0x0011
	VolumeBeginningPasses  = 0x0101
	VolumeMiddlePasses     = 0x0102
	VolumePartitionSize    = 0x0202 // partition records
	VolumePartitionUsed    = 0x0203
	VolumePartitionLeft    = 0x0204
	partitionRecordUnknown = 0xFFFFFFFF
)

// PartitionRecords encodes the value of a parameter that has one number for each partition.
func PartitionRecords(values ...uint32) []byte {
	var b []byte
	for i, v := range values {
		b = append(b, 7, 0, byte(i>>8), byte(i))
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

// ParsePartitionRecords decodes it: bytes by partition. Numbers may have 4 or 6 bytes;
// one that is all ones is not known and left out.
func ParsePartitionRecords(b []byte) map[tape.Partition]uint64 {
	m := map[tape.Partition]uint64{}
	for len(b) >= 4 {
		n := 1 + int(b[0])
		if n < 5 || n > len(b) || n > 12 {
			break
		}
		v, all := uint64(0), uint64(1)<<(8*(n-4))-1
		for _, c := range b[4:n] {
			v = v<<8 | uint64(c)
		}
		if p := binary.BigEndian.Uint16(b[2:]); p <= 0xFF && (v != all || n == 12) {
			m[tape.Partition(p)] = v
		}
		b = b[n:]
	}
	return m
}

// value returns a parameter's bytes.
func (l LogData) value(code uint16) []byte {
	for _, p := range l.Parameters {
		if p.Code == code {
			return p.Value
		}
	}
	return nil
}

// space is what a drive says of the room on its medium, by partition.
type space struct{ size, left map[tape.Partition]uint64 }

// room asks how large the partitions are, and how much is left. It reads the
// page 31h (in MiB), and 17h (in MB) if the drive has not the first: newer drives drop it.
// Both maps are empty if nobody knows.
func (d *Drive) room(ctx context.Context) (space, error) {
	const mib, mb = 1 << 20, 1e6
	s := space{map[tape.Partition]uint64{}, map[tape.Partition]uint64{}}
	l, err := d.LogPage(ctx, LogCapacity)
	if err != nil && !refused(err) {
		return s, err
	}
	for i, code := range []uint16{CapacityMaximum0, CapacityMaximum1} {
		if v, ok := l.Find(code); ok && v > 0 {
			s.size[tape.Partition(i)] = v * mib
			left, _ := l.Find(CapacityRemaining0 + uint16(i))
			s.left[tape.Partition(i)] = left * mib
		}
	}
	if len(s.size) > 0 {
		return s, nil
	}
	if l, err = d.LogPage(ctx, LogVolume); refused(err) {
		return s, nil
	} else if err != nil {
		return s, err
	}
	for p, v := range ParsePartitionRecords(l.value(VolumePartitionSize)) {
		s.size[p] = v * mb
	}
	for p, v := range ParsePartitionRecords(l.value(VolumePartitionLeft)) {
		s.left[p] = v * mb
	}
	return s, nil
}

// capacity asks how much room there is. Drives that do not know leave it at 0, but for
// what REPORT DENSITY SUPPORT says of the medium.
func (d *Drive) capacity(ctx context.Context) error {
	s, err := d.room(ctx)
	if err != nil {
		return err
	}
	last, all := tape.Partition(0), uint64(0)
	for p, v := range s.size {
		all += v
		last = max(last, p) // with two partitions data is in the second
	}
	if all == 0 {
		all = uint64(d.capacityMB) * 1e6
	}
	d.limits.CapacityBytes, d.limits.RemainingBytes, d.written = int64(all), int64(s.left[last]), 0
	return nil
}

// Statistics implements tape.Drive.
func (d *Drive) Statistics(ctx context.Context) (tape.Statistics, error) {
	var s tape.Statistics
	l, err := d.LogPage(ctx, LogVolume)
	if err != nil {
		if refused(err) {
			return s, d.place(d.fail("statistics", tape.IllegalRequest, nil, err))
		}
		return s, err
	}
	number := func(code uint16) uint64 {
		b := l.value(code)
		n := LogParameter{Value: b}.Number()
		if len(b) == 0 || len(b) > 8 || n == 1<<(8*len(b))-1 { // all ones: not known
			return 0
		}
		return n
	}
	s = tape.Statistics{
		Mounts:       number(VolumeMounts),
		WriteRetries: number(VolumeWriteRetries), WriteErrors: number(VolumeWriteErrors),
		ReadRetries: number(VolumeReadRetries), ReadErrors: number(VolumeReadErrors),
		LastWriteErrors: number(VolumeLastWriteErrors), LastReadErrors: number(VolumeLastReadErrors),
		WrittenBytes: int64(number(VolumeMBWritten) * 1e6), ReadBytes: int64(number(VolumeMBRead) * 1e6),
		BeginningPasses: number(VolumeBeginningPasses), MiddlePasses: number(VolumeMiddlePasses),
	}
	r, err := d.room(ctx)
	if err != nil {
		return s, err
	}
	for p := range tape.Partition(len(r.size)) {
		s.Partitions = append(s.Partitions, tape.PartitionRoom{SizeBytes: int64(r.size[p]), LeftBytes: int64(r.left[p])})
	}
	return s, nil
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
