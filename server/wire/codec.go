package wire

import "github.com/hugelgupf/p9/p9"

// Message is one of the message structs of this package.
type Message interface {
	// Type is the message's type on the wire.
	Type() Type
	// code walks the fields in wire order: it reads or writes each through c.
	code(c *Codec)
}

// Codec encodes and decodes messages. It holds only the state of the call that
// runs, and exists so that calls allocate nothing: give each goroutine its own.
type Codec struct {
	b      []byte
	off    int
	encode bool
	bad    bool
}

// Decode reads body, a frame without its header, into m. []byte fields of m are
// views of body. The error is nil or ErrMalformed.
func (c *Codec) Decode(body []byte, m Message) error {
	*c = Codec{b: body}
	m.code(c)
	bad := c.bad || c.off != len(c.b)
	c.b = nil
	if bad {
		return ErrMalformed
	}
	return nil
}

// Append appends the whole frame of m to b. A string must not be longer than
// 65535 bytes.
func (c *Codec) Append(b []byte, tag uint16, m Message) []byte {
	at := len(b)
	*c = Codec{b: appendHeader(b, m.Type(), tag), encode: true}
	m.code(c)
	b = c.b
	c.b = nil
	le.PutUint32(b[at:], uint32(len(b)-at))
	return b
}

// take returns the next n bytes of what is decoded, or nil if they are not there.
func (c *Codec) take(n int) []byte {
	if c.bad || n > len(c.b)-c.off {
		c.bad = true
		return nil
	}
	b := c.b[c.off : c.off+n : c.off+n]
	c.off += n
	return b
}

func (c *Codec) u8(p *uint8) {
	if c.encode {
		c.b = append(c.b, *p)
	} else if b := c.take(1); b != nil {
		*p = b[0]
	}
}

func (c *Codec) u16(p *uint16) {
	if c.encode {
		c.b = le.AppendUint16(c.b, *p)
	} else if b := c.take(2); b != nil {
		*p = le.Uint16(b)
	}
}

func (c *Codec) u32(p *uint32) {
	if c.encode {
		c.b = le.AppendUint32(c.b, *p)
	} else if b := c.take(4); b != nil {
		*p = le.Uint32(b)
	}
}

func (c *Codec) u64(p *uint64) {
	if c.encode {
		c.b = le.AppendUint64(c.b, *p)
	} else if b := c.take(8); b != nil {
		*p = le.Uint64(b)
	}
}

// str is length[2] and bytes; decoded as a view.
func (c *Codec) str(p *[]byte) {
	if c.encode {
		c.b = le.AppendUint16(c.b, uint16(len(*p)))
		c.b = append(c.b, *p...)
		return
	}
	var n uint16
	c.u16(&n)
	*p = c.take(int(n))
}

// u32of codes a named 32 bit type.
func u32of[T ~uint32](c *Codec, p *T) {
	v := uint32(*p)
	c.u32(&v)
	*p = T(v)
}

func (c *Codec) qid(q *p9.QID) {
	t := uint8(q.Type)
	c.u8(&t)
	q.Type = p9.QIDType(t)
	c.u32(&q.Version)
	c.u64(&q.Path)
}

// AppendDirent appends one entry of an Rreaddir. dtype is a DT_ number of
// dirent.h; next is the cookie with which the entries after this one are read.
func AppendDirent(b []byte, q p9.QID, next uint64, dtype uint8, name string) []byte {
	b = append(b, byte(q.Type))
	b = le.AppendUint32(b, q.Version)
	b = le.AppendUint64(b, q.Path)
	b = le.AppendUint64(b, next)
	b = append(b, dtype)
	b = le.AppendUint16(b, uint16(len(name)))
	return append(b, name...)
}

// ParseDirent reads the first entry of b and returns what follows it. d.Type is
// the DT_ number of the wire.
func ParseDirent(b []byte) (d p9.Dirent, rest []byte, err error) {
	if len(b) < DirentOverhead {
		return d, nil, ErrMalformed
	}
	n := int(le.Uint16(b[DirentOverhead-2:]))
	if len(b) < DirentOverhead+n {
		return d, nil, ErrMalformed
	}
	d.QID = p9.QID{Type: p9.QIDType(b[0]), Version: le.Uint32(b[1:]), Path: le.Uint64(b[5:])}
	d.Offset = le.Uint64(b[qidSize:])
	d.Type = p9.QIDType(b[qidSize+8])
	d.Name = string(b[DirentOverhead : DirentOverhead+n])
	return d, b[DirentOverhead+n:], nil
}
