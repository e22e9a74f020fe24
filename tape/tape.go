// Package tape is what the rest of SLIOD sees of a tape library: drives,
// a changer, and errors that say who is to blame. tape/scsi implements Drive
// and Changer in SCSI command blocks over a Transport (tape/sg for real
// devices, tape/virtual for the emulated library); tape/ltfs is the format on
// the medium; tape/schedule decides which volume goes to which drive.
package tape

import (
	"context"
	"fmt"
)

// Barcode names a volume: what is printed on the cartridge, such as "A00001L9".
type Barcode string

// Partition numbers a tape partition: LTFS keeps its index in 0 and data in 1.
type Partition uint8

// BlockNo is a logical object number in a partition: it counts records and
// filemarks from 0 (SSC-5, "logical object identifier").
type BlockNo uint64

// Position is where the head stands, or is sent.
type Position struct {
	Partition Partition
	Block     BlockNo
}

func (p Position) String() string { return fmt.Sprintf("%d:%d", p.Partition, p.Block) }

// Limits are a drive's facts about itself and the loaded medium.
type Limits struct {
	MaxBlock       int   // largest record in bytes
	Partitions     int   // partitions that the medium can have; 1: it cannot be partitioned
	CapacityBytes  int64 // native capacity of the medium, 0 if not known
	RemainingBytes int64 // of the data partition, 0 if not known
	WriteProtected bool
	HasMAM         bool // READ and WRITE ATTRIBUTE work
	// HasLocate: LOCATE and READ POSITION work. Else the drive counts blocks: going to a place is
	// slow, and the first LocateEnd after a load very slow.
	HasLocate   bool
	HasOrder    bool  // the drive recommends an order (RAO): Order works
	MaxSegments int   // most segments that one Order takes; 0 without HasOrder
	HasWraps    bool  // Wraps works
	WORM        bool  // written once: what is recorded stays, and only the end of data can be written
	Cleaning    bool  // a cleaning cartridge is loaded: nothing else of it is known
	Density     uint8 // the density code of the medium (SSC-5), 0 if not known
	Protected   bool  // each record goes to and from the drive with a checksum (logical block protection)
	// HasEncryption: the drive encrypts records by AES-256-GCM with a key that it is given: SetKey and
	// BlockKey work.
	HasEncryption bool
}

