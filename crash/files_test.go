package crash

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// pattern is content that differs for each seed, and everywhere.
func pattern(seed uint64, n int) []byte {
	b := make([]byte, (n+7)&^7)
	x := seed*0x9E3779B97F4A7C15 + 1
	for i := 0; i < len(b); i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(b[i:], x)
	}
	return b[:n]
}

// inPlace is what is known of a file that is changed in place.
type inPlace struct {
	name   string
	max    int
	exists bool   // an fsync has confirmed it
	made   bool   // its create was sent
	base   []byte // at the last confirmed fsync
	cur    []byte // when all requests since have been done
	since  []edit // sent since
}

// edit is a write, or a cut to size off.
type edit struct {
	off  int
	data []byte // nil: a cut
}

// sent notes a request before it goes out.
func (f *inPlace) sent(e edit) { f.since = append(f.since, e) }

// done makes the change of a request that was answered.
func (f *inPlace) done(e edit) { f.cur = e.apply(f.cur) }

func (e edit) apply(b []byte) []byte {
	end := e.off + len(e.data)
	if e.data == nil && end < len(b) {
		return b[:end:end]
	}
	if end > len(b) {
		b = append(b, make([]byte, end-len(b))...)
	}
	copy(b[e.off:], e.data)
	return b
}

func (f *inPlace) synced() { f.exists, f.base, f.since = true, slices.Clone(f.cur), nil }

// check says whether a crash may have left got. From then on that is the file.
func (f *inPlace) check(got []byte) error {
	all := slices.Clone(f.base)
	least, most := len(all), len(all)
	for _, e := range f.since {
		all = e.apply(all)
		least, most = min(least, len(all)), max(most, len(all))
	}
	if len(got) < least || len(got) > most {
		return fmt.Errorf("%s has %d bytes; since the last fsync it had from %d to %d", f.name, len(got), least, most)
	}
	may := make([]bool, len(got))
	for i, b := range got {
		may[i] = i < len(f.base) && f.base[i] == b || i >= len(f.base) && b == 0
	}
	for _, e := range f.since {
		if e.data == nil {
			for i := e.off; i < len(got); i++ {
				may[i] = may[i] || got[i] == 0
			}
			continue
		}
		for i, b := range e.data {
			if at := e.off + i; at < len(got) && got[at] == b {
				may[at] = true
			}
		}
	}
	if i := slices.Index(may, false); i >= 0 {
		n := 0
		for _, ok := range may {
			if !ok {
				n++
			}
		}
		text := fmt.Sprintf("%s of %d bytes: byte %d (sliver %d+%d) and %d others are none that may be there: %#02x; the last fsync saw %d bytes; since then:",
			f.name, len(got), i, i>>20, i&(1<<20-1), n-1, got[i], len(f.base))
		for _, e := range f.since {
			text += fmt.Sprintf(" %d+%d cut=%t", e.off, len(e.data), e.data == nil)
		}
		return fmt.Errorf("%s", text)
	}
	f.exists, f.made, f.base, f.cur, f.since = true, true, got, slices.Clone(got), nil
	return nil
}

// replaced is a file that is only ever replaced by a rename, or removed.
type replaced struct {
	name    string
	writer  int
	version uint64
	may     []uint64 // the versions that a crash may leave; 0: no file
}

// content is a version of the file.
func (f *replaced) content(version uint64) []byte {
	seed := version<<16 | uint64(f.writer)<<8 | uint64(f.name[len(f.name)-1])
	b := pattern(seed, 16+int(seed*2654435761%(1<<20+300_000)))
	binary.LittleEndian.PutUint64(b, version)
	return b
}

// check says whether a crash may have left got; nil: no file.
func (f *replaced) check(got []byte) error {
	var version uint64
	if got != nil {
		if len(got) < 16 {
			return fmt.Errorf("%s is cut: it has %d bytes", f.name, len(got))
		}
		version = binary.LittleEndian.Uint64(got)
	}
	if !slices.Contains(f.may, version) {
		return fmt.Errorf("%s is version %d; it may be one of %v", f.name, version, f.may)
	}
	if version > 0 {
		if want := f.content(version); !bytes.Equal(got, want) {
			return fmt.Errorf("%s is version %d, but not whole: %d bytes, want %d", f.name, version, len(got), len(want))
		}
	}
	f.may = []uint64{version}
	return nil
}

// synced notes an fsync that was confirmed: the last rename is on disk with it.
func (f *replaced) synced() { f.may = f.may[len(f.may)-1:] }
