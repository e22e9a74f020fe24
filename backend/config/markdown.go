package config

import (
	"fmt"
	"strconv"
	"strings"
)

// shownDefault is the default as it would be written in the file.
func (k *Key) shownDefault() string {
	v := k.blank()
	number, _ := v.takes()
	if _, ok := v.(lister); ok && !number {
		if k.Default == "" {
			return "[]"
		}
		return "[" + strconv.Quote(k.Default) + "]"
	}
	if isBool(v) {
		return k.Default
	}
	if _, err := strconv.ParseFloat(k.Default, 64); err == nil && number {
		return k.Default
	}
	return strconv.Quote(k.Default)
}

// Markdown returns docs/configuration.md. A test keeps the file equal to it.
func Markdown() string {
	var b strings.Builder
	b.WriteString(`# Configuration

SLIOD reads one TOML file, given with ` + "`sliod serve --config FILE`" + `. Every key has a default, so a file needs only what
differs, and no file at all is fine: the server then runs an emulated tape library that answers at once.

- A **size** is a string of a number and a unit: ` + "`\"512MiB\"`, `\"64GiB\"`" + ` (powers of 1024: KiB, MiB, GiB, TiB, PiB) or ` + "`\"18TB\"`" + `
  (powers of 1000: kB, MB, GB, TB, PB). A bare number is bytes.
- A **time** is a string of a number and a unit: ` + "`\"500ms\"`, `\"30s\"`, `\"10m\"`, `\"2h\"`" + `, or whole days alone: ` + "`\"30d\"`" + `.
- A **share** is a number from 0 to 1, or a string with percent: ` + "`0.9`, `\"90%\"`" + `.
- An unknown key, or a value that is not allowed, stops the server before it has touched anything; the message names the file, the line and what is
  allowed. All mistakes of a file are reported at once; values that do not go together are looked for when
  there is no other mistake, and told one at a time.

This page is made from the table of keys in ` + "`backend/config/keys.go`" + `; after a change there,
` + "`go test ./backend/config -update`" + ` writes it again.

`)
	for _, s := range sections {
		fmt.Fprintf(&b, "## [%s]: %s\n\n", shown(s.name), s.about)
		b.WriteString("| key | unit | default | allowed | meaning |\n|---|---|---|---|---|\n")
		for i := range keys {
			k := &keys[i]
			if k.Section != s.name {
				continue
			}
			fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s | %s |\n", k.Field, k.Unit, k.shownDefault(), k.Allowed(), k.meaning())
		}
		b.WriteString("\n")
	}
	b.WriteString("## The whole file with its defaults\n\n```toml\n")
	b.WriteString(Example())
	b.WriteString("```\n")
	return b.String()
}

// shown is the name of a section in headings.
func shown(section string) string {
	if isNamed(section) {
		return section + ".NAME"
	}
	return section
}

// meaning is Meaning, and for which library.
func (k *Key) meaning() string {
	if k.Library == "" {
		return k.Meaning
	}
	return "(`kind = " + strconv.Quote(k.Library) + "`) " + k.Meaning
}

// Example returns a file that sets every key to its default. Keys of another kind of
// library than the default one stand there as comments, and so do sections with names.
func Example() string {
	var b strings.Builder
	for i, s := range sections {
		if i > 0 {
			b.WriteString("\n")
		}
		if isNamed(s.name) {
			b.WriteString("# ")
		}
		fmt.Fprintf(&b, "[%s]\n", shown(s.name))
		for i := range keys {
			if k := &keys[i]; k.Section == s.name {
				if k.named() || k.Library != "" && k.Library != Default().Library.Kind {
					b.WriteString("# ")
				}
				fmt.Fprintf(&b, "%s = %s\n", k.Field, k.shownDefault())
			}
		}
	}
	return b.String()
}
