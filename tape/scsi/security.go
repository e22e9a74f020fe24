package scsi

import (
	"encoding/binary"
	"slices"

	"github.com/pkg/errors"
)

// ProtocolEncryption is the security protocol of tape data encryption (SSC-5, 8.5).
const ProtocolEncryption = 0x20

// Pages of that protocol.
const (
	PageSetEncryption          = 0x0010 // to the drive
	PageEncryptionCapabilities = 0x0010 // from the drive
	PageEncryptionStatus       = 0x0020
	PageNextBlockStatus        = 0x0021
)

// AlgorithmAES256GCM is the security algorithm code of AES-256-GCM with a tag of 16 bytes.
const AlgorithmAES256GCM = 0x00010014

// EncryptionMode and DecryptionMode are those of PageSetEncryption.
type (
	EncryptionMode uint8
	DecryptionMode uint8
)

// Modes. In DecryptMixed records in clear are read too.
const (
	EncryptOff      EncryptionMode = 0
	EncryptExternal EncryptionMode = 1
	EncryptOn       EncryptionMode = 2

	DecryptOff   DecryptionMode = 0
	DecryptRaw   DecryptionMode = 1
	DecryptOn    DecryptionMode = 2
	DecryptMixed DecryptionMode = 3
)

type (
	// SecurityIn is SECURITY PROTOCOL IN (SPC-5).
	SecurityIn struct {
		Protocol uint8
		Page     uint16 // security protocol specific
		Alloc    uint32
	}
	// SecurityOut is SECURITY PROTOCOL OUT.
	SecurityOut struct {
		Protocol uint8
		Page     uint16
		Length   uint32
	}
)

// CDB implements CommandBlock.
func (c SecurityIn) CDB() []byte { return securityBlock(OpSecurityIn, c.Protocol, c.Page, c.Alloc) }

// CDB implements CommandBlock.
func (c SecurityOut) CDB() []byte { return securityBlock(OpSecurityOut, c.Protocol, c.Page, c.Length) }

func securityBlock(op, protocol uint8, page uint16, n uint32) []byte {
	b := make([]byte, 12)
	b[0], b[1] = op, protocol
	binary.BigEndian.PutUint16(b[2:], page)
	binary.BigEndian.PutUint32(b[6:], n)
	return b
}

func parseSecurityIn(b []byte) (CommandBlock, error) {
	if b[4]&0x80 != 0 { // lengths in units of 512 bytes
		return nil, ErrField
	}
	return SecurityIn{b[1], binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[6:])}, nil
}

func parseSecurityOut(b []byte) (CommandBlock, error) {
	if b[4]&0x80 != 0 {
		return nil, ErrField
	}
	return SecurityOut{b[1], binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[6:])}, nil
}

// KeyDataType is the type of key-associated data.
type KeyDataType uint8

// Types of key-associated data: unauthenticated, and authenticated with every record.
const (
	UnauthenticatedData KeyDataType = 0
	AuthenticatedData   KeyDataType = 1
)

// KeyData is a descriptor of key-associated data (KAD).
type KeyData struct {
	Type          KeyDataType
	Authenticated uint8 // 3 bits; from the drive only
	Data          []byte
}

const keyDataHeader = 4

func appendKeyData(b []byte, ks []KeyData) []byte {
	for _, k := range ks {
		b = append(b, byte(k.Type), k.Authenticated&7)
		b = binary.BigEndian.AppendUint16(b, uint16(len(k.Data)))
		b = append(b, k.Data...)
	}
	return b
}

func parseKeyData(b []byte) ([]KeyData, error) {
	var ks []KeyData
	for len(b) > 0 {
		if len(b) < keyDataHeader {
			return nil, errors.Errorf("scsi: key-associated data cut short: %d bytes are left", len(b))
		}
		n := keyDataHeader + int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b) {
			return nil, errors.Errorf("scsi: key-associated data of %d bytes, %d are left", n, len(b))
		}
		ks = append(ks, KeyData{KeyDataType(b[0]), b[1] & 7, slices.Clone(b[keyDataHeader:n])})
		b = b[n:]
	}
	return ks, nil
}

// securityPage checks the header of a page and returns what follows it. least is how
// long that must be.
func securityPage(b []byte, page uint16, least int) ([]byte, error) {
	if len(b) < 4 {
		return nil, errors.Errorf("scsi: encryption page of %d bytes", len(b))
	}
	if got := binary.BigEndian.Uint16(b); got != page {
		return nil, errors.Errorf("scsi: encryption page %04x instead of %04x", got, page)
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n > len(b)-4 || n < least {
		return nil, errors.Errorf("scsi: encryption page %04x says that it has %d bytes: %d came, and it needs %d", page, n, len(b)-4, least)
	}
	return b[4 : 4+n], nil
}

func putPage(page uint16, b []byte) []byte {
	binary.BigEndian.PutUint16(b, page)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-4))
	return b
}

