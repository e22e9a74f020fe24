package simulate

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/pkg/errors"
)

// Measures of a picture, in pixels.
const (
	plotWidth   = 960
	plotLeft    = 80
	plotRight   = 24
	plotTop     = 64
	panelHeight = 190
	panelGap    = 70
	barHeight   = 22
)

// Colours that can be told apart by those who do not see all.
var (
	useColours  = [activities]string{"#0072B2", "#009E73", "#E69F00", "#CC79A7", "#E4E4E4"}
	useNames    = [activities]string{"reads", "writes", "positions", "exchanges", "idle"}
	lineColours = []string{"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"}
)

// Plot draws results as an SVG picture: waits over time, the use of the drives, and how many
// requests wait. Several results, of the same trace, are drawn over each other.
func Plot(w io.Writer, title string, results ...*Result) error {
	if len(results) == 0 {
		return errors.New("there is nothing to draw")
	}
	p := &plot{w: bufio.NewWriter(w)}
	for _, r := range results {
		p.span = max(p.span, r.Makespan)
	}
	p.span = max(p.span, time.Second)
	middle := panelHeight
	if len(results) > 1 {
		middle = len(results)*(barHeight+8) + 8
	}
	height := plotTop + panelHeight + panelGap + middle + panelGap + panelHeight + 48
	p.printf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, height, plotWidth, height)
	p.printf(`<rect width="%d" height="%d" fill="white"/>`+"\n", plotWidth, height)
	p.text(plotLeft, 24, "start", 15, title)
	y := plotTop
	p.waits(y, results)
	y += panelHeight + panelGap
	if len(results) == 1 {
		p.use(y, results[0])
	} else {
		p.bars(y, results)
	}
	p.queues(y+middle+panelGap, results)
	p.printf("</svg>\n")
	if p.err == nil {
		p.err = p.w.Flush()
	}
	return errors.Wrap(p.err, "write the picture")
}

// plot writes; the first error is kept.
type plot struct {
	w    *bufio.Writer
	span time.Duration // of the time axis
	err  error
}

func (p *plot) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *plot) text(x, y int, anchor string, size int, s string) {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil && p.err == nil {
		p.err = err
	}
	p.printf(`<text x="%d" y="%d" text-anchor="%s" font-size="%d" fill="#222">%s</text>`+"\n", x, y, anchor, size, b.String())
}

// x is where an instant is on the time axis.
func (p *plot) x(t time.Duration) float64 {
	return plotLeft + float64(plotWidth-plotLeft-plotRight)*min(float64(t)/float64(p.span), 1)
}

// panel draws a frame with its title and the time axis.
func (p *plot) panel(y int, title string) {
	p.text(plotLeft, y-8, "start", 13, title)
	p.printf(`<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#888"/>`+"\n", plotLeft, y, plotWidth-plotLeft-plotRight, panelHeight)
	step, name := timeStep(p.span)
	for t := time.Duration(0); t <= p.span; t += step {
		x := int(p.x(t))
		p.printf(`<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#888"/>`+"\n", x, y+panelHeight, x, y+panelHeight+4)
		p.text(x, y+panelHeight+17, "middle", 11, name(t))
	}
}

// tick draws a line of a panel's height axis.
func (p *plot) tick(y int, label string) {
	p.printf(`<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#ddd"/>`+"\n", plotLeft, y, plotWidth-plotRight, y)
	p.text(plotLeft-6, y+4, "end", 11, label)
}

// legend names colours, at the right above a panel.
func (p *plot) legend(y int, colours, names []string) {
	x := plotWidth - plotRight
	for i := len(names) - 1; i >= 0; i-- {
		x -= 6*len(names[i]) + 4
		p.text(x, y-8, "start", 11, names[i])
		x -= 16
		p.printf(`<rect x="%d" y="%d" width="11" height="11" fill="%s" stroke="#666" stroke-width="0.5"/>`+"\n", x, y-17, colours[i])
		x -= 10
	}
}