// Drive is a tape drive. One goroutine owns it: methods must not be called
// concurrently. Every method may block for as long as the drive takes; ctx ends
// the wait between commands, never in one. Errors are *Error. After any error
// the position is unknown until Position has been asked.
type Drive interface {
	// Serial is the drive's serial number; it ties the drive to its element.
	Serial() string
	// Load makes the medium in the drive ready (after a changer move), waiting out
	// "becoming ready", and learns Limits. Unload rewinds and ejects.
	Load(ctx context.Context) error
	Unload(ctx context.Context) error
	Limits() Limits

	Position(ctx context.Context) (Position, error)
	Locate(ctx context.Context, to Position) error
	// LocateEnd goes to the end of data of a partition.
	LocateEnd(ctx context.Context, p Partition) error
	Rewind(ctx context.Context) error
	// Space moves over n filemarks (backward if negative); it ends after the mark
	// going forward, before it going backward.
	SpaceFilemarks(ctx context.Context, n int) error

	// ReadBlock reads the next record into buf and returns its length. At a
	// filemark the error has Kind Filemark and the head has passed it; at the end
	// of data Kind EndOfData. A record longer than buf is Kind BadBlockLength.
	ReadBlock(ctx context.Context, buf []byte) (int, error)
	// WriteBlock appends p as one record, erasing what follows. An *Error of Kind
	// EarlyWarning says that p was written and the end of the medium is near. A
	// Deferred error blames an earlier write: nothing since the last Flush is
	// certain to be on tape.
	WriteBlock(ctx context.Context, p []byte) error
	// WriteFilemarks writes n filemarks, waiting until they and all data before
	// are on the medium. n = 0 only flushes. EarlyWarning as in WriteBlock.
	WriteFilemarks(ctx context.Context, n int) error

	// ReadAttribute and WriteAttribute access the medium's auxiliary memory; an
	// absent attribute has Kind NotFound.
	ReadAttribute(ctx context.Context, p Partition, id uint16) ([]byte, error)
	WriteAttribute(ctx context.Context, p Partition, id uint16, format AttributeFormat, value []byte) error
	// Format erases the medium and gives it one or two partitions. WORM media have Kind
	// WriteProtected.
	Format(ctx context.Context, partitions int) error

	// Order asks the drive in which order to read segments of the loaded medium, from
	// where the head is now: the indexes into segments, each once. More than
	// Limits.MaxSegments, and a drive without RAO, have Kind IllegalRequest.
	Order(ctx context.Context, segments []Segment) ([]int, error)
	// Wraps asks where the wraps of the loaded medium that hold data end, in the order
	// of their numbers. The last one that holds data need not be among them.
	Wraps(ctx context.Context) ([]WrapEnd, error)
	// Statistics are what the drive says of the loaded medium's life. A drive that keeps none
	// has Kind IllegalRequest.
	Statistics(ctx context.Context) (Statistics, error)
	// Alerts returns the TapeAlert flags that are set, and clears them: who reads them
	// must act on them. It needs no medium.
	Alerts(ctx context.Context) ([]Alert, error)

	// SetKey has the drive encrypt what is written from now on, and decrypt what is read;
	// records in clear are read as well. nil: what is written is in clear, and what is encrypted
	// cannot be read (Kind WrongKey; the head stays before the record). The key holds until Unload or
	// the next Load: after a reset it is set again before anything is written. A drive
	// without encryption has Kind IllegalRequest, but for nil.
	SetKey(ctx context.Context, k *EncryptionKey) error
	// BlockKey asks whether the record at the head is encrypted, and by which key: the id
	// that came with the key, "" if there is none. At a filemark and at the end of data
	// encrypted is false.
	BlockKey(ctx context.Context) (id string, encrypted bool, err error)
}

// AttributeFormat is the format field of a MAM attribute (SPC-5).
type AttributeFormat uint8

// Formats of MAM attributes.
const (
	AttrBinary AttributeFormat = 0
	AttrASCII  AttributeFormat = 1
	AttrText   AttributeFormat = 2
)

// ElementKind is the kind of a place in a library.
type ElementKind uint8

// Kinds of elements (SMC-3).
const (
	Arm ElementKind = iota + 1
	Slot
	ImportExport
	DriveElement
)

// Element is a place in a library, as READ ELEMENT STATUS describes it.
type Element struct {
	Address     uint16
	Kind        ElementKind
	Full        bool
	Volume      Barcode // "" if empty or without a barcode
	Drive       string  // serial number, of a DriveElement
	Source      uint16  // where the volume came from, if SourceValid
	SourceValid bool
	// Fault says why the library cannot use the element as it is, for a person:
	// the arm does not reach it, the barcode cannot be read, the drive is out. "": nothing.
	Fault string
}

// Changer is the robot. Methods are safe for concurrent use and serialised.
type Changer interface {
	Inventory(ctx context.Context) ([]Element, error)
	// Move carries a cartridge between element addresses. The drive must have
	// unloaded it before. After Kind UnitAttention, ElementEmpty, ElementFull and
	// RemovalPrevented things are elsewhere than they were thought to be: nothing was moved,
	// and an Inventory says how it is.
	Move(ctx context.Context, from, to uint16) error
}

// Library is a changer and the drives that it serves.
type Library struct {
	Name    string
	Changer Changer
	Drives  []Drive
	// VolumeBytes tells the native capacity in bytes of a volume that no drive has
	// loaded yet, 0 if the library does not know. nil: it never does.
	VolumeBytes func(Barcode) int64
	// Speed is how many times faster than the model of package geometry the library says that it is;
	// infinite: it takes no time. 0: it does not know.
	Speed float64
	// Close ends the transports. Drives must not be used after it.
	Close func() error
}