// SetEncryption is the page that sets modes and key. The key is in it: clear its bytes when
// it was sent, and never log them.
type SetEncryption struct {
	Scope     uint8 // 3 bits; 2: for all hosts
	Lock      bool
	External  uint8 // CEEM, 2 bits
	RawMode   uint8 // RDMC, 2 bits
	OnUnload  bool  // CKOD: the key is cleared when the volume is demounted
	Encrypt   EncryptionMode
	Decrypt   DecryptionMode
	Algorithm uint8 // its index
	KeyFormat uint8 // 0: plain
	DataForm  uint8 // KAD format; 0: unspecified
	Key       []byte
	Data      []KeyData
}

const setEncryptionSize = 20

// Bytes encodes s.
func (s SetEncryption) Bytes() []byte {
	b := make([]byte, setEncryptionSize, setEncryptionSize+len(s.Key)+2*(keyDataHeader+64))
	b[4] = s.Scope<<5 | bit(s.Lock, 1)
	b[5] = s.External&3<<6 | s.RawMode&3<<4 | bit(s.OnUnload, 4)
	b[6], b[7], b[8], b[9], b[10] = byte(s.Encrypt), byte(s.Decrypt), s.Algorithm, s.KeyFormat, s.DataForm
	binary.BigEndian.PutUint16(b[18:], uint16(len(s.Key)))
	b = append(b, s.Key...)
	return putPage(PageSetEncryption, appendKeyData(b, s.Data))
}

// ParseSetEncryption decodes what Bytes encodes. The key is not copied.
func ParseSetEncryption(b []byte) (SetEncryption, error) {
	p, err := securityPage(b, PageSetEncryption, setEncryptionSize-4)
	if err != nil {
		return SetEncryption{}, err
	}
	s := SetEncryption{Scope: p[0] >> 5, Lock: p[0]&1 != 0, External: p[1] >> 6, RawMode: p[1] >> 4 & 3, OnUnload: p[1]&4 != 0,
		Encrypt: EncryptionMode(p[2]), Decrypt: DecryptionMode(p[3]), Algorithm: p[4], KeyFormat: p[5], DataForm: p[6]}
	n := int(binary.BigEndian.Uint16(p[14:]))
	p = p[setEncryptionSize-4:]
	if n > len(p) {
		return SetEncryption{}, errors.Errorf("scsi: a key of %d bytes, %d came", n, len(p))
	}
	if n > 0 {
		s.Key = p[:n]
	}
	s.Data, err = parseKeyData(p[n:])
	return s, err
}

// EncryptionStatus is PageEncryptionStatus.
type EncryptionStatus struct {
	Scope     uint8 // of this host, 3 bits
	KeyScope  uint8 // of the host that has set the key, 3 bits
	Encrypt   EncryptionMode
	Decrypt   DecryptionMode
	Algorithm uint8
	Instance  uint32 // counts settings
	Control   uint8  // 3 bits; 1: the hosts control the parameters
	Holds     bool   // the volume holds encrypted records
	RawOff    bool
	DataForm  uint8
	Data      []KeyData
}

const encryptionStatusSize = 24

// Bytes encodes s.
func (s EncryptionStatus) Bytes() []byte {
	b := make([]byte, encryptionStatusSize, encryptionStatusSize+2*(keyDataHeader+64))
	b[4] = s.Scope<<5 | s.KeyScope&7
	b[5], b[6], b[7] = byte(s.Encrypt), byte(s.Decrypt), s.Algorithm
	binary.BigEndian.PutUint32(b[8:], s.Instance)
	b[12] = s.Control&7<<4 | bit(s.Holds, 8) | bit(s.RawOff, 1)
	b[13] = s.DataForm
	return putPage(PageEncryptionStatus, appendKeyData(b, s.Data))
}

// ParseEncryptionStatus decodes PageEncryptionStatus.
func ParseEncryptionStatus(b []byte) (EncryptionStatus, error) {
	p, err := securityPage(b, PageEncryptionStatus, encryptionStatusSize-4)
	if err != nil {
		return EncryptionStatus{}, err
	}
	s := EncryptionStatus{Scope: p[0] >> 5, KeyScope: p[0] & 7, Encrypt: EncryptionMode(p[1]), Decrypt: DecryptionMode(p[2]), Algorithm: p[3],
		Instance: binary.BigEndian.Uint32(p[4:]), Control: p[8] >> 4 & 7, Holds: p[8]&8 != 0, RawOff: p[8]&1 != 0, DataForm: p[9]}
	s.Data, err = parseKeyData(p[encryptionStatusSize-4:])
	return s, err
}

// BlockStatus is whether the next record is encrypted, as PageNextBlockStatus says it.
type BlockStatus uint8

// What the drive says of the next record.
const (
	BlockUnknown     BlockStatus = 1 // it could not be determined yet
	BlockNone        BlockStatus = 2 // a filemark, or the end of data
	BlockClear       BlockStatus = 3
	BlockUnsupported BlockStatus = 4 // encrypted by an algorithm that the drive has not
	BlockReadable    BlockStatus = 5 // encrypted, and the drive has the key
	BlockLocked      BlockStatus = 6 // encrypted, and the drive has not got the key
)