// line draws one value for each bin; negative ones are gaps.
func (p *plot) line(r *Result, colour string, width float64, value func(b *Bin) float64) {
	var path strings.Builder
	pen := "M"
	for i := range r.Series.Bins {
		y := value(&r.Series.Bins[i])
		if y < 0 {
			continue
		}
		middle := time.Duration(i)*r.Series.Width + r.Series.Width/2
		fmt.Fprintf(&path, "%s%.1f %.1f", pen, p.x(middle), y)
		pen = "L"
	}
	if path.Len() > 0 {
		p.printf(`<path d="%s" fill="none" stroke="%s" stroke-width="%.1f" stroke-linejoin="round" stroke-linecap="round"/>`+"\n", path.String(), colour, width)
	}
}

func colourOf(i int) string { return lineColours[i%len(lineColours)] }

// names and colours of results.
func keys(results []*Result) (colours, names []string) {
	for i, r := range results {
		colours, names = append(colours, colourOf(i)), append(names, r.Order)
	}
	return colours, names
}

// waits draws the waits, in a logarithmic scale.
func (p *plot) waits(y int, results []*Result) {
	shortest, longest := time.Duration(math.MaxInt64), 10*time.Second
	for _, r := range results {
		for i := range r.Series.Bins {
			b := &r.Series.Bins[i]
			if b.Served == 0 {
				continue
			}
			mean := b.WaitSum / time.Duration(b.Served)
			shortest = min(shortest, mean)
			if longest = max(longest, mean); len(results) == 1 {
				longest = max(longest, b.WaitMax)
			}
		}
	}
	low := time.Second
	for _, d := range []time.Duration{10 * time.Second, time.Minute, 10 * time.Minute, time.Hour} {
		if d <= shortest && 10*d <= longest {
			low = d
		}
	}
	high := max(longest+longest/5, 10*low)
	at := func(d time.Duration) float64 {
		return float64(y) + panelHeight*(1-math.Log(float64(max(d, low))/float64(low))/math.Log(float64(high)/float64(low)))
	}
	for _, d := range []time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute, time.Hour, 10 * time.Hour, 100 * time.Hour, 1000 * time.Hour} {
		if low <= d && d <= high {
			p.tick(int(at(d)), shortTime(d))
		}
	}
	mean := func(b *Bin) float64 {
		if b.Served == 0 {
			return -1
		}
		return at(b.WaitSum / time.Duration(b.Served))
	}
	if len(results) > 1 {
		p.panel(y, "wait, mean of those served")
		colours, names := keys(results)
		p.legend(y, colours, names)
		for i, r := range results {
			p.line(r, colourOf(i), 1.4, mean)
		}
		return
	}
	p.panel(y, "wait of those served")
	p.legend(y, []string{"#9EC9E8", lineColours[0]}, []string{"longest", "mean"})
	p.line(results[0], "#9EC9E8", 1.2, func(b *Bin) float64 {
		if b.Served == 0 {
			return -1
		}
		return at(b.WaitMax)
	})
	p.line(results[0], lineColours[0], 1.6, mean)
}

// use draws what the drives do, over time.
func (p *plot) use(y int, r *Result) {
	for i := range r.Series.Bins {
		b := &r.Series.Bins[i]
		from := time.Duration(i) * r.Series.Width
		to := min(from+r.Series.Width, r.Makespan)
		all := time.Duration(r.Drives) * (to - from)
		if all <= 0 {
			continue
		}
		bottom := float64(y + panelHeight)
		for a := range activities {
			h := panelHeight * min(float64(b.Use[a])/float64(all), 1)
			if a == DoesNothing {
				h = bottom - float64(y)
			}
			h = min(h, bottom-float64(y))
			if h > 0 {
				bottom -= h
				p.printf(`<rect x="%.2f" y="%.2f" width="%.2f" height="%.2f" fill="%s" shape-rendering="crispEdges"/>`+"\n", p.x(from), bottom, p.x(to)-p.x(from), h, useColours[a])
			}
		}
	}
	for _, share := range []int{0, 25, 50, 75, 100} {
		p.tick(y+panelHeight-panelHeight*share/100, strconv.Itoa(share)+"%")
	}
	p.panel(y, "what the drives do")
	p.legend(y, useColours[:], useNames[:])
}

