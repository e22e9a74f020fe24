package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/pkg/errors"
	"github.com/spf13/cobra"

	"sliod/backend/config"
	"sliod/tape/schedule"
	"sliod/tape/simulate"
)

// simulateFlags are the flags of sliod simulate.
type simulateFlags struct {
	config, cartridge, capacity, blockSize, order, goal string
	drives, slots, maxWaiting                           int
	maxWait, turn                                       string
	linger                                              time.Duration
	writeShare, readShare                               float64
	compare, asJSON                                     bool
	plot                                                string
}

func (a *app) newSimulate() *cobra.Command {
	var f simulateFlags
	c := &cobra.Command{
		Use: "simulate TRACE", Short: "Let a library do the work of a trace, and say how long it takes", Args: cobra.ExactArgs(1),
		Long: `Let a library do the work of a trace, and say how long it takes.

TRACE is a file of comma-separated values, or - for standard input:

  time,volume,block,length,kind
  0,A00001L9,81920,209715200,read
  12.5,,,1073741824,archive

time is seconds since the begin, or a date such as 2026-01-31T08:00:00Z, never before the line
above; block the number of a record in the data partition; length bytes; kind read (a client
waits), bulk, verify or archive (no volume and no block: SLIOD chooses). "sliod simulate generate" makes traces up.

No server is needed and nothing is touched. Decisions are those of the server; times come from
a model that is good for comparing policies, and not for claims about hardware.`,
		RunE: func(c *cobra.Command, args []string) error { return a.simulate(c, args[0], &f) },
	}
	s := c.Flags()
	s.StringVar(&f.config, "config", "", "take the library, the shares of the drives, mount.linger and recall.goal from this configuration `FILE`")
	s.IntVar(&f.drives, "drives", 2, "number of drives")
	s.IntVar(&f.slots, "slots", 16, "number of slots: the most volumes that there can be")
	s.StringVar(&f.cartridge, "cartridge", "LTO-9", "generation of drives and cartridges: `LTO-5` to LTO-9")
	s.StringVar(&f.capacity, "capacity", "0", "`SIZE` of a volume; 0: a real one's")
	s.StringVar(&f.blockSize, "block-size", "512KiB", "`SIZE` of the records that block counts")
	s.StringVar(&f.order, "order", "sliod", "order on a volume: sliod, or one to compare with: first-come, by-block, scan, nearest")
	s.StringVar(&f.goal, "goal", schedule.LeastTime.String(), "what sliod's order is good for, as recall.goal: time (least time for all) or wait (least mean wait)")
	s.StringVar(&f.maxWait, "max-wait", times(schedule.DefaultPolicy.MaxWait), "how long a volume may be passed over for better ones, by `CLASS=TIME`; a TIME alone is for clients")
	s.StringVar(&f.turn, "turn", times(schedule.DefaultPolicy.Turn), "how long a volume with work keeps its drive though another is to have it, by `CLASS=TIME` of that")
	s.DurationVar(&f.linger, "linger", time.Minute, "how long a volume that nobody needs stays in its drive")
	s.Float64Var(&f.writeShare, "write-share", 0.5, "the share of the drives that may archive at the same time, 0 to 1; always one")
	s.Float64Var(&f.readShare, "read-share", 1, "the share of the drives that may recall while others could archive, 0 to 1; always one")
	s.IntVar(&f.maxWaiting, "max-waiting", 2_000_000, "stop when so many requests wait: the library cannot do the work")
	s.BoolVar(&f.compare, "compare", false, "compare with first-come, by-block, SCAN and nearest-first")
	s.BoolVar(&f.asJSON, "json", false, "print one JSON object")
	s.StringVar(&f.plot, "plot", "", "draw a picture to `FILE`, as SVG")
	c.AddCommand(a.newSimulateGenerate())
	return c
}