// NextBlock is PageNextBlockStatus.
type NextBlock struct {
	Block       uint64
	Compression uint8 // 4 bits
	Status      BlockStatus
	Algorithm   uint8
	RawOff      bool
	DataForm    uint8
	Data        []KeyData
}

const nextBlockSize = 16

// Bytes encodes n.
func (n NextBlock) Bytes() []byte {
	b := make([]byte, nextBlockSize, nextBlockSize+2*(keyDataHeader+64))
	binary.BigEndian.PutUint64(b[4:], n.Block)
	b[12], b[13], b[14], b[15] = n.Compression<<4|byte(n.Status)&0x0F, n.Algorithm, bit(n.RawOff, 1), n.DataForm
	return putPage(PageNextBlockStatus, appendKeyData(b, n.Data))
}

// ParseNextBlock decodes PageNextBlockStatus.
func ParseNextBlock(b []byte) (NextBlock, error) {
	p, err := securityPage(b, PageNextBlockStatus, nextBlockSize-4)
	if err != nil {
		return NextBlock{}, err
	}
	n := NextBlock{Block: binary.BigEndian.Uint64(p), Compression: p[8] >> 4, Status: BlockStatus(p[8] & 0x0F), Algorithm: p[9], RawOff: p[10]&1 != 0, DataForm: p[11]}
	n.Data, err = parseKeyData(p[nextBlockSize-4:])
	return n, err
}

// Algorithm describes one of the algorithms of EncryptionCapabilities.
type Algorithm struct {
	Index      uint8
	Usable     bool  // with the volume that is mounted
	Decrypt    uint8 // 2 bits; 2: by the drive's hardware
	Encrypt    uint8
	UFixed     bool // unauthenticated data has its greatest length
	AFixed     bool
	MaxU, MaxA uint16 // lengths of key-associated data
	KeyLength  uint16
	Code       uint32
}

const (
	capabilitiesSize = 20
	algorithmSize    = 24
)

// EncryptionCapabilities is PageEncryptionCapabilities.
type EncryptionCapabilities struct {
	External   uint8 // EXTDECC, 2 bits; 2: the drive can be told by others, such as the library
	Config     uint8 // CFG_P, 2 bits; 2: hosts cannot set anything
	Algorithms []Algorithm
}

// Bytes encodes c.
func (c EncryptionCapabilities) Bytes() []byte {
	b := make([]byte, capabilitiesSize, capabilitiesSize+algorithmSize*len(c.Algorithms))
	b[4] = c.External&3<<2 | c.Config&3
	for _, a := range c.Algorithms {
		d := make([]byte, algorithmSize)
		d[0], d[3] = a.Index, algorithmSize-4
		d[4] = bit(a.Usable, 0x80) | a.Decrypt&3<<2 | a.Encrypt&3
		d[5] = bit(a.UFixed, 2) | bit(a.AFixed, 1)
		binary.BigEndian.PutUint16(d[6:], a.MaxU)
		binary.BigEndian.PutUint16(d[8:], a.MaxA)
		binary.BigEndian.PutUint16(d[10:], a.KeyLength)
		binary.BigEndian.PutUint32(d[20:], a.Code)
		b = append(b, d...)
	}
	return putPage(PageEncryptionCapabilities, b)
}

// ParseEncryptionCapabilities decodes PageEncryptionCapabilities. Descriptors may be
// longer than SSC-5's.
func ParseEncryptionCapabilities(b []byte) (EncryptionCapabilities, error) {
	p, err := securityPage(b, PageEncryptionCapabilities, capabilitiesSize-4)
	if err != nil {
		return EncryptionCapabilities{}, err
	}
	c := EncryptionCapabilities{External: p[0] >> 2 & 3, Config: p[0] & 3}
	for p = p[capabilitiesSize-4:]; len(p) > 0; {
		if len(p) < algorithmSize {
			return c, errors.Errorf("scsi: an encryption algorithm's descriptor of %d bytes", len(p))
		}
		n := 4 + int(binary.BigEndian.Uint16(p[2:]))
		if n < algorithmSize || n > len(p) {
			return c, errors.Errorf("scsi: an encryption algorithm's descriptor says %d bytes, %d are left", n, len(p))
		}
		c.Algorithms = append(c.Algorithms, Algorithm{Index: p[0], Usable: p[4]&0x80 != 0, Decrypt: p[4] >> 2 & 3, Encrypt: p[4] & 3,
			UFixed: p[5]&2 != 0, AFixed: p[5]&1 != 0, MaxU: binary.BigEndian.Uint16(p[6:]), MaxA: binary.BigEndian.Uint16(p[8:]),
			KeyLength: binary.BigEndian.Uint16(p[10:]), Code: binary.BigEndian.Uint32(p[20:])})
		p = p[n:]
	}
	return c, nil
}
