package config

import (
	stderrors "errors"
	"math"
	"strconv"
	"strings"
	"time"
)

var (
	errSize     = stderrors.New(`a size is a number and a unit, such as "512MiB", "64GiB" or "18TB"; a bare number is bytes`)
	errDuration = stderrors.New(`a time is a number and a unit, such as "500ms", "30s", "10m", "2h" or "180d"`)
	errShare    = stderrors.New(`a share is a number from 0 to 1, or a string with percent, such as 0.9 or "90%"`)
	errSpeed    = stderrors.New(`a speed is "instant" or a factor: 1 is a real drive's time, 60 is sixty times faster`)
	errInt      = stderrors.New("a whole number is needed")
)

// units of sizes, the longest suffixes first.
var units = []struct {
	name  string
	bytes int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"PiB", 1 << 50},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"PB", 1e15},
	{"B", 1},
}

// ParseSize reads a size: a decimal number and a unit (B, KiB to PiB for powers
// of 1024, kB to PB for powers of 1000). A number without a unit is bytes.
func ParseSize(s string) (int64, error) {
	num, factor := strings.TrimSpace(s), int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(num, u.name); ok {
			num, factor = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	if n, err := strconv.ParseUint(num, 10, 63); err == nil {
		if n > uint64(math.MaxInt64/factor) {
			return 0, errSize
		}
		return int64(n) * factor, nil
	}
	if strings.ContainsAny(num, "eExXpPiInN_+-") { // no exponents, no Inf, no NaN, no signs
		return 0, errSize
	}
	f, err := strconv.ParseFloat(num, 64)
	if err != nil || factor == 1 || f*float64(factor) >= math.MaxInt64 {
		return 0, errSize
	}
	return int64(f * float64(factor)), nil
}

// FormatSize writes n with the largest unit of 1024 that leaves a whole number.
func FormatSize(n int64) string {
	for i := 4; i >= 0 && n != 0; i-- {
		if n%units[i].bytes == 0 {
			return strconv.FormatInt(n/units[i].bytes, 10) + units[i].name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

const day = 24 * time.Hour

func parseDuration(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 32)
		if err != nil || n > uint64(math.MaxInt64/day) {
			return 0, errDuration
		}
		return time.Duration(n) * day, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, errDuration
	}
	return d, nil
}

// formatDuration writes d without the zero parts that Duration.String has.
func formatDuration(d time.Duration) string {
	if d >= 30*day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func parseShare(s string) (float64, error) {
	num, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	f, err := strconv.ParseFloat(num, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, errShare
	}
	if percent {
		f /= 100
	}
	return f, nil
}

func parseSpeed(s string) (float64, error) {
	if strings.TrimSpace(s) == "instant" {
		return 0, nil
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) || f == 0 {
		return 0, errSpeed
	}
	return f, nil
}

func formatSpeed(f float64) string {
	if f == 0 {
		return "instant"
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}
