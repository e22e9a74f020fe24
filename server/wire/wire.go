package wire

import (
	"encoding/binary"
	stderrors "errors"
	"fmt"
)

// Type is the type of a message. A request is even, its reply is the next odd
// number. Names follow the protocol's.
type Type uint8

// The messages of 9P2000.L.
const (
	Rlerror      Type = 7
	Tstatfs      Type = 8
	Rstatfs      Type = 9
	Tlopen       Type = 12
	Rlopen       Type = 13
	Tlcreate     Type = 14
	Rlcreate     Type = 15
	Tsymlink     Type = 16
	Rsymlink     Type = 17
	Tmknod       Type = 18
	Rmknod       Type = 19
	Trename      Type = 20
	Rrename      Type = 21
	Treadlink    Type = 22
	Rreadlink    Type = 23
	Tgetattr     Type = 24
	Rgetattr     Type = 25
	Tsetattr     Type = 26
	Rsetattr     Type = 27
	Txattrwalk   Type = 30
	Rxattrwalk   Type = 31
	Txattrcreate Type = 32
	Rxattrcreate Type = 33
	Treaddir     Type = 40
	Rreaddir     Type = 41
	Tfsync       Type = 50
	Rfsync       Type = 51
	Tlock        Type = 52
	Rlock        Type = 53
	Tgetlock     Type = 54
	Rgetlock     Type = 55
	Tlink        Type = 70
	Rlink        Type = 71
	Tmkdir       Type = 72
	Rmkdir       Type = 73
	Trenameat    Type = 74
	Rrenameat    Type = 75
	Tunlinkat    Type = 76
	Runlinkat    Type = 77
	Tversion     Type = 100
	Rversion     Type = 101
	Tauth        Type = 102
	Rauth        Type = 103
	Tattach      Type = 104
	Rattach      Type = 105
	Tflush       Type = 108
	Rflush       Type = 109
	Twalk        Type = 110
	Rwalk        Type = 111
	Tread        Type = 116
	Rread        Type = 117
	Twrite       Type = 118
	Rwrite       Type = 119
	Tclunk       Type = 120
	Rclunk       Type = 121
	Tremove      Type = 122
	Rremove      Type = 123
)

var typeNames = map[Type]string{
	Rlerror: "Rlerror", Tstatfs: "Tstatfs", Tlopen: "Tlopen", Tlcreate: "Tlcreate", Tsymlink: "Tsymlink",
	Tmknod: "Tmknod", Trename: "Trename", Treadlink: "Treadlink", Tgetattr: "Tgetattr", Tsetattr: "Tsetattr",
	Txattrwalk: "Txattrwalk", Txattrcreate: "Txattrcreate", Treaddir: "Treaddir", Tfsync: "Tfsync", Tlock: "Tlock",
	Tgetlock: "Tgetlock", Tlink: "Tlink", Tmkdir: "Tmkdir", Trenameat: "Trenameat", Tunlinkat: "Tunlinkat",
	Tversion: "Tversion", Tauth: "Tauth", Tattach: "Tattach", Tflush: "Tflush", Twalk: "Twalk", Tread: "Tread",
	Twrite: "Twrite", Tclunk: "Tclunk", Tremove: "Tremove",
	Tseek: "Tseek", Tallocate: "Tallocate", Tcopy: "Tcopy",
}

func (t Type) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	if s, ok := typeNames[t-1]; ok && t&1 == 1 {
		return "R" + s[1:]
	}
	return fmt.Sprintf("message type %d", uint8(t))
}

// Reply returns the type of the reply to request t.
func (t Type) Reply() Type { return t + 1 }

// Sizes of the fixed parts, in bytes.
const (
	// HeaderSize is the size of size[4] type[1] tag[2].
	HeaderSize = 7
	// ReadOverhead is what Rread and Rreaddir add to their data.
	ReadOverhead = HeaderSize + 4
	// WriteOverhead is what Twrite adds to its data.
	WriteOverhead = HeaderSize + 4 + 8 + 4
	// DirentOverhead is what an entry of Rreaddir adds to its name.
	DirentOverhead = qidSize + 8 + 1 + 2

	qidSize = 13
)

const (
	// MaxWalk is the most names that a Twalk may carry.
	MaxWalk = 16
	// NoTag is the tag of Tversion.
	NoTag = 0xffff
	// NoFid is a fid that names nothing, as afid of Tattach.
	NoFid = 0xffffffff
	// NoUname is n_uname when the client names no number.
	NoUname = 0xffffffff
	// Version is the protocol that is spoken here; see also ExtendedVersion.
	Version = "9P2000.L"
)

// ErrMalformed says that a body does not hold what its type must hold.
var ErrMalformed = stderrors.New("malformed 9P message")

var le = binary.LittleEndian

// Header is what each frame begins with.
type Header struct {
	Size uint32 // of the whole frame, with these 7 bytes
	Type Type
	Tag  uint16
}

// ParseHeader reads a header. b must hold HeaderSize bytes.
func ParseHeader(b []byte) Header {
	_ = b[HeaderSize-1]
	return Header{Size: le.Uint32(b), Type: Type(b[4]), Tag: le.Uint16(b[5:])}
}

// appendHeader appends a header whose size finish fills in later.
func appendHeader(b []byte, t Type, tag uint16) []byte {
	return append(b, 0, 0, 0, 0, byte(t), byte(tag), byte(tag>>8))
}

// AppendRread appends the head of an Rread whose n bytes of data the caller
// sends after it.
func AppendRread(b []byte, tag uint16, n int) []byte {
	return appendData(b, Rread, tag, n)
}

// AppendRreaddir appends the head of an Rreaddir whose n bytes of entries, made
// by AppendDirent, the caller sends after it.
func AppendRreaddir(b []byte, tag uint16, n int) []byte {
	return appendData(b, Rreaddir, tag, n)
}

func appendData(b []byte, t Type, tag uint16, n int) []byte {
	at := len(b)
	b = appendHeader(b, t, tag)
	b = le.AppendUint32(b, uint32(n))
	le.PutUint32(b[at:], uint32(ReadOverhead+n))
	return b
}

// ParseTwrite splits the body of a Twrite. data is a view of body.
func ParseTwrite(body []byte) (fid uint32, off uint64, data []byte, err error) {
	const fixed = WriteOverhead - HeaderSize
	if len(body) < fixed || uint64(le.Uint32(body[12:])) != uint64(len(body)-fixed) {
		return 0, 0, nil, ErrMalformed
	}
	return le.Uint32(body), le.Uint64(body[4:]), body[fixed:], nil
}

// AppendTwrite appends the head of a Twrite whose n bytes of data the caller
// sends after it.
func AppendTwrite(b []byte, tag uint16, fid uint32, off uint64, n int) []byte {
	at := len(b)
	b = appendHeader(b, Twrite, tag)
	b = le.AppendUint32(b, fid)
	b = le.AppendUint64(b, off)
	b = le.AppendUint32(b, uint32(n))
	le.PutUint32(b[at:], uint32(WriteOverhead+n))
	return b
}

// ParseData returns the data of the body of an Rread or Rreaddir, a view of body.
func ParseData(body []byte) ([]byte, error) {
	if len(body) < 4 || uint64(le.Uint32(body)) != uint64(len(body)-4) {
		return nil, ErrMalformed
	}
	return body[4:], nil
}
