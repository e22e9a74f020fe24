package simulate

import (
	"bytes"
	"encoding/xml"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"
)

// heapInUse is what is in use after a collection.
func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// year is the work of a year for four drives.
func year(requests int64) Synthetic {
	const hours = 365 * 24
	return Synthetic{Pattern: Clustered, Volumes: 60, Rate: float64(requests) / hours, Time: hours * time.Hour, Length: 50 << 20,
		Share: map[Kind]float64{Read: 6, Bulk: 2, Archive: 2, Verify: 1}}
}

// playYear has a library do a year's trace, through the writer and the reader of traces, and looks at the heap
// a hundred times meanwhile.
func playYear(t testing.TB, requests int64) (r *Result, most, begin uint64) {
	in, out := io.Pipe()
	written := make(chan error, 1)
	go func() {
		w := NewWriter(out)
		err := Generate(year(requests), w.Write)
		if err == nil {
			err = w.Flush()
		}
		written <- err
		_ = out.CloseWithError(err) // nil: end of file
	}()
	begin = heapInUse()
	s, err := New(Config{Drives: 6, Slots: 200})
	if err != nil {
		t.Fatal(err)
	}
	tr := NewReader("year", in)
	for n := int64(1); ; n++ {
		q, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Add(q); err != nil {
			t.Fatal(tr.Wrong("%v", err))
		}
		if n%(requests/100) == 0 {
			most = max(most, heapInUse())
		}
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if r, err = s.Finish(); err != nil {
		t.Fatal(err)
	}
	return r, most, begin
}

// TestMemoryIsBounded: a year of 200,000 requests takes no more memory than the requests that wait
// at once, a few megabytes.
func TestMemoryIsBounded(t *testing.T) {
	r, most, begin := playYear(t, 200_000)
	if r.Requests < 197_000 || r.Wait.Count() != r.Requests || r.Makespan < 364*24*time.Hour {
		t.Errorf("%d requests, %d served, in %v", r.Requests, r.Wait.Count(), r.Makespan)
	}
	if grown := int64(most) - int64(begin); grown > 8<<20 {
		t.Errorf("the heap grew by %d bytes; at most %d requests waited", grown, r.PeakWaiting)
	}
	t.Logf("heap %d KiB at the begin, %d KiB at most; at most %d requests waited; drives %.0f %% idle", begin>>10, most>>10, r.PeakWaiting, 100*r.Use(DoesNothing))
}

// BenchmarkYear is a year of a million requests, written as a trace, read, and simulated.
func BenchmarkYear(b *testing.B) {
	for b.Loop() {
		r, most, begin := playYear(b, 1_000_000)
		b.ReportMetric(float64(r.Requests)/b.Elapsed().Seconds()/float64(b.N), "requests/s")
		b.ReportMetric(float64(int64(most)-int64(begin))/(1<<20), "MiB")
		b.ReportMetric(float64(r.PeakWaiting), "waiting")
	}
}

// TestPlot: a picture is well-formed XML whatever its title, has its parts, and tells when it cannot be written.
func TestPlot(t *testing.T) {
	var single *Result
	c, err := NewComparison(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := Generate(Synthetic{Time: 20 * time.Hour, Volumes: 4, Rate: 40, Share: map[Kind]float64{Read: 4, Archive: 1}}, c.Add); err != nil {
		t.Fatal(err)
	}
	var all []*Result
	for _, o := range c.Finish() {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		all = append(all, o.Result)
	}
	single = all[0]
	empty := &Result{Drives: 1}
	for name, tc := range map[string]struct {
		results []*Result
		want    []string
	}{
		"one":     {[]*Result{single}, []string{"wait of those served", "what the drives do", "requests that wait", ">longest<", ">1 min<", ">100%<", ">12 h<"}},
		"several": {all, []string{"what the drives did, hours", ">sliod<", ">first-come<", ">by-block<", ">scan<", ">nearest<"}},
		"nothing": {[]*Result{empty}, []string{"requests that wait"}},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := Plot(&b, "a <b> & \"c\"\x01", tc.results...); err != nil {
				t.Fatal(err)
			}
			for d := xml.NewDecoder(bytes.NewReader(b.Bytes())); ; {
				if _, err := d.Token(); err == io.EOF {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
			for _, want := range append(tc.want, "a &lt;b&gt; &amp;") {
				if !strings.Contains(b.String(), want) {
					t.Errorf("no %s", want)
				}
			}
			for _, bad := range []string{"NaN", "Inf", `width="-`, `height="-`} {
				if strings.Contains(b.String(), bad) {
					t.Errorf("it has %s", bad)
				}
			}
			if b.Len() > 400<<10 {
				t.Errorf("%d bytes", b.Len())
			}
		})
	}
	if err := Plot(tornWriter{}, "", single); err == nil || !strings.Contains(err.Error(), "write the picture") {
		t.Error(err)
	}
	if err := Plot(io.Discard, ""); err == nil {
		t.Error("a picture of nothing")
	}
}

// TestComparison: one way that cannot do the work does not stop the others.
func TestComparison(t *testing.T) {
	c, err := NewComparison(Config{Drives: 1, MaxWaiting: 40})
	if err != nil {
		t.Fatal(err)
	}
	if err := Generate(Synthetic{Pattern: Sequential, Volumes: 1, Rate: 220, Time: 100 * time.Hour}, func(r Request) error {
		r.Block = r.Block * 7919 % 30_000 // near, but to and fro: who takes them as they come is late
		return c.Add(r)
	}); err != nil {
		t.Fatal(err)
	}
	for _, o := range c.Finish() {
		if (o.Err != nil) != (o.Order == FirstCome) || (o.Err == nil) != (o.Result != nil) {
			t.Errorf("%v: %v", o.Order, o.Err)
		}
	}
	if _, err := NewComparison(Config{Drives: -1}); err == nil {
		t.Error("a library of -1 drives")
	}
	if c, err = NewComparison(Config{MaxWaiting: 1}); err != nil {
		t.Fatal(err)
	}
	r := Request{At: time.Second, Volume: "A00001L9", Length: 1}
	if err := c.Add(r); err != nil {
		t.Error(err)
	}
	for range 2 { // nobody is left
		if err := c.Add(r); err == nil || !strings.Contains(err.Error(), "in no order") {
			t.Error(err)
		}
	}
}
