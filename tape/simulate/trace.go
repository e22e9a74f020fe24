package simulate

import (
	"bufio"
	"encoding/csv"
	stderrors "errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/pkg/errors"

	"sliod/tape"
)

// Header is the first line of a trace.
const Header = "time,volume,block,length,kind"

const (
	columns    = 5
	maxBlock   = 1 << 40 // keeps byte offsets far from overflow
	maxBarcode = 32
	maxTime    = 100 * 365 * 24 * time.Hour
)

// TraceError is a mistake in a trace.
type TraceError struct {
	Name string
	Line int    // from 1
	Msg  string // what is wrong and what is allowed
}

func (e *TraceError) Error() string { return fmt.Sprintf("%s:%d: %s", e.Name, e.Line, e.Msg) }

// Reader reads a trace: comma-separated values below the line Header, in the order of
// time. Empty lines and lines that begin with # are passed over. Memory does not grow with
// the trace.
type Reader struct {
	name  string
	csv   *csv.Reader
	line  int // of what was read last
	begun bool
	n     int64 // requests so far
	last  time.Duration
	dates bool      // the times are dates
	zero  time.Time // the first of them
}

// NewReader returns a reader of the trace r, which errors call name.
func NewReader(name string, r io.Reader) *Reader {
	c := csv.NewReader(bufio.NewReaderSize(r, 1<<16))
	c.Comment, c.ReuseRecord, c.FieldsPerRecord, c.TrimLeadingSpace = '#', true, -1, true
	return &Reader{name: name, csv: c, line: 1}
}

// Wrong makes an error of the line that was read last.
func (t *Reader) Wrong(format string, args ...any) error {
	return errors.WithStack(&TraceError{Name: t.name, Line: t.line, Msg: fmt.Sprintf(format, args...)})
}

// Next returns the next request. At the end of the trace the error is io.EOF; of a mistake in it
// a *TraceError.
func (t *Reader) Next() (Request, error) {
	fields, err := t.read()
	if !t.begun && (err == nil || err == io.EOF) {
		if err == io.EOF || strings.Join(fields, ",") != Header {
			return Request{}, t.Wrong("a trace begins with the line %q", Header)
		}
		t.begun = true
		fields, err = t.read()
	}
	switch {
	case err == io.EOF && t.n == 0:
		return Request{}, t.Wrong("the trace has no requests")
	case err != nil:
		return Request{}, err
	}
	r, err := t.parse(fields)
	if err != nil {
		return Request{}, err
	}
	t.n++
	t.last = r.At
	return r, nil
}

// read returns the fields of the next line.
func (t *Reader) read() ([]string, error) {
	fields, err := t.csv.Read()
	var bad *csv.ParseError
	switch {
	case err == io.EOF:
		return nil, io.EOF
	case stderrors.As(err, &bad):
		t.line = bad.Line
		return nil, t.Wrong("this is no line of comma-separated values: %v", bad.Err)
	case err != nil:
		return nil, errors.Wrapf(err, "read the trace %s", t.name)
	}
	t.line, _ = t.csv.FieldPos(0)
	for i := range fields {
		fields[i] = strings.TrimSpace(fields[i])
	}
	return fields, nil
}

func (t *Reader) parse(fields []string) (r Request, err error) {
	if len(fields) != columns {
		return r, t.Wrong("%d values: give %d, %s", len(fields), columns, Header)
	}
	if r.At, err = t.time(fields[0]); err != nil {
		return r, err
	}
	if r.At < t.last {
		return r, t.Wrong("time %s is before that of the line before: sort the trace by time", fields[0])
	}
	var ok bool
	if r.Kind, ok = ParseKind(fields[4]); !ok {
		return r, t.Wrong("kind %q: give one of %s", fields[4], strings.Join(kindNames[:], ", "))
	}
	n, err := strconv.ParseInt(fields[3], 10, 64)
	if err != nil || n < 1 {
		return r, t.Wrong("length %q: give bytes, at least 1", fields[3])
	}
	r.Length = n
	if r.Kind == Archive {
		if fields[1] != "" || fields[2] != "" {
			return r, t.Wrong("what is archived goes where the library chooses: leave volume and block empty")
		}
		return r, nil
	}
	if fields[1] == "" || len(fields[1]) > maxBarcode || strings.ContainsFunc(fields[1], func(c rune) bool { return c <= ' ' || c > '~' }) {
		return r, t.Wrong("volume %q: give a barcode, 1 to %d printable characters", fields[1], maxBarcode)
	}
	r.Volume = tape.Barcode(fields[1])
	block, err := strconv.ParseUint(fields[2], 10, 64)
	if err != nil || block > maxBlock {
		return r, t.Wrong("block %q: give the number of a record in the data partition, from 0 on", fields[2])
	}
	r.Block = tape.BlockNo(block)
	return r, nil
}

// time reads seconds since the begin of the trace, or a date; the first request says which.
func (t *Reader) time(s string) (time.Duration, error) {
	if t.n == 0 {
		if zero, err := time.Parse(time.RFC3339, s); err == nil {
			t.dates, t.zero = true, zero
		}
	}
	if t.dates {
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return 0, t.Wrong("time %q: the first line has a date, so give dates such as 2026-01-31T08:00:00Z", s)
		}
		if at.Sub(t.zero) > maxTime {
			return 0, t.Wrong("time %q: more than 100 years after the first", s)
		}
		return at.Sub(t.zero), nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > maxTime.Seconds() {
		return 0, t.Wrong("time %q: give seconds from 0 on, or dates such as 2026-01-31T08:00:00Z in all lines", s)
	}
	return time.Duration(math.Round(f * float64(time.Second))), nil
}

// Writer writes a trace.
type Writer struct {
	b     *bufio.Writer
	begun bool
	line  []byte
}

// NewWriter returns a writer of a trace to w.
func NewWriter(w io.Writer) *Writer { return &Writer{b: bufio.NewWriterSize(w, 1<<16)} }

// Write adds a request. Times are written in milliseconds.
func (t *Writer) Write(r Request) error {
	if !t.begun {
		t.begun = true
		t.line = append(t.line, Header+"\n"...)
	}
	b := strconv.AppendFloat(t.line, r.At.Seconds(), 'f', 3, 64)
	b = append(b, ',')
	b = append(b, r.Volume...)
	b = append(b, ',')
	if r.Kind != Archive {
		b = strconv.AppendUint(b, uint64(r.Block), 10)
	}
	b = append(b, ',')
	b = strconv.AppendInt(b, r.Length, 10)
	b = append(b, ',')
	b = append(b, r.Kind.String()...)
	b = append(b, '\n')
	_, err := t.b.Write(b)
	t.line = b[:0]
	return errors.WithStack(err)
}

// Flush puts out what is buffered.
func (t *Writer) Flush() error { return errors.WithStack(t.b.Flush()) }
