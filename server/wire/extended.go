package wire

// The extension, which only those who have agreed on ExtendedVersion use: see
// docs/protocol.md. Its numbers are outside of those of 9P2000.L and of the
// extensions that others have made.
const (
	Tseek     Type = 200
	Rseek     Type = 201
	Tallocate Type = 202
	Rallocate Type = 203
	Tcopy     Type = 204
	Rcopy     Type = 205
)

// ExtendedVersion is 9P2000.L with the messages above.
const ExtendedVersion = Version + ".sliod"

// UmaskShift is where Tlcreate, Tmkdir and Tmknod have the umask of who makes the file in
// their mode: its nine bits begin at this one.
const UmaskShift = 16

// Extended says whether t belongs to the extension.
func (t Type) Extended() bool { return t >= Tseek && t <= Rcopy }

// MsgTseek asks for the first offset from Offset on that is in data or in a hole.
type MsgTseek struct {
	Fid    uint32
	Offset uint64
	Whence uint32 // 3 SEEK_DATA, 4 SEEK_HOLE
}

// Type returns the message's type.
func (*MsgTseek) Type() Type { return Tseek }

func (m *MsgTseek) code(c *Codec) {
	c.u32(&m.Fid)
	c.u64(&m.Offset)
	c.u32(&m.Whence)
}

// MsgRseek answers Tseek.
type MsgRseek struct{ Offset uint64 }

// Type returns the message's type.
func (*MsgRseek) Type() Type { return Rseek }

func (m *MsgRseek) code(c *Codec) { c.u64(&m.Offset) }

// MsgTallocate does what fallocate(2) does with Length bytes at Offset.
type MsgTallocate struct {
	Fid    uint32
	Mode   uint32 // FALLOC_FL_ bits of Linux
	Offset uint64
	Length uint64
}

// Type returns the message's type.
func (*MsgTallocate) Type() Type { return Tallocate }

func (m *MsgTallocate) code(c *Codec) {
	c.u32(&m.Fid)
	c.u32(&m.Mode)
	c.u64(&m.Offset)
	c.u64(&m.Length)
}

// MsgRallocate answers Tallocate: the first Count bytes of the range are done. With
// fewer than were asked for, 0 too, the client asks for the rest.
type MsgRallocate struct{ Count uint64 }

// Type returns the message's type.
func (*MsgRallocate) Type() Type { return Rallocate }

func (m *MsgRallocate) code(c *Codec) { c.u64(&m.Count) }

// MsgTcopy copies at most Count bytes from one file to another.
type MsgTcopy struct {
	Fid      uint32 // the source
	Offset   uint64
	ToFid    uint32
	ToOffset uint64
	Count    uint64
}

// Type returns the message's type.
func (*MsgTcopy) Type() Type { return Tcopy }

func (m *MsgTcopy) code(c *Codec) {
	c.u32(&m.Fid)
	c.u64(&m.Offset)
	c.u32(&m.ToFid)
	c.u64(&m.ToOffset)
	c.u64(&m.Count)
}

// MsgRcopy answers Tcopy. With Again nothing has been copied, and the client asks
// again: what was waited for is there. Otherwise a Count of 0 is the source's end.
type MsgRcopy struct {
	Count uint64
	Again uint8
}

// Type returns the message's type.
func (*MsgRcopy) Type() Type { return Rcopy }

func (m *MsgRcopy) code(c *Codec) {
	c.u64(&m.Count)
	c.u8(&m.Again)
}
