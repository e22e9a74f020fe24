package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// gib writes bytes for a table: in GiB.
func gib(n int64) string { return strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64) }

// human writes bytes with the unit that suits.
func human(n int64) string {
	const names = "KMGTPE"
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/(1<<10), 0
	for f >= 1023.95 && i < len(names)-1 {
		f, i = f/(1<<10), i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, names[i])
}

// share writes part of whole in percent.
func share(part, whole int64) string {
	if whole <= 0 {
		return "0%"
	}
	return fmt.Sprintf("%.0f%%", 100*float64(part)/float64(whole))
}

// capacity writes the capacity of a volume for a table.
func capacity(n int64) string {
	if n <= 0 {
		return "-" // not known before it has been in a drive
	}
	return gib(n)
}

// space writes how much of a library is used.
func space(used, capacity int64) string {
	if capacity <= 0 {
		return human(used) + " used"
	}
	return fmt.Sprintf("%s of %s used (%s)", human(used), human(capacity), share(used, capacity))
}

// age writes how long ago t was.
func age(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return span(now.Sub(t))
}

func span(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

// plural writes "1 file", "2 files".
func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// printable quotes a name that would do harm to a terminal or a table.
func printable(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		return strconv.Quote(name)
	}
	return name
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return printable(s)
}

// table prints lines of cells in columns.
type table struct{ w *tabwriter.Writer }

func newTable(out io.Writer, head ...string) *table {
	t := &table{tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)}
	t.line(head...)
	return t
}

func (t *table) line(cells ...string) {
	_, _ = fmt.Fprintln(t.w, strings.Join(cells, "\t")) // Flush tells the error
}

func (t *table) flush() { _ = t.w.Flush() } // standard output that is gone is nobody's loss