// library returns the library that the configuration and the flags describe; flags count more.
func (f *simulateFlags) library(c *cobra.Command) (cfg simulate.Config, err error) {
	given := c.Flags().Changed
	if f.config != "" {
		file, err := config.Load(f.config)
		if err != nil {
			return cfg, err
		}
		l := &file.Library
		if l.Kind == "scsi" && !(given("drives") && given("slots")) {
			return cfg, &usageError{"simulate: " + f.config + " has a real library: give --drives and --slots, and --cartridge"}
		}
		if l.Kind != "scsi" {
			cfg.Drives, cfg.Slots, cfg.Generation, cfg.Capacity = l.Drives, l.Slots, l.Cartridge, l.CapacityBytes
		}
		cfg.Linger = file.Mount.Linger
		if cfg.Linger == 0 {
			cfg.Linger = -1
		}
		if !given("goal") {
			f.goal = file.Recall.Goal
		}
		if !given("write-share") {
			f.writeShare = file.Drives.WriteShare
		}
		if !given("read-share") {
			f.readShare = file.Drives.ReadShare
		}
	}
	set := func(name string) bool { return f.config == "" || given(name) }
	if set("drives") {
		cfg.Drives = f.drives
	}
	if set("slots") {
		cfg.Slots = f.slots
	}
	if set("cartridge") || cfg.Generation == "" {
		cfg.Generation = f.cartridge
	}
	if set("capacity") {
		if cfg.Capacity, err = config.ParseSize(f.capacity); err != nil {
			return cfg, &usageError{"simulate: --capacity: " + err.Error()}
		}
	}
	if set("linger") {
		cfg.Linger = f.linger
		if f.linger <= 0 {
			cfg.Linger = -1
		}
	}
	block, err := config.ParseSize(f.blockSize)
	if err != nil || block < 1 || block > 8<<20 {
		return cfg, &usageError{"simulate: --block-size: give 512B to 8MiB"}
	}
	cfg.BlockSize = int(block)
	var ok bool
	if cfg.Order, ok = simulate.ParseOrder(f.order); !ok {
		return cfg, &usageError{fmt.Sprintf("simulate: --order %q: give sliod, first-come, by-block, scan or nearest", f.order)}
	}
	if cfg.Goal, ok = map[string]schedule.Goal{schedule.LeastTime.String(): schedule.LeastTime, schedule.LeastWait.String(): schedule.LeastWait}[f.goal]; !ok {
		return cfg, &usageError{fmt.Sprintf("simulate: --goal %q: give time or wait", f.goal)}
	}
	if cfg.Order != simulate.Sliod {
		cfg.Choice = simulate.Oldest
	}
	for name, n := range map[string]int{"drives": f.drives, "slots": f.slots, "max-waiting": f.maxWaiting} {
		if n < 1 {
			return cfg, &usageError{fmt.Sprintf("simulate: --%s %d: give at least 1", name, n)}
		}
	}
	cfg.Policy = schedule.DefaultPolicy
	if err := parseTimes("max-wait", f.maxWait, &cfg.Policy.MaxWait); err != nil {
		return cfg, err
	}
	if err := parseTimes("turn", f.turn, &cfg.Policy.Turn); err != nil {
		return cfg, err
	}
	for name, x := range map[string]float64{"write-share": f.writeShare, "read-share": f.readShare} {
		if !(x >= 0 && x <= 1) {
			return cfg, &usageError{fmt.Sprintf("simulate: --%s %v: give 0 to 1", name, x)}
		}
	}
	cfg.ArchiveDrives, cfg.RecallDrives = schedule.Share(f.writeShare, cfg.Drives), schedule.Share(f.readShare, cfg.Drives)
	cfg.MaxWaiting = f.maxWaiting
	return cfg, nil
}

// times writes a time for each class.
func times(ds [schedule.NumClasses]time.Duration) string {
	var parts []string
	for c, d := range ds {
		text := d.String() // without the zeros at its end: 2h, not 2h0m0s
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		if strings.HasSuffix(text, "h0m") {
			text = strings.TrimSuffix(text, "0m")
		}
		parts = append(parts, fmt.Sprintf("%v=%s", schedule.Class(c), text))
	}
	return strings.Join(parts, ",")
}