// bars draws what the drives did in all, a bar for each result.
func (p *plot) bars(y int, results []*Result) {
	p.text(plotLeft, y-8, "start", 13, "what the drives did, hours")
	p.legend(y, useColours[:], useNames[:])
	for i, r := range results {
		top := y + 4 + i*(barHeight+8)
		p.text(plotLeft-6, top+barHeight-7, "end", 11, r.Order)
		x := float64(plotLeft)
		for a := range activities {
			width := (p.x(r.Makespan) - plotLeft) * r.Use(a)
			p.printf(`<rect x="%.2f" y="%d" width="%.2f" height="%d" fill="%s"/>`+"\n", x, top, width, barHeight, useColours[a])
			if label := strconv.FormatFloat(r.use[a].Hours(), 'f', 1, 64); width > float64(8*len(label)) {
				p.text(int(x+width/2), top+barHeight-7, "middle", 11, label)
			}
			x += width
		}
	}
}

// queues draws how many requests wait.
func (p *plot) queues(y int, results []*Result) {
	most := 1.0
	for _, r := range results {
		if len(results) == 1 {
			most = max(most, float64(r.PeakWaiting))
		}
		for i := range r.Series.Bins {
			most = max(most, float64(r.Series.Bins[i].Queue)/float64(r.Series.Width))
		}
	}
	step := niceStep(most / 4)
	top := step * math.Ceil(most/step)
	at := func(n float64) float64 { return float64(y) + panelHeight*(1-n/top) }
	for n := 0.0; n <= top; n += step {
		p.tick(int(at(n)), strconv.FormatFloat(n, 'f', -1, 64))
	}
	p.panel(y, "requests that wait")
	mean := func(r *Result) func(b *Bin) float64 {
		return func(b *Bin) float64 { return at(float64(b.Queue) / float64(r.Series.Width)) }
	}
	if len(results) > 1 {
		colours, names := keys(results)
		p.legend(y, colours, names)
		for i, r := range results {
			p.line(r, colourOf(i), 1.4, mean(r))
		}
		return
	}
	r := results[0]
	p.legend(y, []string{"#9EC9E8", lineColours[0]}, []string{"most", "mean"})
	p.line(r, "#9EC9E8", 1.2, func(b *Bin) float64 { return at(float64(b.Peak)) })
	p.line(r, lineColours[0], 1.6, mean(r))
}

// niceStep rounds up to 1, 2 or 5 times a power of ten, at least 1.
func niceStep(x float64) float64 {
	if x <= 1 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(x)))
	for _, f := range []float64{1, 2, 5, 10} {
		if f*power >= x {
			return f * power
		}
	}
	return 10 * power
}

// timeStep returns the distance of the marks of a time axis, and how they are named.
func timeStep(span time.Duration) (time.Duration, func(time.Duration) string) {
	const d = 24 * time.Hour
	steps := []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
		10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 12 * time.Hour, d, 2 * d, 5 * d, 10 * d, 30 * d, 60 * d, 180 * d, 360 * d}
	step := steps[len(steps)-1]
	for _, s := range steps {
		if span/s <= 10 {
			step = s
			break
		}
	}
	for span/step > 10 {
		step *= 2
	}
	return step, shortTime
}

// shortTime names a round time.
func shortTime(t time.Duration) string {
	switch {
	case t == 0:
		return "0"
	case t%(24*time.Hour) == 0 && t > 24*time.Hour:
		return fmt.Sprintf("%d d", t/(24*time.Hour))
	case t%time.Hour == 0:
		return fmt.Sprintf("%d h", t/time.Hour)
	case t%time.Minute == 0:
		return fmt.Sprintf("%d min", t/time.Minute)
	}
	return fmt.Sprintf("%d s", t/time.Second)
}
