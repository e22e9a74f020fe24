package ltfs

import (
	"bytes"
	"strings"
	"time"

	"github.com/pkg/errors"
)

// vol1Len is the length of the VOL1 label record.
const vol1Len = 80

// encodeVOL1 makes the ANSI label that begins each partition: "VOL1", six
// characters of volume serial, 'L', "LTFS" at 24, '4' at 79, spaces between.
func encodeVOL1(serial string) []byte {
	b := bytes.Repeat([]byte{' '}, vol1Len)
	copy(b, "VOL1")
	copy(b[4:10], serial)
	b[10] = 'L'
	copy(b[24:], "LTFS")
	b[79] = '4'
	return b
}

// parseVOL1 returns the volume serial of an LTFS volume's ANSI label.
func parseVOL1(b []byte) (serial string, err error) {
	switch {
	case len(b) != vol1Len || string(b[:4]) != "VOL1":
		return "", &NotLTFSError{Found: "the first record is not an 80 byte VOL1 label but " + describe(b)}
	case string(b[24:28]) != "LTFS":
		return "", &NotLTFSError{Found: "a VOL1 label of another format: " + describe(b)}
	case b[79] != '4':
		return "", &NotLTFSError{Found: "a VOL1 label of standard version " + string(b[79:]) + ", not 4"}
	}
	for _, c := range b[4:10] {
		if c < 0x20 || c > 0x7e {
			return "", &NotLTFSError{Found: "a VOL1 label with a bad volume serial: " + describe(b)}
		}
	}
	return strings.TrimRight(string(b[4:10]), " "), nil
}

func describe(b []byte) string {
	s := make([]byte, 0, 40)
	for _, c := range b[:min(len(b), 32)] {
		if c < 0x20 || c > 0x7e {
			c = '.'
		}
		s = append(s, c)
	}
	return errors.Errorf("%d bytes %q", len(b), s).Error()
}

// Label is the XML label that both partitions carry, equal but for Location.
type Label struct {
	Version     string
	Creator     string
	FormatTime  Time
	UUID        string      // lower-case
	Location    PartitionID // where this copy is
	Index, Data PartitionID // which partition is which
	BlockSize   uint32      // bytes
	Compression bool
}

// minBlockSize and maxBlockSize bound the block size: LTFS wants at least 4096,
// SCSI counts a record's length in 24 bits.
const (
	minBlockSize = 4096
	maxBlockSize = 1<<24 - 1
)

// Encode returns the label as XML.
func (l *Label) Encode() []byte {
	e := &encoder{}
	e.raw(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<ltfslabel version="` + FormatVersion + `">` + "\n")
	e.text("creator", l.Creator)
	e.time("formattime", l.FormatTime)
	e.text("volumeuuid", l.UUID)
	e.raw("<location>\n")
	e.text("partition", l.Location.String())
	e.close("location")
	e.raw("<partitions>\n")
	e.text("index", l.Index.String())
	e.text("data", l.Data.String())
	e.close("partitions")
	e.num("blocksize", uint64(l.BlockSize))
	e.bool("compression", l.Compression)
	e.raw("</ltfslabel>\n")
	return e.out
}

// ParseLabel reads a label of version 1.x or 2.x.
func ParseLabel(data []byte) (*Label, error) {
	l, err := parseLabel(data)
	if err != nil {
		return nil, errors.WithMessage(err, "read LTFS label")
	}
	return l, nil
}

func parseLabel(data []byte) (*Label, error) {
	p := &parser{scanner: newScanner(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))}
	for {
		k, err := p.next()
		if err != nil {
			return nil, err
		}
		if k == tokStart {
			break
		}
		if k == tokEOF || k == tokEnd {
			return nil, p.corrupt("no <ltfslabel> here")
		}
	}
	if string(p.name) != "ltfslabel" {
		return nil, p.corrupt("<%s> where <ltfslabel> should be", p.name)
	}
	v, _ := attr(p.attrs, "version")
	if !bytes.HasPrefix(v, []byte("1.")) && !bytes.HasPrefix(v, []byte("2.")) {
		return nil, p.corrupt("label version %q; this program knows 1.x and 2.x", v)
	}
	l := &Label{Version: string(v)}
	partitionIn := func(parent string, into map[string]*PartitionID) error {
		return p.children(parent, func(name []byte) (err error) {
			if at := into[string(name)]; at != nil {
				*at, err = p.partition()
				return err
			}
			_, err = p.keep(nil)
			return err
		})
	}
	err := p.children("ltfslabel", func(name []byte) (err error) {
		switch string(name) {
		case "creator":
			l.Creator, err = p.str()
		case "formattime":
			l.FormatTime, err = p.time("formattime")
		case "volumeuuid":
			l.UUID, err = p.str()
			l.UUID = strings.ToLower(strings.TrimSpace(l.UUID))
		case "location":
			err = partitionIn("location", map[string]*PartitionID{"partition": &l.Location})
		case "partitions":
			err = partitionIn("partitions", map[string]*PartitionID{"index": &l.Index, "data": &l.Data})
		case "blocksize":
			var n uint64
			if n, err = p.number("blocksize"); err == nil && (n < 1 || n > maxBlockSize) {
				err = p.corrupt("blocksize %d is outside 1 to %d", n, maxBlockSize)
			}
			l.BlockSize = uint32(n)
		case "compression":
			l.Compression, err = p.boolean("compression")
		default:
			_, err = p.keep(nil)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if l.UUID == "" || l.Location == 0 || l.Index == 0 || l.Data == 0 || l.BlockSize == 0 {
		return nil, p.corrupt("volumeuuid, location, partitions or blocksize is missing")
	}
	return l, nil
}

// sameVolume says whether two labels are copies of one.
func (l *Label) sameVolume(o *Label) bool {
	return l.UUID == o.UUID && l.Index == o.Index && l.Data == o.Data && l.BlockSize == o.BlockSize && l.FormatTime == o.FormatTime
}

// now is the time as the index wants it.
func now() Time { return TimeOf(time.Now()) }