// parseTimes reads "client=10m,bulk=1h"; classes that are not named stay as they are. A time alone is
// for clients.
func parseTimes(flag, s string, to *[schedule.NumClasses]time.Duration) error {
	for part := range strings.SplitSeq(s, ",") {
		name, text, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			name, text = schedule.Client.String(), name
		}
		c, known := schedule.ParseClass(name)
		d, err := time.ParseDuration(text)
		if !known || err != nil || d < 0 {
			return &usageError{fmt.Sprintf("simulate: --%s %q: give times such as client=10m,bulk=15m,background=2h", flag, s)}
		}
		to[c] = d
	}
	return nil
}

// simulator is a Simulation or a Comparison.
type simulator interface{ Add(simulate.Request) error }

func (a *app) simulate(c *cobra.Command, name string, f *simulateFlags) error {
	cfg, err := f.library(c)
	if err != nil {
		return err
	}
	in := c.InOrStdin()
	if name == "-" {
		name = "standard input"
	} else {
		file, err := os.Open(name)
		if err != nil {
			return errors.WithMessage(err, "simulate")
		}
		defer file.Close()
		in = file
	}
	if f.compare {
		return a.compare(c.Context(), cfg, name, in, f)
	}
	s, err := simulate.New(cfg)
	if err != nil {
		return &usageError{"simulate: " + err.Error()}
	}
	if err := play(c.Context(), name, in, s); err != nil {
		return err
	}
	r, err := s.Finish()
	if err != nil {
		return errors.WithMessage(err, "simulate")
	}
	if err := f.draw(name, r); err != nil {
		return err
	}
	if f.asJSON {
		return a.printJSON(r)
	}
	printResult(a.out, r)
	return nil
}

// play has s do the trace.
func play(ctx context.Context, name string, in io.Reader, s simulator) error {
	t := simulate.NewReader(name, in)
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return errors.New("interrupted")
		}
		r, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Add(r); err != nil {
			return t.Wrong("%v", err)
		}
	}
}

// draw writes the picture, if one is asked for.
func (f *simulateFlags) draw(name string, results ...*simulate.Result) error {
	if f.plot == "" {
		return nil
	}
	file, err := os.Create(f.plot)
	if err != nil {
		return errors.WithMessage(err, "simulate: draw the picture")
	}
	r := results[0]
	title := fmt.Sprintf("%s: %d drives %s, %d requests", name, r.Drives, r.Generation, r.Requests)
	err = simulate.Plot(file, title, results...)
	if closed := file.Close(); err == nil && closed != nil {
		err = errors.Wrap(closed, "write the picture")
	}
	if err != nil {
		_ = os.Remove(f.plot) // half a picture is none
		return errors.WithMessage(err, "simulate")
	}
	return nil
}

func (a *app) printJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return errors.WithStack(err)
	}
	_, err = a.out.Write(append(b, '\n'))
	return err
}

func percent(x float64) string { return fmt.Sprintf("%.1f%%", 100*x) }

