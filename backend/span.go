package backend

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseSpan reads a time as people write it: "24h", "90m", "30d", "2w".
func ParseSpan(s string) (time.Duration, error) {
	const day = 24 * time.Hour
	for unit, d := range map[string]time.Duration{"d": day, "w": 7 * day} {
		if n, ok := strings.CutSuffix(s, unit); ok {
			if f, err := strconv.ParseFloat(n, 64); err == nil && f > 0 && f < 36500 {
				return time.Duration(f * float64(d)), nil
			}
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is not a time such as 90m, 24h, 30d or 2w", s)
	}
	return d, nil
}
