package wire

import "github.com/hugelgupf/p9/p9"

// Flags of MsgTlock.
const (
	LockBlock   = 1 // hold the reply until the lock is granted
	LockReclaim = 2
)

// MsgTversion asks for a protocol and a frame size.
type MsgTversion struct {
	Msize   uint32 // largest frame, with its header
	Version []byte
}

// Type returns the message's type.
func (*MsgTversion) Type() Type { return Tversion }

func (m *MsgTversion) code(c *Codec) {
	c.u32(&m.Msize)
	c.str(&m.Version)
}

// MsgTauth asks for an authentication fid.
type MsgTauth struct {
	Afid   uint32
	Uname  []byte
	Aname  []byte
	NUname uint32 // uid, or NoUname
}

// Type returns the message's type.
func (*MsgTauth) Type() Type { return Tauth }

func (m *MsgTauth) code(c *Codec) {
	c.u32(&m.Afid)
	c.str(&m.Uname)
	c.str(&m.Aname)
	c.u32(&m.NUname)
}

// MsgTattach opens a tree as a user.
type MsgTattach struct {
	Fid    uint32
	Afid   uint32 // NoFid
	Uname  []byte
	Aname  []byte
	NUname uint32 // uid, or NoUname
}

// Type returns the message's type.
func (*MsgTattach) Type() Type { return Tattach }

func (m *MsgTattach) code(c *Codec) {
	c.u32(&m.Fid)
	c.u32(&m.Afid)
	c.str(&m.Uname)
	c.str(&m.Aname)
	c.u32(&m.NUname)
}

// MsgTflush gives up the request OldTag.
type MsgTflush struct {
	OldTag uint16
}

// Type returns the message's type.
func (*MsgTflush) Type() Type { return Tflush }

func (m *MsgTflush) code(c *Codec) {
	c.u16(&m.OldTag)
}

// MsgTwalk walks from Fid through Names and calls the result NewFid.
type MsgTwalk struct {
	Fid, NewFid uint32
	N           int // names in use
	Names       [MaxWalk][]byte
}

// Type returns the message's type.
func (*MsgTwalk) Type() Type { return Twalk }

func (m *MsgTwalk) code(c *Codec) {
	c.u32(&m.Fid)
	c.u32(&m.NewFid)
	n := uint16(m.N)
	c.u16(&n)
	if m.N = int(n); m.N > MaxWalk {
		c.bad, m.N = true, 0
	}
	for i := range m.Names[:m.N] {
		c.str(&m.Names[i])
	}
}

// MsgTlopen opens a fid.
type MsgTlopen struct {
	Fid   uint32
	Flags p9.OpenFlags // O_ bits of Linux
}

// Type returns the message's type.
func (*MsgTlopen) Type() Type { return Tlopen }

func (m *MsgTlopen) code(c *Codec) {
	c.u32(&m.Fid)
	u32of(c, &m.Flags)
}

// MsgTlcreate makes a file in the directory Fid, which then stands for the file.
type MsgTlcreate struct {
	Fid   uint32
	Name  []byte
	Flags p9.OpenFlags
	Mode  p9.FileMode
	GID   uint32
}

// Type returns the message's type.
func (*MsgTlcreate) Type() Type { return Tlcreate }

func (m *MsgTlcreate) code(c *Codec) {
	c.u32(&m.Fid)
	c.str(&m.Name)
	u32of(c, &m.Flags)
	u32of(c, &m.Mode)
	c.u32(&m.GID)
}

// MsgTsymlink makes a symbolic link.
type MsgTsymlink struct {
	Dir    uint32
	Name   []byte
	Target []byte
	GID    uint32
}

// Type returns the message's type.
func (*MsgTsymlink) Type() Type { return Tsymlink }

func (m *MsgTsymlink) code(c *Codec) {
	c.u32(&m.Dir)
	c.str(&m.Name)
	c.str(&m.Target)
	c.u32(&m.GID)
}

// MsgTmknod makes a device, a pipe or a socket.
type MsgTmknod struct {
	Dir   uint32
	Name  []byte
	Mode  p9.FileMode
	Major uint32
	Minor uint32
	GID   uint32
}

// Type returns the message's type.
func (*MsgTmknod) Type() Type { return Tmknod }

func (m *MsgTmknod) code(c *Codec) {
	c.u32(&m.Dir)
	c.str(&m.Name)
	u32of(c, &m.Mode)
	c.u32(&m.Major)
	c.u32(&m.Minor)
	c.u32(&m.GID)
}

