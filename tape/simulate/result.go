package simulate

import (
	"encoding/json"
	"time"
)

// Result is what a simulation came to.
type Result struct {
	Order      string // of requests on a volume, and the choice of volumes
	Drives     int
	Slots      int
	Generation string
	Volumes    int // that were used

	Requests     int64
	Joined       int64 // that asked for what was waited for already
	ReadBytes    int64
	WrittenBytes int64
	Makespan     time.Duration // from the first request until the last is served
	Wait         Histogram
	ByKind       [kinds]Histogram
	PeakWaiting  int // the most that waited at once
	Mounts       int64
	RobotMoves   int64
	Metres       float64 // of tape that was moved: read, written, wound
	Series       Series

	begin time.Duration
	use   [activities]time.Duration
}

func (r *Result) finish(now time.Duration) {
	r.Makespan = now - r.begin
	r.use[DoesNothing] = time.Duration(r.Drives)*r.Makespan - r.use[DoesRead] - r.use[DoesWrite] - r.use[DoesPosition] - r.use[DoesExchange]
}

// Use is the share of the drives' time, 0 to 1, that went into something.
func (r *Result) Use(a Activity) float64 {
	if all := time.Duration(r.Drives) * r.Makespan; all > 0 {
		return float64(r.use[a]) / float64(all)
	}
	return 0
}

// Waits is a Histogram in short.
type Waits struct {
	Requests      int64   `json:"requests"`
	MeanSeconds   float64 `json:"mean_seconds"`
	MedianSeconds float64 `json:"median_seconds"`
	P99Seconds    float64 `json:"p99_seconds"`
	MaxSeconds    float64 `json:"max_seconds"`
}

func waits(h *Histogram) Waits {
	return Waits{h.Count(), round(h.Mean()), round(h.Quantile(0.5)), round(h.Quantile(0.99)), round(h.Max())}
}

// round gives seconds with three digits behind the point.
func round(d time.Duration) float64 { return float64(d.Round(time.Millisecond).Milliseconds()) / 1000 }

// MarshalJSON implements json.Marshaler; docs/simulate.md has the fields.
func (r *Result) MarshalJSON() ([]byte, error) {
	kindsOf := map[string]Waits{}
	for k := range r.ByKind {
		if r.ByKind[k].Count() > 0 {
			kindsOf[Kind(k).String()] = waits(&r.ByKind[k])
		}
	}
	type use struct {
		Reading     float64 `json:"reading"`
		Writing     float64 `json:"writing"`
		Positioning float64 `json:"positioning"`
		Exchanging  float64 `json:"exchanging"`
		Idle        float64 `json:"idle"`
	}
	share := func(a Activity) float64 { return float64(int64(r.Use(a)*1e5+0.5)) / 1e5 }
	return json.Marshal(struct {
		Order        string           `json:"order"`
		Generation   string           `json:"generation"`
		Drives       int              `json:"drives"`
		Slots        int              `json:"slots"`
		Volumes      int              `json:"volumes"`
		Requests     int64            `json:"requests"`
		Joined       int64            `json:"joined"`
		ReadBytes    int64            `json:"read_bytes"`
		WrittenBytes int64            `json:"written_bytes"`
		Makespan     float64          `json:"makespan_seconds"`
		Wait         Waits            `json:"wait"`
		ByKind       map[string]Waits `json:"by_kind"`
		PeakWaiting  int              `json:"peak_waiting"`
		Mounts       int64            `json:"mounts"`
		RobotMoves   int64            `json:"robot_moves"`
		Metres       float64          `json:"tape_metres"`
		Use          use              `json:"drive_use"`
	}{r.Order, r.Generation, r.Drives, r.Slots, r.Volumes, r.Requests, r.Joined, r.ReadBytes, r.WrittenBytes, round(r.Makespan), waits(&r.Wait), kindsOf,
		r.PeakWaiting, r.Mounts, r.RobotMoves, float64(int64(r.Metres*10+0.5)) / 10,
		use{share(DoesRead), share(DoesWrite), share(DoesPosition), share(DoesExchange), share(DoesNothing)}})
}
