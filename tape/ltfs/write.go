package ltfs

import (
	"encoding/base64"
	"io"
	"strconv"
	"unsafe"

	"github.com/pkg/errors"
)

// asString views b as a string; b must not change afterwards.
func asString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// encoder writes XML through a buffer that is handed on when it is full.
type encoder struct {
	w   io.Writer
	out []byte
	n   int64
	err error
}

const encoderChunk = 256 << 10

func (e *encoder) flush(limit int) {
	if len(e.out) < limit || e.err != nil || len(e.out) == 0 {
		return
	}
	n, err := e.w.Write(e.out)
	e.n += int64(n)
	e.err = err
	e.out = e.out[:0]
}

func (e *encoder) raw(s string) { e.out = append(e.out, s...) }

func (e *encoder) num(tag string, n uint64) {
	e.open(tag)
	e.out = strconv.AppendUint(e.out, n, 10)
	e.close(tag)
}

func (e *encoder) open(tag string) {
	e.out = append(e.out, '<')
	e.out = append(e.out, tag...)
	e.out = append(e.out, '>')
}

func (e *encoder) close(tag string) {
	e.out = append(e.out, '<', '/')
	e.out = append(e.out, tag...)
	e.out = append(e.out, '>', '\n')
}

func (e *encoder) text(tag, s string) {
	e.open(tag)
	e.out = appendText(e.out, []byte(s))
	e.close(tag)
}

func (e *encoder) time(tag string, t Time) {
	e.open(tag)
	e.out = appendTime(e.out, t)
	e.close(tag)
}

// name writes an element of the LTFS name type; name is valid UTF-8.
func (e *encoder) name(tag, name string) {
	e.out = append(e.out, '<')
	e.out = append(e.out, tag...)
	if needsPercent(name) {
		e.raw(` percentencoded="true">`)
		e.out = appendText(e.out, appendPercent(nil, name))
	} else {
		e.out = append(e.out, '>')
		e.out = appendText(e.out, unsafe.Slice(unsafe.StringData(name), len(name)))
	}
	e.close(tag)
}

func (e *encoder) location(tag string, l Location) {
	e.open(tag)
	e.raw("\n<partition>")
	e.out = append(e.out, byte(l.Partition))
	e.raw("</partition>\n")
	e.num("startblock", l.StartBlock)
	e.close(tag)
}

// WriteTo writes the index as XML of version FormatVersion and returns how many
// bytes w took. It changes nothing in x.
func (x *Index) WriteTo(w io.Writer) (int64, error) {
	e := &encoder{w: w, out: make([]byte, 0, encoderChunk+64<<10)}
	e.raw(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<ltfsindex version="` + FormatVersion + `">` + "\n")
	e.text("creator", x.Creator)
	if x.Comment != "" {
		e.text("comment", x.Comment)
	}
	e.text("volumeuuid", x.UUID)
	e.num("generationnumber", x.Generation)
	e.time("updatetime", x.UpdateTime)
	e.location("location", x.Location)
	if x.Previous != nil {
		e.location("previousgenerationlocation", *x.Previous)
	}
	e.bool("allowpolicyupdate", x.AllowPolicyUpdate)
	e.out = append(e.out, x.Policy...)
	e.num("highestfileuid", x.HighestUID)
	if x.LockState != "" {
		e.text("volumelockstate", x.LockState)
	}
	e.dir(x.Root)
	e.out = append(e.out, x.Unknown...)
	e.raw("</ltfsindex>\n")
	e.flush(1)
	if e.err != nil {
		return e.n, errors.WithMessage(e.err, "write LTFS index")
	}
	return e.n, nil
}

func (e *encoder) bool(tag string, b bool) {
	e.open(tag)
	e.out = strconv.AppendBool(e.out, b)
	e.close(tag)
}

func (e *encoder) dir(d *Dir) {
	e.raw("<directory>\n")
	extra := e.node(&d.Node, -1)
	e.xattrs(&d.Node, extra, "")
	e.raw("<contents>\n")
	for _, c := range d.Children() {
		if e.err != nil {
			return
		}
		switch c := c.(type) {
		case *Dir:
			e.dir(c)
		case *File:
			e.file(c)
		}
		e.flush(encoderChunk)
	}
	e.raw("</contents>\n")
	e.out = append(e.out, d.Unknown...)
	e.raw("</directory>\n")
}

// node writes what comes before the xattrs and returns the raw name if the
// name had to be changed. length < 0: a directory, which has none.
func (e *encoder) node(n *Node, length int64) (rawName string) {
	name := safeName(n.Name, true)
	if name != n.Name {
		rawName = n.Name
	}
	e.name("name", name)
	if length >= 0 {
		e.num("length", uint64(length))
	}
	e.bool("readonly", n.ReadOnly)
	e.time("creationtime", n.CreationTime)
	e.time("changetime", n.ChangeTime)
	e.time("modifytime", n.ModifyTime)
	e.time("accesstime", n.AccessTime)
	e.time("backuptime", n.BackupTime)
	e.num("fileuid", n.UID)
	return rawName
}

func (e *encoder) file(f *File) {
	e.raw("<file>\n")
	rawName := e.node(&f.Node, int64(f.Length))
	target, rawTarget := f.Symlink, ""
	if f.IsSymlink {
		if target = safeName(f.Symlink, false); target != f.Symlink {
			rawTarget = f.Symlink
		}
	}
	e.xattrs(&f.Node, rawName, rawTarget)
	if f.IsSymlink {
		e.name("symlink", target)
	} else if len(f.Extents) > 0 {
		e.raw("<extentinfo>\n")
		for i := range f.Extents {
			x := &f.Extents[i]
			e.raw("<extent>\n")
			e.num("fileoffset", x.FileOffset)
			e.raw("<partition>")
			e.out = append(e.out, byte(x.Partition))
			e.raw("</partition>\n")
			e.num("startblock", x.StartBlock)
			e.num("byteoffset", uint64(x.ByteOffset))
			e.num("bytecount", x.ByteCount)
			e.raw("</extent>\n")
			e.flush(encoderChunk)
		}
		e.raw("</extentinfo>\n")
	}
	e.out = append(e.out, f.Unknown...)
	e.raw("</file>\n")
}

func (e *encoder) xattrs(n *Node, rawName, rawTarget string) {
	if len(n.Xattrs) == 0 && rawName == "" && rawTarget == "" {
		return
	}
	e.raw("<extendedattributes>\n")
	for i := range n.Xattrs {
		if k := n.Xattrs[i].Key; k != keyName && k != keyTarget {
			e.xattr(k, n.Xattrs[i].Value)
		}
	}
	if rawName != "" {
		e.xattr(keyName, []byte(rawName))
	}
	if rawTarget != "" {
		e.xattr(keyTarget, []byte(rawTarget))
	}
	e.raw("</extendedattributes>\n")
}

func (e *encoder) xattr(key string, value []byte) {
	e.raw("<xattr>\n")
	e.name("key", safeKey(key))
	switch {
	case len(value) == 0:
		e.raw("<value/>\n")
	case plainText(value):
		e.raw("<value>")
		e.out = appendText(e.out, value)
		e.close("value")
	default:
		e.raw(`<value type="base64">`)
		e.out = base64.StdEncoding.AppendEncode(e.out, value)
		e.close("value")
	}
	e.raw("</xattr>\n")
	e.flush(encoderChunk)
}
