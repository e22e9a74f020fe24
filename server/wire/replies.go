package wire

import "github.com/hugelgupf/p9/p9"

// Status of MsgRlock.
const (
	LockSuccess = 0
	LockBlocked = 1
	LockError   = 2
	LockGrace   = 3
)

// MsgRlerror refuses a request.
type MsgRlerror struct {
	Errno uint32 // a Linux errno
}

// Type returns the message's type.
func (*MsgRlerror) Type() Type { return Rlerror }

func (m *MsgRlerror) code(c *Codec) {
	c.u32(&m.Errno)
}

// MsgRversion accepts a version.
type MsgRversion struct {
	Msize   uint32
	Version []byte
}

// Type returns the message's type.
func (*MsgRversion) Type() Type { return Rversion }

func (m *MsgRversion) code(c *Codec) {
	c.u32(&m.Msize)
	c.str(&m.Version)
}

// MsgRattach answers Tattach.
type MsgRattach struct {
	QID p9.QID
}

// Type returns the message's type.
func (*MsgRattach) Type() Type { return Rattach }

func (m *MsgRattach) code(c *Codec) {
	c.qid(&m.QID)
}

// MsgRflush says that the flushed request will not be answered any more.
type MsgRflush struct{}

// Type returns the message's type.
func (*MsgRflush) Type() Type { return Rflush }

func (*MsgRflush) code(*Codec) {}

// MsgRwalk answers Twalk with the QIDs of the names that were found.
type MsgRwalk struct {
	N    int // QIDs in use
	QIDs [MaxWalk]p9.QID
}

// Type returns the message's type.
func (*MsgRwalk) Type() Type { return Rwalk }

func (m *MsgRwalk) code(c *Codec) {
	n := uint16(m.N)
	c.u16(&n)
	if m.N = int(n); m.N > MaxWalk {
		c.bad, m.N = true, 0
	}
	for i := range m.QIDs[:m.N] {
		c.qid(&m.QIDs[i])
	}
}

// MsgRlopen answers Tlopen.
type MsgRlopen struct {
	QID    p9.QID
	IOUnit uint32 // 0: as much as fits
}

// Type returns the message's type.
func (*MsgRlopen) Type() Type { return Rlopen }

func (m *MsgRlopen) code(c *Codec) {
	c.qid(&m.QID)
	c.u32(&m.IOUnit)
}

// MsgRlcreate answers Tlcreate.
type MsgRlcreate struct {
	QID    p9.QID
	IOUnit uint32 // 0: as much as fits
}

// Type returns the message's type.
func (*MsgRlcreate) Type() Type { return Rlcreate }

func (m *MsgRlcreate) code(c *Codec) {
	c.qid(&m.QID)
	c.u32(&m.IOUnit)
}

// MsgRsymlink answers Tsymlink.
type MsgRsymlink struct {
	QID p9.QID
}

// Type returns the message's type.
func (*MsgRsymlink) Type() Type { return Rsymlink }

func (m *MsgRsymlink) code(c *Codec) {
	c.qid(&m.QID)
}

// MsgRmknod answers Tmknod.
type MsgRmknod struct {
	QID p9.QID
}

// Type returns the message's type.
func (*MsgRmknod) Type() Type { return Rmknod }

func (m *MsgRmknod) code(c *Codec) {
	c.qid(&m.QID)
}

// MsgRrename answers Trename.
type MsgRrename struct{}

// Type returns the message's type.
func (*MsgRrename) Type() Type { return Rrename }

func (*MsgRrename) code(*Codec) {}

// MsgRreadlink answers Treadlink.
type MsgRreadlink struct {
	Target []byte
}

// Type returns the message's type.
func (*MsgRreadlink) Type() Type { return Rreadlink }

func (m *MsgRreadlink) code(c *Codec) {
	c.str(&m.Target)
}

// AttrAll is every bit of Tgetattr.Mask and Rgetattr.Valid.
const AttrAll = 0x3fff

// MsgRgetattr answers Tgetattr.
type MsgRgetattr struct {
	Valid uint64 // Attr bits
	QID   p9.QID
	Attr  p9.Attr
}

// Type returns the message's type.
func (*MsgRgetattr) Type() Type { return Rgetattr }

