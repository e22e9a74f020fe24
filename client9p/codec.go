package client9p

import (
	"encoding/binary"
	stderrors "errors"
	"math"

	"github.com/hugelgupf/p9/p9"
)

// Messages that the client sends; an answer is the request's number plus one.
const (
	msgRlerror   = 7
	msgTstatfs   = 8
	msgTlopen    = 12
	msgTlcreate  = 14
	msgTreadlink = 22
	msgTgetattr  = 24
	msgTsetattr  = 26
	msgTxattr    = 30
	msgTreaddir  = 40
	msgTfsync    = 50
	msgTmkdir    = 72
	msgTrenameat = 74
	msgTunlinkat = 76
	msgTversion  = 100
	msgTattach   = 104
	msgTflush    = 108
	msgTwalk     = 110
	msgTread     = 116
	msgTwrite    = 118
	msgTclunk    = 120
)

var msgNames = map[uint8]string{
	msgTstatfs: "statfs", msgTlopen: "open", msgTreadlink: "readlink", msgTgetattr: "getattr", msgTxattr: "xattrwalk",
	msgTreaddir: "readdir", msgTversion: "version", msgTattach: "attach", msgTflush: "flush", msgTwalk: "walk",
	msgTread: "read", msgTwrite: "write", msgTclunk: "clunk",
	msgTlcreate: "create", msgTsetattr: "setattr", msgTfsync: "fsync", msgTmkdir: "mkdir", msgTrenameat: "rename", msgTunlinkat: "unlink",
}

const (
	headerSize = 7 // size[4] type[1] tag[2]
	// ioHeader is what Rread and Twrite need beside the data.
	ioHeader = headerSize + 4 + 8 + 4
	noTag    = math.MaxUint16
	noFid    = math.MaxUint32
	// getattrAll asks for every attribute.
	getattrAll = 0x3fff
	// maxWalk is the number of names in one Twalk.
	maxWalk = 16
)

var (
	errShort = stderrors.New("the message is shorter than its fields")
	errLong  = stderrors.New("a string or list is too long for a 9P message")
)

// encoder builds the body of a message. The first bytes are kept for the header.
type encoder struct {
	b   []byte
	err error
}

func (e *encoder) u16(v uint16) { e.b = binary.LittleEndian.AppendUint16(e.b, v) }
func (e *encoder) u32(v uint32) { e.b = binary.LittleEndian.AppendUint32(e.b, v) }
func (e *encoder) u64(v uint64) { e.b = binary.LittleEndian.AppendUint64(e.b, v) }

func (e *encoder) str(s string) {
	if len(s) > math.MaxUint16 {
		e.err = errLong
		return
	}
	e.u16(uint16(len(s)))
	e.b = append(e.b, s...)
}

// decoder reads the body of a message. After a field that is not there, err is set
// and all later fields are zero.
type decoder struct {
	b   []byte
	err error
}

// next returns the next n bytes, which alias the message; nil if there are fewer.
func (d *decoder) next(n int) []byte {
	if d.err != nil || n < 0 || n > len(d.b) {
		d.err = errShort
		return nil
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) u8() uint8 {
	if p := d.next(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) u16() uint16 {
	if p := d.next(2); p != nil {
		return binary.LittleEndian.Uint16(p)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if p := d.next(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if p := d.next(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

func (d *decoder) str() string { return string(d.next(int(d.u16()))) }

func (d *decoder) qid() p9.QID {
	return p9.QID{Type: p9.QIDType(d.u8()), Version: d.u32(), Path: d.u64()}
}

// attr reads Rgetattr: valid[8] qid[13] and the attributes.
func (d *decoder) attr() (p9.QID, p9.Attr) {
	d.u64() // which fields are valid: servers give what they have
	q := d.qid()
	a := p9.Attr{
		Mode: p9.FileMode(d.u32()), UID: p9.UID(d.u32()), GID: p9.GID(d.u32()),
		NLink: p9.NLink(d.u64()), RDev: p9.Dev(d.u64()), Size: d.u64(), BlockSize: d.u64(), Blocks: d.u64(),
	}
	a.ATimeSeconds, a.ATimeNanoSeconds = d.u64(), d.u64()
	a.MTimeSeconds, a.MTimeNanoSeconds = d.u64(), d.u64()
	a.CTimeSeconds, a.CTimeNanoSeconds = d.u64(), d.u64()
	a.BTimeSeconds, a.BTimeNanoSeconds = d.u64(), d.u64()
	a.Gen, a.DataVersion = d.u64(), d.u64()
	return q, a
}

// dirents reads the entries of Rreaddir.
func (d *decoder) dirents() []p9.Dirent {
	var list []p9.Dirent
	for len(d.b) > 0 && d.err == nil {
		e := p9.Dirent{QID: d.qid(), Offset: d.u64(), Type: p9.QIDType(d.u8()), Name: d.str()}
		if d.err == nil {
			list = append(list, e)
		}
	}
	return list
}

func (d *decoder) statfs() p9.FSStat {
	return p9.FSStat{
		Type: d.u32(), BlockSize: d.u32(), Blocks: d.u64(), BlocksFree: d.u64(), BlocksAvailable: d.u64(),
		Files: d.u64(), FilesFree: d.u64(), FSID: d.u64(), NameLength: d.u32(),
	}
}
