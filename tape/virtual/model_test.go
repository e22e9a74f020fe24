package virtual

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"sliod/tape"
	"sliod/tape/tapetest"
)

// object is a record, or a filemark if nil.
type object []byte

// model is a drive with a loaded cartridge, as a list of objects a partition.
type model struct {
	parts   [][]object
	at      tape.Position
	durable [][]object // what the last flush acknowledged, unless cut since
}

func (m *model) part() []object { return m.parts[m.at.Partition] }

func (m *model) write(o object) {
	p := m.at.Partition
	m.parts[p] = append(m.parts[p][:m.at.Block:m.at.Block], o)
	if int(m.at.Block) < len(m.durable[p]) {
		m.durable[p] = m.durable[p][:m.at.Block]
	}
	m.at.Block++
}

func (m *model) flush() {
	copy(m.durable, m.parts)
}

func TestModel(t *testing.T) {
	for _, profile := range []string{ProfileModern, ProfileOld, ProfileSSC2} {
		t.Run("profile "+profile, func(t *testing.T) { testModel(t, profile) })
	}
}

func testModel(t *testing.T, profile string) {
	dir := t.TempDir()
	library := func(c *Config) { c.Drives, c.Slots, c.Profile = 1, 1, profile }
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		home := fmt.Sprintf("%s/%d", dir, run)
		l := open(t, home, library)
		defer func() { l.Close() }()
		d := mount(t, l)
		ctx := t.Context()
		m := &model{parts: make([][]object, 1), durable: make([][]object, 1)}
		must := func(err error) {
			if err != nil {
				rt.Fatal(err)
			}
		}
		kind := func(err error, want tape.Kind) {
			if tape.KindOf(err) != want || err == nil {
				rt.Fatalf("%v, want %v", err, want)
			}
		}
		serial := 0
		ghost := false // the medium has only the filemark that formatting it needed
		moved := func() {
			if profile == ProfileModern { // a drive that counts may know that it need not move
				m.flush()
			}
		}
		loaded := func() {
			m.at = tape.Position{}
			if ghost && len(m.parts[0]) == 0 {
				m.parts[0] = append(m.parts[0], nil)
			}
			ghost = false
		}
		rt.Repeat(map[string]func(*rapid.T){
			"": func(rt *rapid.T) {
				at, err := d.Position(ctx)
				must(err)
				if at != m.at {
					rt.Fatalf("at %v, want %v", at, m.at)
				}
			},
			"write": func(rt *rapid.T) {
				serial++
				b := tapetest.Record(serial, rapid.SampledFrom([]int{1, 7, 80, 4096, 5000}).Draw(rt, "size"))
				must(d.WriteBlock(ctx, b))
				m.write(b)
			},
			"filemarks": func(rt *rapid.T) {
				n := rapid.IntRange(0, 3).Draw(rt, "n")
				must(d.WriteFilemarks(ctx, n))
				for range n {
					m.write(nil)
				}
				m.flush()
			},
			"read": func(rt *rapid.T) {
				buf := make([]byte, rapid.SampledFrom([]int{5, 80, 8192}).Draw(rt, "buffer"))
				n, err := d.ReadBlock(ctx, buf)
				if int(m.at.Block) == len(m.part()) {
					kind(err, tape.EndOfData)
					return
				}
				o := m.part()[m.at.Block]
				m.at.Block++
				switch {
				case o == nil:
					kind(err, tape.Filemark)
				case len(o) > len(buf):
					kind(err, tape.BadBlockLength)
				default:
					must(err)
					if !bytes.Equal(buf[:n], o) {
						rt.Fatalf("block %v reads wrong", m.at)
					}
				}
			},
			"locate": func(rt *rapid.T) {
				p := rapid.IntRange(0, len(m.parts)-1).Draw(rt, "partition")
				b := rapid.IntRange(0, len(m.parts[p])+1).Draw(rt, "block")
				err := d.Locate(ctx, tape.Position{Partition: tape.Partition(p), Block: tape.BlockNo(b)})
				moved()
				if b > len(m.parts[p]) {
					kind(err, tape.EndOfData)
					b--
				} else {
					must(err)
				}
				m.at = tape.Position{Partition: tape.Partition(p), Block: tape.BlockNo(b)}
			},
			"locateEnd": func(rt *rapid.T) {
				p := rapid.IntRange(0, len(m.parts)-1).Draw(rt, "partition")
				must(d.LocateEnd(ctx, tape.Partition(p)))
				moved()
				m.at = tape.Position{Partition: tape.Partition(p), Block: tape.BlockNo(len(m.parts[p]))}
			},
			"spaceFilemarks": func(rt *rapid.T) {
				n := rapid.IntRange(-3, 3).Draw(rt, "n")
				err := d.SpaceFilemarks(ctx, n)
				if n != 0 {
					moved()
				}
				b, left, step := int(m.at.Block), n, 1
				if n < 0 {
					left, step = -n, -1
				}
				for left > 0 {
					if step > 0 && b == len(m.part()) || step < 0 && b == 0 {
						break
					}
					if step < 0 {
						b--
					}
					if m.part()[b] == nil {
						left--
					}
					if step > 0 {
						b++
					}
				}
				m.at.Block = tape.BlockNo(b)
				if (left > 0) != (err != nil) {
					rt.Fatalf("space %d: %v", n, err)
				}
			},
			"format": func(rt *rapid.T) {
				n := rapid.IntRange(1, 2).Draw(rt, "partitions")
				if n == 2 && profile != ProfileModern {
					kind(d.Format(ctx, n), tape.IllegalRequest)
					must(d.Rewind(ctx))
					m.at = tape.Position{}
					return
				}
				must(d.Format(ctx, n))
				ghost = profile == ProfileOld
				*m = model{parts: make([][]object, n), durable: make([][]object, n)}
			},
			"reload": func(rt *rapid.T) {
				must(d.Unload(ctx))
				must(d.Load(ctx))
				m.flush()
				loaded()
				m.flush()
			},
			"killed": func(rt *rapid.T) {
				must(l.Kill())
				l = open(t, home, library)
				d = l.Tape().Drives[0]
				must(d.Load(ctx))
				if ghost && len(m.durable[0]) == 0 {
					// what was written over the mark may be gone, and with it the mark
					must(d.LocateEnd(ctx, 0))
					at, err := d.Position(ctx)
					must(err)
					must(d.Rewind(ctx))
					if at.Block == 1 {
						_, err := d.ReadBlock(ctx, make([]byte, 8192))
						if tape.KindOf(err) == tape.Filemark {
							m.parts[0] = []object{nil}
						}
						must(d.Rewind(ctx))
					}
				}
				ghost = false
				m.at = tape.Position{}
				for p, have := range m.durable {
					must(d.LocateEnd(ctx, tape.Partition(p)))
					at, err := d.Position(ctx)
					must(err)
					if at.Block < tape.BlockNo(len(have)) || int(at.Block) > len(m.parts[p]) {
						rt.Fatalf("partition %d ends at %v, %d were flushed, %d written", p, at, len(have), len(m.parts[p]))
					}
					m.parts[p] = m.parts[p][:at.Block]
				}
				must(d.Locate(ctx, tape.Position{}))
				m.flush()
			},
		})
	})
}
