package fsx

import (
	"bytes"
	"encoding/binary"
	stderrors "errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// Options say what Run does.
type Options struct {
	Path string // of the file, which is made anew and removed at the end
	Seed uint64
	Ops  int // number of operations
	// MaxSize is the largest size of the file, MaxIO the largest operation, in bytes. 0:
	// 3.5 MiB and 64 KiB.
	MaxSize, MaxIO int
	// Tape is how often, on average, the file is archived or evicted: once in so many
	// operations. 0: never.
	Tape int
}

// Result says what Run did.
type Result struct {
	Done     map[string]int // operations by name
	Replaced map[string]int // of these, how many the file system could not do
	Took     time.Duration
}

func (r Result) String() string {
	var b strings.Builder
	names := make([]string, 0, len(r.Done))
	for name := range r.Done {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%s %d", name, r.Done[name])
		if n := r.Replaced[name]; n > 0 {
			fmt.Fprintf(&b, " (%d replaced)", n)
		}
		b.WriteString(", ")
	}
	fmt.Fprintf(&b, "in %v", r.Took.Round(time.Millisecond))
	return b.String()
}

// logged is how many operations an error shows.
const logged = 200

// entry is an operation in the log.
type entry struct {
	no          int
	name        string
	off, n, src int
	size        int // of the file before it
	note        string
}

func (e entry) String() string {
	s := fmt.Sprintf("%7d %-8s off %#x, %d bytes, file %d bytes", e.no, e.name, e.off, e.n, e.size)
	if e.name == "copy" {
		s += fmt.Sprintf(", from %#x", e.src)
	}
	return s + e.note
}

// run is one Run.
type run struct {
	o     Options
	rnd   *rand.Rand
	f     *os.File
	model []byte // what the file has; its capacity is never less than MaxSize
	log   []entry
	res   Result
	cur   *entry
	buf   []byte // what is read
	out   []byte // what is written, until the next operation
}

// operations and how often they come, of the sum of all.
var operations = []struct {
	name   string
	weight int
	do     func(r *run, off, n int) error
}{
	{"read", 22, (*run).read},
	{"write", 22, (*run).write},
	{"append", 5, (*run).append},
	{"truncate", 6, (*run).truncate},
	{"mapread", 10, (*run).mapRead},
	{"mapwrite", 10, (*run).mapWrite},
	{"punch", 7, (*run).punch},
	{"zero", 3, (*run).zero},
	{"copy", 7, (*run).copy},
	{"fsync", 2, (*run).fsync},
	{"reopen", 3, (*run).reopen},
	{"seek", 2, (*run).seek},
	{"verify", 1, (*run).verify},
}

// Run does the operations. The error says what was wrong, and how to do it again.
func Run(o Options) (Result, error) {
	if o.MaxSize == 0 {
		o.MaxSize = 7 << 19
	}
	if o.MaxIO == 0 {
		o.MaxIO = 64 << 10
	}
	r := &run{o: o, rnd: rand.New(rand.NewPCG(o.Seed, 1)), model: make([]byte, 0, o.MaxSize), buf: make([]byte, o.MaxSize), out: make([]byte, 0, o.MaxIO+8)}
	r.res = Result{Done: map[string]int{}, Replaced: map[string]int{}}
	begin := time.Now()
	err := r.all()
	r.res.Took = time.Since(begin)
	if r.f != nil {
		_ = r.f.Close() // what was to be checked has been
	}
	if err != nil {
		var b strings.Builder
		for _, e := range r.log {
			fmt.Fprintln(&b, e)
		}
		return r.res, errors.Errorf("%v\nseed %d; the last %d operations:\n%s", err, o.Seed, len(r.log), b.String())
	}
	return r.res, os.Remove(o.Path)
}

func (r *run) all() error {
	var err error
	if r.f, err = os.OpenFile(r.o.Path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644); err != nil {
		return errors.WithStack(err)
	}
	total := 0
	for _, op := range operations {
		total += op.weight
	}
	for no := range r.o.Ops {
		// Everything is drawn before anything is done, so that the order depends on the
		// seed alone.
		pick, tape := r.rnd.IntN(total), r.rnd.Uint64()
		off, n := r.place()
		src, _ := r.place()
		if r.o.Tape > 0 && tape%uint64(r.o.Tape) == 0 {
			if err := r.step(entry{no: no, name: "tape"}, (*run).tape); err != nil {
				return err
			}
		}
		for _, op := range operations {
			if pick -= op.weight; pick < 0 {
				if err := r.step(entry{no: no, name: op.name, off: off, n: n, src: src}, op.do); err != nil {
					return err
				}
				break
			}
		}
	}
	return r.step(entry{no: r.o.Ops, name: "verify"}, (*run).verify)
}

// place draws a range: often at the borders of pages and slivers, where things break.
func (r *run) place() (off, n int) {
	off, n = r.rnd.IntN(r.o.MaxSize), 1+r.rnd.IntN(r.o.MaxIO)
	switch r.rnd.IntN(6) {
	case 0:
		off &^= 4095
	case 1:
		off = max(0, off&^(1<<20-1)-n/2) // over the end of a sliver
	case 2:
		n = 1 + n%100
	}
	return off, min(n, r.o.MaxSize-off)
}

func (r *run) step(e entry, do func(*run, int, int) error) error {
	e.size = len(r.model)
	if len(r.log) == logged {
		r.log = slices.Delete(r.log, 0, 1)
	}
	r.log = append(r.log, e)
	r.cur = &r.log[len(r.log)-1]
	r.res.Done[e.name]++
	if err := do(r, e.off, e.n); err != nil {
		return errors.WithMessagef(err, "operation %d, %s at %#x of %d bytes", e.no, e.name, e.off, e.n)
	}
	return nil
}

// replaced notes that the file system could not do the operation.
func (r *run) replaced() {
	r.res.Replaced[r.cur.name]++
	r.cur.note = ", replaced"
}

// impossible says whether an error means that the file system has no such operation.
func impossible(err error) bool {
	return stderrors.Is(err, unix.EOPNOTSUPP) || stderrors.Is(err, unix.ENOSYS) || stderrors.Is(err, unix.ENODEV)
}

// fill draws n bytes, which name the operation: who finds them where they do not belong
// sees where they come from. They are good until the next call.
func (r *run) fill(n int) []byte {
	p := r.out[:0]
	x := uint64(r.cur.no)*0x9E3779B97F4A7C15 + r.o.Seed | 1
	for len(p) < n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		p = binary.LittleEndian.AppendUint64(p, x)
	}
	r.out = p
	return p[:n]
}

// put notes in the model that p is at off.
func (r *run) put(off int, p []byte) {
	r.grow(off + len(p))
	copy(r.model[off:], p)
}

// grow makes the model at least size bytes long.
func (r *run) grow(size int) {
	if old := len(r.model); size > old {
		r.model = r.model[:size]
		clear(r.model[old:])
	}
}

// compare says where got, read at off, is not the model's.
func (r *run) compare(got []byte, off int) error {
	want := r.model[min(off, len(r.model)):min(off+len(got), len(r.model))]
	if bytes.Equal(got, want) {
		return nil
	}
	if len(got) != len(want) {
		return errors.Errorf("%d bytes at %#x are %d", len(want), off, len(got))
	}
	i := 0
	for got[i] == want[i] {
		i++
	}
	bad := 0
	for j := range got {
		if got[j] != want[j] {
			bad++
		}
	}
	return errors.Errorf("wrong data from %#x on: % x, want % x; %d of %d bytes differ",
		off+i, got[i:min(i+16, len(got))], want[i:min(i+16, len(want))], bad, len(got))
}
