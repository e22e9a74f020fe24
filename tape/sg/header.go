package sg

import (
	"math"
	"time"
	"unsafe"

	"sliod/tape/scsi"
)

// header is struct sg_io_hdr of <scsi/sg.h>, version 3. Offsets with 64-bit
// pointers; the whole has 88 bytes:
//
//	 0 interface_id      16 dxferp     40 timeout   64 status          72 resid
//	 4 dxfer_direction   24 cmdp       44 flags     65 masked_status   76 duration
//	 8 cmd_len           32 sbp        48 pack_id   66 msg_status      80 info
//	 9 mx_sb_len                       56 usr_ptr   67 sb_len_wr
//	10 iovec_count                                  68 host_status
//	12 dxfer_len                                    70 driver_status
//
// The first half is what the caller asks, all from status on is the answer.
// The kernel follows dxferp, cmdp and sbp until it has answered.
type header struct {
	interfaceID    int32
	direction      int32
	cdbLength      uint8
	senseRoom      uint8
	vectorCount    uint16
	dataLength     uint32
	data           unsafe.Pointer
	cdb            unsafe.Pointer
	sense          unsafe.Pointer
	timeout        uint32 // milliseconds
	flags          uint32
	packID         int32
	user           unsafe.Pointer
	status         uint8 // the device's status byte
	maskedStatus   uint8
	messageStatus  uint8
	senseLength    uint8
	hostStatus     uint16
	driverStatus   uint16
	residual       int32
	durationMillis uint32
	info           uint32
}

// Values of <scsi/sg.h>.
const (
	interfaceV3 = 'S'

	directionNone = -1
	directionOut  = -2 // SG_DXFER_TO_DEV
	directionIn   = -3 // SG_DXFER_FROM_DEV

	// senseRoom is as much sense data as the kernel keeps of a command, and more.
	senseRoom = 252
	// maxCDB is the longest command block that the driver takes.
	maxCDB = 252

	defaultTimeout = time.Minute
)

// frame is a header and what it points to, but for the data. The kernel writes
// into it, so it stays at one place.
type frame struct {
	head  header
	cdb   [maxCDB]byte
	sense [senseRoom]byte
}

// fill writes c into the frame. The CDB must fit.
func (f *frame) fill(c *scsi.Command, packID int32) {
	f.head = header{
		interfaceID: interfaceV3, direction: directionNone,
		cdbLength: uint8(copy(f.cdb[:], c.CDB)), cdb: unsafe.Pointer(&f.cdb[0]),
		senseRoom: senseRoom, sense: unsafe.Pointer(&f.sense[0]),
		timeout: milliseconds(c.Timeout), packID: packID,
	}
	if len(c.Data) > 0 && c.Dir != scsi.None {
		f.head.direction = directionOut
		if c.Dir == scsi.In {
			f.head.direction = directionIn
		}
		f.head.data, f.head.dataLength = unsafe.Pointer(unsafe.SliceData(c.Data)), uint32(len(c.Data))
	}
}

// milliseconds rounds a timeout up. The kernel takes what is above 31 bits for
// "no timeout", and 0 for the queue's own, which is too short for a tape.
func milliseconds(d time.Duration) uint32 {
	if d <= 0 {
		d = defaultTimeout
	}
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond != 0 {
		ms++
	}
	return uint32(min(ms, math.MaxInt32))
}