func (m *MsgRgetattr) code(c *Codec) {
	a := &m.Attr
	c.u64(&m.Valid)
	c.qid(&m.QID)
	u32of(c, &a.Mode)
	u32of(c, &a.UID)
	u32of(c, &a.GID)
	c.u64((*uint64)(&a.NLink))
	c.u64((*uint64)(&a.RDev))
	c.u64(&a.Size)
	c.u64(&a.BlockSize)
	c.u64(&a.Blocks)
	c.u64(&a.ATimeSeconds)
	c.u64(&a.ATimeNanoSeconds)
	c.u64(&a.MTimeSeconds)
	c.u64(&a.MTimeNanoSeconds)
	c.u64(&a.CTimeSeconds)
	c.u64(&a.CTimeNanoSeconds)
	c.u64(&a.BTimeSeconds)
	c.u64(&a.BTimeNanoSeconds)
	c.u64(&a.Gen)
	c.u64(&a.DataVersion)
}

// MsgRsetattr answers Tsetattr.
type MsgRsetattr struct{}

// Type returns the message's type.
func (*MsgRsetattr) Type() Type { return Rsetattr }

func (*MsgRsetattr) code(*Codec) {}

// MsgRxattrwalk answers Txattrwalk.
type MsgRxattrwalk struct {
	Size uint64 // of the value or the list
}

// Type returns the message's type.
func (*MsgRxattrwalk) Type() Type { return Rxattrwalk }

func (m *MsgRxattrwalk) code(c *Codec) {
	c.u64(&m.Size)
}

// MsgRxattrcreate answers Txattrcreate.
type MsgRxattrcreate struct{}

// Type returns the message's type.
func (*MsgRxattrcreate) Type() Type { return Rxattrcreate }

func (*MsgRxattrcreate) code(*Codec) {}

// MsgRwrite answers Twrite.
type MsgRwrite struct {
	Count uint32
}

// Type returns the message's type.
func (*MsgRwrite) Type() Type { return Rwrite }

func (m *MsgRwrite) code(c *Codec) {
	c.u32(&m.Count)
}

// MsgRfsync answers Tfsync.
type MsgRfsync struct{}

// Type returns the message's type.
func (*MsgRfsync) Type() Type { return Rfsync }

func (*MsgRfsync) code(*Codec) {}

// MsgRlock answers Tlock.
type MsgRlock struct {
	Status uint8 // LockSuccess and so on
}

// Type returns the message's type.
func (*MsgRlock) Type() Type { return Rlock }

func (m *MsgRlock) code(c *Codec) {
	c.u8(&m.Status)
}

// MsgRgetlock answers Tgetlock.
type MsgRgetlock struct {
	LockType uint8
	Start    uint64
	Length   uint64
	ProcID   uint32
	ClientID []byte
}

// Type returns the message's type.
func (*MsgRgetlock) Type() Type { return Rgetlock }

func (m *MsgRgetlock) code(c *Codec) {
	c.u8(&m.LockType)
	c.u64(&m.Start)
	c.u64(&m.Length)
	c.u32(&m.ProcID)
	c.str(&m.ClientID)
}

// MsgRlink answers Tlink.
type MsgRlink struct{}

// Type returns the message's type.
func (*MsgRlink) Type() Type { return Rlink }

func (*MsgRlink) code(*Codec) {}

// MsgRmkdir answers Tmkdir.
type MsgRmkdir struct {
	QID p9.QID
}

// Type returns the message's type.
func (*MsgRmkdir) Type() Type { return Rmkdir }

func (m *MsgRmkdir) code(c *Codec) {
	c.qid(&m.QID)
}

// MsgRrenameat answers Trenameat.
type MsgRrenameat struct{}

// Type returns the message's type.
func (*MsgRrenameat) Type() Type { return Rrenameat }

func (*MsgRrenameat) code(*Codec) {}

// MsgRunlinkat answers Tunlinkat.
type MsgRunlinkat struct{}

// Type returns the message's type.
func (*MsgRunlinkat) Type() Type { return Runlinkat }

func (*MsgRunlinkat) code(*Codec) {}

// MsgRclunk answers Tclunk.
type MsgRclunk struct{}

// Type returns the message's type.
func (*MsgRclunk) Type() Type { return Rclunk }

func (*MsgRclunk) code(*Codec) {}

// MsgRremove answers Tremove.
type MsgRremove struct{}

// Type returns the message's type.
func (*MsgRremove) Type() Type { return Rremove }

func (*MsgRremove) code(*Codec) {}

// MsgRstatfs answers Tstatfs.
type MsgRstatfs struct{ Stat p9.FSStat }

// Type returns the message's type.
func (*MsgRstatfs) Type() Type { return Rstatfs }

func (m *MsgRstatfs) code(c *Codec) {
	s := &m.Stat
	c.u32(&s.Type)
	c.u32(&s.BlockSize)
	c.u64(&s.Blocks)
	c.u64(&s.BlocksFree)
	c.u64(&s.BlocksAvailable)
	c.u64(&s.Files)
	c.u64(&s.FilesFree)
	c.u64(&s.FSID)
	c.u32(&s.NameLength)
}
