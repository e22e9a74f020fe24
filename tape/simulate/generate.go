package simulate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/pkg/errors"

	"sliod/tape"
	"sliod/tape/geometry"
)

// Pattern is where the requests of a synthetic trace go.
type Pattern string

// Patterns.
const (
	Uniform    Pattern = "uniform"    // anywhere
	Clustered  Pattern = "clustered"  // runs of near places, as of the files of a directory
	Zipf       Pattern = "zipf"       // few volumes and files get most requests
	Sequential Pattern = "sequential" // volumes from begin to end, one after the other
)

// Patterns lists all.
var Patterns = []Pattern{Uniform, Clustered, Zipf, Sequential}

// Synthetic describes a trace that is made up. A zero value of a field stands for its default.
type Synthetic struct {
	Pattern    Pattern          // default Uniform
	Volumes    int              // default 8
	Generation string           // default LTO-9
	BlockSize  int              // default 512 KiB
	Length     int64            // of a request, bytes; default 200 MiB
	Rate       float64          // requests an hour on average, which come by chance (Poisson); default 60
	Time       time.Duration    // of the trace; 0: all Requests come at once
	Requests   int64            // at most; 0: as many as come in Time
	Share      map[Kind]float64 // of the kinds; default: all Read
	Seed       uint64
}

const (
	clusterLength = 16   // requests of a run, on average
	clusterSpan   = 20e9 // bytes that a run lies in
	zipfExponent  = 1.1
	zipfFiles     = 4096 // places of a volume that requests go to
)

// Generate calls add for each request of a synthetic trace, until it returns an error. The same
// description gives the same trace, in this version.
func Generate(y Synthetic, add func(Request) error) error {
	setDefault(&y.Pattern, Uniform)
	setDefault(&y.Volumes, 8)
	setDefault(&y.Generation, "LTO-9")
	setDefault(&y.BlockSize, 512<<10)
	setDefault(&y.Length, 200<<20)
	setDefault(&y.Rate, 60)
	if len(y.Share) == 0 {
		y.Share = map[Kind]float64{Read: 1}
	}
	g, ok := geometry.ByName(y.Generation)
	switch {
	case !slices.Contains(Patterns, y.Pattern):
		return errors.Errorf("there is no pattern %q: give one of %v", y.Pattern, Patterns)
	case !ok:
		return errors.Errorf("there is no cartridge type %q: give one of %s", y.Generation, strings.Join(geometry.Names(), ", "))
	case y.Volumes < 1 || y.Volumes > 100_000:
		return errors.Errorf("%d volumes: give 1 to 100000", y.Volumes)
	case y.BlockSize < 512 || y.BlockSize > 8<<20:
		return errors.Errorf("records of %d bytes: give 512 to 8 MiB", y.BlockSize)
	case y.Length < 1 || y.Length > g.Capacity/2:
		return errors.Errorf("requests of %d bytes: give 1 to half of a volume", y.Length)
	case !(y.Rate > 0) || y.Rate > 1e9:
		return errors.Errorf("%v requests an hour: give more than 0, up to a billion", y.Rate)
	case y.Time < 0 || y.Time > maxTime || y.Requests < 0:
		return errors.New("the time and the number of requests are not below 0, and the time at most 100 years")
	case y.Time == 0 && y.Requests == 0:
		return errors.New("give the time of the trace, or the number of requests")
	}
	total := 0.0
	for k, share := range y.Share {
		if k >= kinds || !(share >= 0) || math.IsInf(share, 0) {
			return errors.Errorf("a share of %v of kind %v: give numbers from 0 on", share, k)
		}
		total += share
	}
	if total == 0 {
		return errors.New("the shares of all kinds are 0")
	}
	m := &maker{y: y, rng: rand.New(rand.NewPCG(y.Seed, 0x736c696f64)), suffix: g.Suffix, total: total}
	m.blocks = (dataBytes(&g, g.Capacity) - y.Length) / int64(y.BlockSize)
	if y.Pattern == Zipf {
		m.volumes = newZipf(y.Volumes)
		m.files = newZipf(zipfFiles)
	}
	at := time.Duration(0)
	for n := int64(0); y.Requests == 0 || n < y.Requests; n++ {
		if y.Time > 0 {
			at += time.Duration(m.rng.ExpFloat64() / y.Rate * float64(time.Hour))
			if at >= y.Time {
				break
			}
		}
		if err := add(m.request(at.Truncate(time.Millisecond))); err != nil {
			return err
		}
	}
	return nil
}

// maker makes requests up.
type maker struct {
	y              Synthetic
	rng            *rand.Rand
	suffix         string
	total          float64
	blocks         int64 // where a request can begin: 0 to this
	volumes, files zipf

	volume int   // of the run
	block  int64 // where the run goes on
	left   int   // of the run
}

func barcode(letter byte, n int, suffix string) string {
	return fmt.Sprintf("%c%05d%s", letter, n, suffix)
}

func (m *maker) request(at time.Duration) Request {
	r := Request{At: at, Length: m.y.Length, Kind: m.kind()}
	if r.Kind == Archive {
		return r
	}
	volume, block := m.place()
	r.Volume, r.Block = tape.Barcode(barcode('A', volume+1, m.suffix)), tape.BlockNo(block)
	return r
}

func (m *maker) kind() Kind {
	x := m.rng.Float64() * m.total
	for k := range kinds {
		if x -= m.y.Share[k]; x < 0 {
			return k
		}
	}
	return Read
}

// place returns where the next request goes.
func (m *maker) place() (volume int, block int64) {
	step := (m.y.Length + int64(m.y.BlockSize) - 1) / int64(m.y.BlockSize)
	switch m.y.Pattern {
	case Clustered:
		if m.left == 0 {
			m.left = 1 + int(m.rng.ExpFloat64()*clusterLength)
			m.volume, m.block = m.rng.IntN(m.y.Volumes), m.rng.Int64N(m.blocks+1)
		}
		m.left--
		span := int64(clusterSpan / float64(m.y.BlockSize))
		return m.volume, min(m.block+m.rng.Int64N(span+1), m.blocks)
	case Zipf:
		volume = m.volumes.draw(m.rng)
		file := int64(m.files.draw(m.rng))
		// The popular places lie scattered, on each volume elsewhere.
		return volume, int64((uint64(file+1)*0x9E3779B97F4A7C15 ^ uint64(volume)*0xD6E8FEB86659FD93) % uint64(m.blocks+1))
	case Sequential:
		volume, block = m.volume, m.block
		if m.block += step; m.block > m.blocks {
			m.block, m.volume = 0, (m.volume+1)%m.y.Volumes
		}
		return volume, block
	}
	return m.rng.IntN(m.y.Volumes), m.rng.Int64N(m.blocks + 1)
}

// zipf draws ranks from 0 on, of which rank r comes 1/(r+1)^zipfExponent times as often as the first.
type zipf []float64 // sums of shares

func newZipf(n int) zipf {
	z := make(zipf, n)
	sum := 0.0
	for i := range z {
		sum += math.Pow(float64(i+1), -zipfExponent)
		z[i] = sum
	}
	return z
}

func (z zipf) draw(rng *rand.Rand) int {
	i, _ := slices.BinarySearch(z, rng.Float64()*z[len(z)-1])
	return min(i, len(z)-1)
}
