package simulate

import (
	"bytes"
	stderrors "errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"sliod/tape"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// readAll reads a trace to its end, or to its first mistake.
func readAll(trace string) (rs []Request, err error) {
	t := NewReader("t.csv", strings.NewReader(trace))
	for {
		r, err := t.Next()
		if err == io.EOF {
			return rs, nil
		}
		if err != nil {
			return rs, err
		}
		rs = append(rs, r)
	}
}

func TestReader(t *testing.T) {
	want := []Request{
		{0, "A00001L9", 0, 1, Read},
		{1500 * time.Millisecond, "A00002L9", 12, 209715200, Bulk},
		{1500 * time.Millisecond, "", 0, 1 << 40, Archive},
		{time.Hour, "A00001L9", 1 << 40, 7, Verify},
	}
	for name, trace := range map[string]string{
		"seconds": Header + "\n0,A00001L9,0,1,read\n# a comment\n1.5,A00002L9,12,209715200,bulk\n\n1.5,,,1099511627776,archive\n3.6e3,A00001L9,1099511627776,7,verify\n",
		"dates":   Header + "\n2026-01-31T08:00:00Z,A00001L9,0,1,read\n2026-01-31T09:00:01.5+01:00,A00002L9,12,209715200,bulk\n2026-01-31T08:00:01.5Z,,,1099511627776,archive\n2026-01-31T09:00:00Z,A00001L9,1099511627776,7,verify",
		"DOS":     Header + "\r\n0, A00001L9, 0, 1, read\r\n1.5,\"A00002L9\",12,209715200 ,bulk\r\n1.5,,,1099511627776,archive\r\n3600,A00001L9,1099511627776,7,verify\r\n",
	} {
		got, err := readAll(trace)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// TestMistakes has every mistake that a trace can have: it is told with its line, and what is allowed.
func TestMistakes(t *testing.T) {
	good := "0,A00001L9,0,1,read\n"
	for _, tc := range []struct{ trace, want string }{
		{"", `t.csv:1: a trace begins with the line "time,volume,block,length,kind"`},
		{"\n\n", `t.csv:1: a trace begins`},
		{good, `t.csv:1: a trace begins`},
		{"time,volume,block,length\n", `t.csv:1: a trace begins`},
		{"Time,Volume,Block,Length,Kind\n", `t.csv:1: a trace begins`},
		{"# x\n\n" + good, `t.csv:3: a trace begins`},
		{Header, `t.csv:1: the trace has no requests`},
		{Header + "\n# nothing\n", `t.csv:1: the trace has no requests`},
		{Header + "\n" + good + "1,A00001L9,0,1\n", `t.csv:3: 4 values: give 5`},
		{Header + "\n" + good + "1,A00001L9,0,1,read,x\n", `t.csv:3: 6 values: give 5`},
		{Header + "\n" + good + "\n\n1,A\"1,0,1,read\n", `t.csv:5: this is no line of comma-separated values: bare "`},
		{Header + "\n" + good + "1,\"A1,0,1,read\n", `t.csv:3: this is no line of comma-separated values`},
		{Header + "\n\"0\n\",A1,0,1,read\nx,A1,0,1,read\n", `t.csv:4: time "x": give seconds from 0 on`},
		{Header + "\n,A1,0,1,read\n", `t.csv:2: time "": give seconds`},
		{Header + "\n-1,A1,0,1,read\n", `t.csv:2: time "-1": give seconds`},
		{Header + "\nNaN,A1,0,1,read\n", `t.csv:2: time "NaN"`},
		{Header + "\nInf,A1,0,1,read\n", `t.csv:2: time "Inf"`},
		{Header + "\n1e300,A1,0,1,read\n", `t.csv:2: time "1e300"`},
		{Header + "\n2026-13-31T08:00:00Z,A1,0,1,read\n", `t.csv:2: time "2026-13-31T08:00:00Z"`},
		{Header + "\n2026-01-31T08:00:00Z,A1,0,1,read\n5,A1,0,1,read\n", `t.csv:3: time "5": the first line has a date`},
		{Header + "\n2026-01-31T08:00:00Z,A1,0,1,read\n2226-01-31T08:00:00Z,A1,0,1,read\n", `t.csv:3: time "2226-01-31T08:00:00Z": more than 100 years`},
		{Header + "\n2026-01-31T08:00:00Z,A1,0,1,read\n2025-01-31T08:00:00Z,A1,0,1,read\n", `t.csv:3: time 2025-01-31T08:00:00Z is before`},
		{Header + "\n" + good + "5,A1,0,1,read\n4.9,A1,0,1,read\n", `t.csv:4: time 4.9 is before that of the line before: sort the trace by time`},
		{Header + "\n0,,0,1,read\n", `t.csv:2: volume "": give a barcode`},
		{Header + "\n0,A 1,0,1,read\n", `t.csv:2: volume "A 1"`},
		{Header + "\n0,Ä1,0,1,read\n", `t.csv:2: volume "Ä1"`},
		{Header + "\n0," + strings.Repeat("A", 33) + ",0,1,read\n", `t.csv:2: volume "AAA`},
		{Header + "\n0,A1,,1,read\n", `t.csv:2: block "": give the number of a record`},
		{Header + "\n0,A1,-1,1,read\n", `t.csv:2: block "-1"`},
		{Header + "\n0,A1,1.5,1,read\n", `t.csv:2: block "1.5"`},
		{Header + "\n0,A1,1099511627777,1,read\n", `t.csv:2: block "1099511627777"`},
		{Header + "\n0,A1,0,0,read\n", `t.csv:2: length "0": give bytes, at least 1`},
		{Header + "\n0,A1,0,1MiB,read\n", `t.csv:2: length "1MiB"`},
		{Header + "\n0,A1,0,9223372036854775808,read\n", `t.csv:2: length "9223372036854775808"`},
		{Header + "\n0,A1,0,1,recall\n", `t.csv:2: kind "recall": give one of read, bulk, archive, verify`},
		{Header + "\n0,A1,0,1,\n", `t.csv:2: kind ""`},
		{Header + "\n0,A1,,1,archive\n", `t.csv:2: what is archived goes where the library chooses`},
		{Header + "\n0,,3,1,archive\n", `t.csv:2: what is archived goes`},
	} {
		_, err := readAll(tc.trace)
		var bad *TraceError
		if err == nil || !stderrors.As(err, &bad) || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%q: %v, want %s", tc.trace, err, tc.want)
		}
	}
}

// TestReaderFails: an error of the file is told as such.
func TestReaderFails(t *testing.T) {
	r := NewReader("t.csv", io.MultiReader(strings.NewReader(Header+"\n0,A1,0,1,read\n"), broken{}))
	if _, err := r.Next(); err != nil && !strings.Contains(err.Error(), "read the trace t.csv: torn") {
		t.Fatal(err)
	}
	_, err := r.Next()
	var bad *TraceError
	if err == nil || err == io.EOF || stderrors.As(err, &bad) {
		t.Fatal(err)
	}
	if err := NewWriter(tornWriter{}).Flush(); err != nil {
		t.Error(err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, stderrors.New("torn") }

type tornWriter struct{}

func (tornWriter) Write([]byte) (int, error) { return 0, stderrors.New("torn") }

// drawRequest makes a request up, not before at.
func drawRequest(t *rapid.T, at time.Duration) Request {
	r := Request{
		At:     at + time.Duration(rapid.IntRange(0, 200_000).Draw(t, "after"))*time.Millisecond,
		Length: rapid.Int64Range(1, 3<<30).Draw(t, "length"), Kind: rapid.SampledFrom([]Kind{Read, Read, Bulk, Archive, Verify}).Draw(t, "kind"),
	}
	if r.Kind != Archive {
		r.Volume = rapid.SampledFrom([]tape.Barcode{"A00001L9", "A00002L9", "A00003L9", "A00004L9"}).Draw(t, "volume")
		r.Block = tape.BlockNo(rapid.Int64Range(0, 30_000_000).Draw(t, "block"))
	}
	return r
}

func TestWriterReader(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rs []Request
		at := time.Duration(0)
		for range rapid.IntRange(1, 20).Draw(t, "n") {
			r := drawRequest(t, at)
			at = r.At
			rs = append(rs, r)
		}
		var b bytes.Buffer
		w := NewWriter(&b)
		for _, r := range rs {
			if err := w.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		got, err := readAll(b.String())
		if err != nil || !reflect.DeepEqual(got, rs) {
			t.Fatalf("%v, %v", got, err)
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add(Header + "\n0,A00001L9,0,1,read\n1.5,,,5,archive\n")
	f.Add(Header + "\n2026-01-31T08:00:00Z,A1,0,1,bulk\n")
	f.Add("\"\n")
	f.Fuzz(func(t *testing.T, trace string) {
		rs, err := readAll(trace)
		var bad *TraceError
		if err != nil && (!stderrors.As(err, &bad) || bad.Line < 1 || bad.Line > 1+strings.Count(trace, "\n")) {
			t.Fatal(err)
		}
		last := time.Duration(0)
		for _, r := range rs {
			if r.At < last || r.Length < 1 || r.Kind >= kinds || (r.Volume == "") != (r.Kind == Archive) {
				t.Fatalf("%+v", r)
			}
			last = r.At
		}
	})
}