// MsgTrename moves the file of a fid.
type MsgTrename struct {
	Fid  uint32
	Dir  uint32
	Name []byte
}

// Type returns the message's type.
func (*MsgTrename) Type() Type { return Trename }

func (m *MsgTrename) code(c *Codec) {
	c.u32(&m.Fid)
	c.u32(&m.Dir)
	c.str(&m.Name)
}

// MsgTreadlink asks for a symbolic link's target.
type MsgTreadlink struct {
	Fid uint32
}

// Type returns the message's type.
func (*MsgTreadlink) Type() Type { return Treadlink }

func (m *MsgTreadlink) code(c *Codec) {
	c.u32(&m.Fid)
}

// MsgTgetattr asks for attributes.
type MsgTgetattr struct {
	Fid  uint32
	Mask uint64 // what is wanted: Attr bits
}

// Type returns the message's type.
func (*MsgTgetattr) Type() Type { return Tgetattr }

func (m *MsgTgetattr) code(c *Codec) {
	c.u32(&m.Fid)
	c.u64(&m.Mask)
}

// Bits of Tsetattr.Valid.
const (
	SetMode = 1 << iota
	SetUID
	SetGID
	SetSize
	SetAtime // to now, unless SetAtimeTo
	SetMtime // to now, unless SetMtimeTo
	SetCtime
	SetAtimeTo
	SetMtimeTo
	SetAll = 1<<iota - 1
)

// MsgTsetattr changes attributes.
type MsgTsetattr struct {
	Fid   uint32
	Valid uint32 // Set bits
	Attr  p9.SetAttr
}

// Type returns the message's type.
func (*MsgTsetattr) Type() Type { return Tsetattr }

func (m *MsgTsetattr) code(c *Codec) {
	c.u32(&m.Fid)
	c.u32(&m.Valid)
	u32of(c, &m.Attr.Permissions)
	u32of(c, &m.Attr.UID)
	u32of(c, &m.Attr.GID)
	c.u64(&m.Attr.Size)
	c.u64(&m.Attr.ATimeSeconds)
	c.u64(&m.Attr.ATimeNanoSeconds)
	c.u64(&m.Attr.MTimeSeconds)
	c.u64(&m.Attr.MTimeNanoSeconds)
}

// Mask returns Valid as p9's type.
func (m *MsgTsetattr) Mask() p9.SetAttrMask {
	return p9.SetAttrMask{
		Permissions:        m.Valid&SetMode != 0,
		UID:                m.Valid&SetUID != 0,
		GID:                m.Valid&SetGID != 0,
		Size:               m.Valid&SetSize != 0,
		ATime:              m.Valid&SetAtime != 0,
		MTime:              m.Valid&SetMtime != 0,
		CTime:              m.Valid&SetCtime != 0,
		ATimeNotSystemTime: m.Valid&SetAtimeTo != 0,
		MTimeNotSystemTime: m.Valid&SetMtimeTo != 0,
	}
}

// MsgTxattrwalk opens an extended attribute for reading, or with an empty name their list.
type MsgTxattrwalk struct {
	Fid    uint32
	NewFid uint32
	Name   []byte
}

// Type returns the message's type.
func (*MsgTxattrwalk) Type() Type { return Txattrwalk }

func (m *MsgTxattrwalk) code(c *Codec) {
	c.u32(&m.Fid)
	c.u32(&m.NewFid)
	c.str(&m.Name)
}

// MsgTxattrcreate makes of a fid an extended attribute to write.
type MsgTxattrcreate struct {
	Fid   uint32
	Name  []byte
	Size  uint64
	Flags uint32
}

// Type returns the message's type.
func (*MsgTxattrcreate) Type() Type { return Txattrcreate }

func (m *MsgTxattrcreate) code(c *Codec) {
	c.u32(&m.Fid)
	c.str(&m.Name)
	c.u64(&m.Size)
	c.u32(&m.Flags)
}

// MsgTreaddir reads entries of an open directory.
type MsgTreaddir struct {
	Fid    uint32
	Offset uint64 // a cookie, 0 at first
	Count  uint32
}

// Type returns the message's type.
func (*MsgTreaddir) Type() Type { return Treaddir }

func (m *MsgTreaddir) code(c *Codec) {
	c.u32(&m.Fid)
	c.u64(&m.Offset)
	c.u32(&m.Count)
}

// MsgTread reads an open file.
type MsgTread struct {
	Fid    uint32
	Offset uint64
	Count  uint32
}

// Type returns the message's type.
func (*MsgTread) Type() Type { return Tread }