func printResult(out io.Writer, r *simulate.Result) {
	w := bufio.NewWriter(out)
	defer func() { _ = w.Flush() }() // standard output that is gone is nobody's loss
	line := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(w, "%-11s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("library", "%s of %s, %s, %s used", plural(int64(r.Drives), "drive"), r.Generation, plural(int64(r.Slots), "slot"), plural(int64(r.Volumes), "volume"))
	line("requests", "%d, of which %d asked for what was waited for already; at most %d waited at once", r.Requests, r.Joined, r.PeakWaiting)
	line("data", "%s read, %s written", human(r.ReadBytes), human(r.WrittenBytes))
	line("makespan", "%s", fine(r.Makespan))
	line("mounts", "%d, %d moves of the robot, %.1f km of tape", r.Mounts, r.RobotMoves, r.Metres/1000)
	line("drives", "%s read, %s write, %s position, %s exchange, %s idle", percent(r.Use(simulate.DoesRead)), percent(r.Use(simulate.DoesWrite)),
		percent(r.Use(simulate.DoesPosition)), percent(r.Use(simulate.DoesExchange)), percent(r.Use(simulate.DoesNothing)))
	_, _ = fmt.Fprintln(w)
	t := newTable(w, "WAIT", "REQUESTS", "MEAN", "MEDIAN", "99 %", "LONGEST")
	row := func(name string, h *simulate.Histogram) {
		t.line(name, fmt.Sprint(h.Count()), fine(h.Mean()), fine(h.Quantile(0.5)), fine(h.Quantile(0.99)), fine(h.Max()))
	}
	row("all", &r.Wait)
	for k := range r.ByKind {
		if h := &r.ByKind[k]; h.Count() > 0 {
			row(simulate.Kind(k).String(), h)
		}
	}
	t.flush()
}

// fine writes a time with about three digits.
func fine(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return span(d)
}

// ratios are what an order comes to, as multiples of what sliod does.
type ratios struct {
	Makespan float64 `json:"makespan"`
	Mean     float64 `json:"mean"`
	Median   float64 `json:"median"`
	P99      float64 `json:"p99"`
	Mounts   float64 `json:"mounts"`
	Metres   float64 `json:"tape_metres"`
}

func ratiosOf(r, base *simulate.Result) ratios {
	by := func(x, y float64) float64 {
		if y == 0 {
			return 1
		}
		return float64(int64(x/y*1000+0.5)) / 1000
	}
	return ratios{by(r.Makespan.Seconds(), base.Makespan.Seconds()), by(r.Wait.Mean().Seconds(), base.Wait.Mean().Seconds()),
		by(r.Wait.Quantile(0.5).Seconds(), base.Wait.Quantile(0.5).Seconds()), by(r.Wait.Quantile(0.99).Seconds(), base.Wait.Quantile(0.99).Seconds()),
		by(float64(r.Mounts), float64(base.Mounts)), by(r.Metres, base.Metres)}
}

// compared is an entry of compare --json.
type compared struct {
	Order  string           `json:"order"`
	Result *simulate.Result `json:"result,omitempty"`
	Ratios *ratios          `json:"ratios,omitempty"`
	Error  string           `json:"error,omitempty"`
}

func (a *app) compare(ctx context.Context, cfg simulate.Config, name string, in io.Reader, f *simulateFlags) error {
	s, err := simulate.NewComparison(cfg)
	if err != nil {
		return &usageError{"simulate: " + err.Error()}
	}
	if err := play(ctx, name, in, s); err != nil {
		return err
	}
	outcomes := s.Finish()
	var list []compared
	var drawn []*simulate.Result
	base := outcomes[0].Result
	for _, o := range outcomes {
		e := compared{Order: o.Order.String(), Result: o.Result}
		if o.Err != nil {
			e.Error = o.Err.Error()
		} else {
			drawn = append(drawn, o.Result)
			if base != nil {
				r := ratiosOf(o.Result, base)
				e.Ratios = &r
			}
		}
		list = append(list, e)
	}
	if err := f.draw(name, drawn...); err != nil {
		return err
	}
	if f.asJSON {
		return a.printJSON(struct {
			Orders []compared `json:"orders"`
		}{list})
	}
	t := newTable(a.out, "ORDER", "MAKESPAN", "MEAN WAIT", "OF READS", "MEDIAN", "99 %", "LONGEST", "MOUNTS", "TAPE km", "MAKESPAN", "MEAN", "99 %", "TAPE")
	for _, e := range list {
		if e.Error != "" {
			t.line(e.Order, e.Error)
			continue
		}
		r := e.Result
		reads := "-"
		if h := &r.ByKind[simulate.Read]; h.Count() > 0 {
			reads = fine(h.Mean())
		}
		cells := []string{e.Order, fine(r.Makespan), fine(r.Wait.Mean()), reads, fine(r.Wait.Quantile(0.5)), fine(r.Wait.Quantile(0.99)), fine(r.Wait.Max()), fmt.Sprint(r.Mounts), fmt.Sprintf("%.1f", r.Metres/1000)}
		if x := e.Ratios; x != nil {
			for _, f := range []float64{x.Makespan, x.Mean, x.P99, x.Metres} {
				cells = append(cells, fmt.Sprintf("%.2f", f))
			}
		}
		t.line(cells...)
	}
	t.flush()
	if base != nil {
		_, _ = fmt.Fprintln(a.out, "\nThe last four columns are multiples of sliod's.")
	}
	return nil
}

func (a *app) newSimulateGenerate() *cobra.Command {
	y := simulate.Synthetic{}
	var pattern, length, blockSize, share string
	var days float64
	c := &cobra.Command{
		Use: "generate", Short: "Make a trace up", Args: cobra.NoArgs,
		Long: `Make a trace up, and write it to standard output.

Requests come by chance (a Poisson process) at a mean rate; with --days 0 all --requests come
at once. Patterns: uniform (anywhere), clustered (runs of about 16 within 20 GB), zipf (few volumes
and places get most), sequential (volumes from begin to end). The same flags give the same trace.`,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			y.Pattern = simulate.Pattern(pattern)
			if y.Length, err = config.ParseSize(length); err != nil {
				return &usageError{"simulate generate: --length: " + err.Error()}
			}
			block, err := config.ParseSize(blockSize)
			if err != nil || block < 1 || block > 8<<20 {
				return &usageError{"simulate generate: --block-size: give 512B to 8MiB"}
			}
			y.BlockSize = int(block)
			if !(days >= 0) || days > 36500 {
				return &usageError{"simulate generate: --days: give 0 to 36500"}
			}
			y.Time = time.Duration(days * 24 * float64(time.Hour))
			if y.Share, err = parseShares(share); err != nil {
				return err
			}
			return a.generate(c.Context(), y)
		},
	}
	s := c.Flags()
	s.StringVar(&pattern, "pattern", "uniform", "uniform, clustered, zipf or sequential")
	s.IntVar(&y.Volumes, "volumes", 8, "number of volumes")
	s.StringVar(&y.Generation, "cartridge", "LTO-9", "generation of the volumes: `LTO-5` to LTO-9")
	s.Float64Var(&y.Rate, "rate", 60, "requests an hour")
	s.Float64Var(&days, "days", 1, "length of the trace; 0: all requests come at once")
	s.Int64Var(&y.Requests, "requests", 0, "number of requests, at most; 0: as many as come")
	s.StringVar(&length, "length", "200MiB", "`SIZE` of a request")
	s.StringVar(&blockSize, "block-size", "512KiB", "`SIZE` of records")
	s.StringVar(&share, "kinds", "read=1", "parts of the kinds, such as read=8,bulk=1,archive=2")
	s.Uint64Var(&y.Seed, "seed", 1, "another trace for each number")
	return c
}

func (a *app) generate(ctx context.Context, y simulate.Synthetic) error {
	w := simulate.NewWriter(a.out)
	n := 0
	var failed error // of the output
	err := simulate.Generate(y, func(r simulate.Request) error {
		if n++; n%1024 == 0 && ctx.Err() != nil {
			failed = errors.New("interrupted")
			return failed
		}
		failed = w.Write(r)
		return failed
	})
	switch {
	case failed != nil:
		return failed
	case err != nil:
		return &usageError{"simulate generate: " + err.Error()}
	}
	return w.Flush()
}

// parseShares reads "read=8,archive=2".
func parseShares(s string) (map[simulate.Kind]float64, error) {
	shares := map[simulate.Kind]float64{}
	for part := range strings.SplitSeq(s, ",") {
		var x float64
		name, number, _ := strings.Cut(strings.TrimSpace(part), "=")
		k, ok := simulate.ParseKind(name)
		if _, err := fmt.Sscanf(number, "%g", &x); !ok || err != nil || x < 0 {
			return nil, &usageError{fmt.Sprintf("simulate generate: --kinds %q: give parts such as read=8,bulk=1,archive=2,verify=1", s)}
		}
		shares[k] = x
	}
	return shares, nil
}