func (m *MsgTread) code(c *Codec) {
	c.u32(&m.Fid)
	c.u64(&m.Offset)
	c.u32(&m.Count)
}

// MsgTfsync makes a file durable.
type MsgTfsync struct {
	Fid      uint32
	DataOnly uint32 // not 0: fdatasync; older clients do not send it
}

// Type returns the message's type.
func (*MsgTfsync) Type() Type { return Tfsync }

func (m *MsgTfsync) code(c *Codec) {
	c.u32(&m.Fid)
	if !c.encode && c.off == len(c.b) {
		m.DataOnly = 0
		return
	}
	c.u32(&m.DataOnly)
}

// MsgTlock takes or releases a record lock.
type MsgTlock struct {
	Fid      uint32
	LockType uint8
	Flags    uint32 // LockBlock, LockReclaim
	Start    uint64
	Length   uint64 // 0: to the end
	ProcID   uint32
	ClientID []byte
}

// Type returns the message's type.
func (*MsgTlock) Type() Type { return Tlock }

func (m *MsgTlock) code(c *Codec) {
	c.u32(&m.Fid)
	c.u8(&m.LockType)
	c.u32(&m.Flags)
	c.u64(&m.Start)
	c.u64(&m.Length)
	c.u32(&m.ProcID)
	c.str(&m.ClientID)
}

// MsgTgetlock asks who holds a conflicting lock.
type MsgTgetlock struct {
	Fid      uint32
	LockType uint8
	Start    uint64
	Length   uint64
	ProcID   uint32
	ClientID []byte
}

// Type returns the message's type.
func (*MsgTgetlock) Type() Type { return Tgetlock }

func (m *MsgTgetlock) code(c *Codec) {
	c.u32(&m.Fid)
	c.u8(&m.LockType)
	c.u64(&m.Start)
	c.u64(&m.Length)
	c.u32(&m.ProcID)
	c.str(&m.ClientID)
}

// MsgTlink makes a hard link.
type MsgTlink struct {
	Dir  uint32
	Fid  uint32
	Name []byte
}

// Type returns the message's type.
func (*MsgTlink) Type() Type { return Tlink }

func (m *MsgTlink) code(c *Codec) {
	c.u32(&m.Dir)
	c.u32(&m.Fid)
	c.str(&m.Name)
}

// MsgTmkdir makes a directory.
type MsgTmkdir struct {
	Dir  uint32
	Name []byte
	Mode p9.FileMode
	GID  uint32
}

// Type returns the message's type.
func (*MsgTmkdir) Type() Type { return Tmkdir }

func (m *MsgTmkdir) code(c *Codec) {
	c.u32(&m.Dir)
	c.str(&m.Name)
	u32of(c, &m.Mode)
	c.u32(&m.GID)
}

// MsgTrenameat moves an entry.
type MsgTrenameat struct {
	OldDir  uint32
	OldName []byte
	NewDir  uint32
	NewName []byte
}

// Type returns the message's type.
func (*MsgTrenameat) Type() Type { return Trenameat }

func (m *MsgTrenameat) code(c *Codec) {
	c.u32(&m.OldDir)
	c.str(&m.OldName)
	c.u32(&m.NewDir)
	c.str(&m.NewName)
}

// MsgTunlinkat removes an entry.
type MsgTunlinkat struct {
	Dir   uint32
	Name  []byte
	Flags uint32
}

// Type returns the message's type.
func (*MsgTunlinkat) Type() Type { return Tunlinkat }

func (m *MsgTunlinkat) code(c *Codec) {
	c.u32(&m.Dir)
	c.str(&m.Name)
	c.u32(&m.Flags)
}

// MsgTclunk gives a fid back.
type MsgTclunk struct {
	Fid uint32
}

// Type returns the message's type.
func (*MsgTclunk) Type() Type { return Tclunk }

func (m *MsgTclunk) code(c *Codec) {
	c.u32(&m.Fid)
}

// MsgTremove removes the file of a fid and gives the fid back.
type MsgTremove struct {
	Fid uint32
}

// Type returns the message's type.
func (*MsgTremove) Type() Type { return Tremove }

func (m *MsgTremove) code(c *Codec) {
	c.u32(&m.Fid)
}

// MsgTstatfs asks for the file system's figures.
type MsgTstatfs struct {
	Fid uint32
}

// Type returns the message's type.
func (*MsgTstatfs) Type() Type { return Tstatfs }

func (m *MsgTstatfs) code(c *Codec) {
	c.u32(&m.Fid)
}
