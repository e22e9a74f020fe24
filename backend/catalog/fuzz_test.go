package catalog

import (
	"bytes"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"sliod/backend/sliver"
)

// fuzzRecord checks that recode never panics and that what it can decode
// encodes to the same bytes.
func fuzzRecord(f *testing.F, recode func(b []byte) ([]byte, error), seeds ...[]byte) {
	for _, s := range append(seeds, nil, []byte{recordFormat}, []byte{2}, []byte{recordFormat, 0x80, 0}) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := recode(b); err == nil && !bytes.Equal(got, b) {
			t.Errorf("%x was encoded again as %x", b, got)
		}
	})
}

func FuzzBmap(f *testing.F) {
	full, _ := encodeBmap(nil, archivedBmap(9))
	mixed, _ := encodeBmap(nil, mixedBmap())
	fuzzRecord(f, func(b []byte) ([]byte, error) {
		var m Bmap
		if err := decodeBmap(&m, b); err != nil {
			return nil, err
		}
		return encodeBmap(nil, &m)
	}, full, mixed)
}

func FuzzInode(f *testing.F) {
	seed, _ := encodeInode(nil, &Inode{Generation: 1, Mode: 0o120777, Size: 9, Mtime: Time{Sec: -5, Nsec: 999999999}, Target: "a/b", NextCookie: 3})
	lists, _ := encodeInode(nil, &Inode{Generation: 1, Mode: 0o40755, DefaultACL: "\x02\x00\x00\x00" +
		"\x01\x00\x07\x00\xff\xff\xff\xff" + "\x04\x00\x05\x00\xff\xff\xff\xff" + "\x20\x00\x05\x00\xff\xff\xff\xff"})
	fuzzRecord(f, func(b []byte) ([]byte, error) {
		n, err := decodeInode(7, b)
		if err != nil {
			return nil, err
		}
		return encodeInode(nil, &n)
	}, seed, lists)
}

func FuzzDirent(f *testing.F) {
	e := Dirent{Name: "n\xff", ID: 300, Type: 0x80, Cookie: 500}
	fuzzRecord(f, func(b []byte) ([]byte, error) {
		d, err := decodeDirent("n", b)
		return encodeDirent(nil, &d), err
	}, encodeDirent(nil, &e))
}

func FuzzCookie(f *testing.F) {
	e := Dirent{Name: "n\xff", ID: 300, Type: 0x80, Cookie: 500}
	fuzzRecord(f, func(b []byte) ([]byte, error) {
		d, err := decodeCookie(5, b)
		return encodeCookie(nil, &d), err
	}, encodeCookie(nil, &e))
}

func FuzzVolume(f *testing.F) {
	seed, _ := encodeVolume(nil, &Volume{Barcode: "A00001L9", UUID: "u", State: VolFull, Capacity: 18e12, Used: 5, EndOfData: VolPos{1, 99}, ReadErrors: 2})
	imported, _ := encodeVolume(nil, &Volume{Barcode: "A00001L9", State: VolReadOnly, Flags: VolImported})
	fuzzRecord(f, func(b []byte) ([]byte, error) {
		v, err := decodeVolume(1, b)
		if err != nil {
			return nil, err
		}
		return encodeVolume(nil, &v)
	}, seed, imported)
}

func FuzzJob(f *testing.F) {
	seed, _ := encodeJob(nil, &Job{Kind: "archive", Paths: []string{"a", "b/c"}, Data: []byte("d")})
	fuzzRecord(f, func(b []byte) ([]byte, error) {
		j, err := decodeJob(1, b)
		if err != nil {
			return nil, err
		}
		return encodeJob(nil, &j)
	}, seed)
}

func FuzzNumber(f *testing.F) {
	fuzzRecord(f, func(b []byte) ([]byte, error) {
		n, err := decodeNumber("number", b)
		return encodeNumber(nil, n), err
	}, encodeNumber(nil, 1<<63))
}

// mixedBmap has an entry of every kind.
func mixedBmap() *Bmap {
	m := new(Bmap)
	m.Slivers[3] = SliverRec{Dirty: true, Slot: 256, Seq: 9, Len: 5}
	m.Slivers[4] = SliverRec{Dirty: true, Slot: 12, Seq: 11, Len: sliver.Size, ArchLen: 7, Version: 1 << 50, Sum: 1, HasSum: true,
		Copies: []Copy{{Volume: 1, Pieces: []Piece{{1, 5, 100, 3}, {1, 9, 0, 4}}}, {Volume: 2, Pieces: []Piece{{1, 1 << 40, 4096, 7}}}}}
	m.Slivers[5] = SliverRec{Len: 7, ArchLen: 7, Version: 3, Copies: []Copy{{Volume: 1, Pieces: []Piece{{1, 10, 0, 7}}}, {Volume: 2, Pieces: []Piece{{1, 2, 3, 7}}}}}
	m.Slivers[9] = SliverRec{Len: 9, ArchLen: 9, Version: 4, Copies: []Copy{{Volume: 1, Pieces: []Piece{Zeros(3), {1, 10, 7, 4}, Zeros(2)}}}}
	m.Slivers[10] = SliverRec{Len: 4, ArchLen: 4, Version: 5, Copies: []Copy{{Volume: 1, Pieces: []Piece{Zeros(4)}}}}
	m.Slivers[127] = SliverRec{Len: 1, Copies: []Copy{{Volume: 1}, {}, {}, {}, {}, {Volume: 4, Pieces: []Piece{{0, 0, 1<<32 - 1, 0}}}}}
	return m
}

func TestBmapRoundTrip(t *testing.T) {
	for _, m := range []*Bmap{new(Bmap), mixedBmap(), archivedBmap(1)} {
		b, err := encodeBmap(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		var got Bmap
		if err := decodeBmap(&got, b); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(&got, m) {
			t.Errorf("got %+v\nwant %+v", got, m)
		}
	}
	b, _ := encodeBmap(nil, archivedBmap(1))
	if len(b) > 128*14 {
		t.Errorf("a fully archived bmap takes %d bytes", len(b))
	}
}

// TestModel compares directories and bmaps with maps.
func TestModel(t *testing.T) {
	for name, kv := range map[string]func() KV{"memory": func() KV { return newMemKV() }, "pebble": func() KV { return openMem(t) }} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { model(t, kv()) })
		})
	}
}

func model(t *rapid.T, kv KV) {
	c, err := openKV(kv)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	type place struct {
		id sliver.FileID
		no sliver.BmapNo
	}
	dirs := map[sliver.FileID]map[string]Dirent{1: {}, 2: {}}
	bmaps := map[place]*Bmap{}
	cookie := FirstCookie
	dirNo := rapid.SampledFrom([]sliver.FileID{1, 2})
	nameGen := rapid.SampledFrom([]string{"a", "\xff\xfe", "b\n", "..."})
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Repeat(map[string]func(*rapid.T){
		"put": func(t *rapid.T) {
			d, e := dirNo.Draw(t, "dir"), Dirent{Name: nameGen.Draw(t, "name"), ID: sliver.FileID(cookie * 7), Type: 0x80, Cookie: cookie}
			cookie++
			check(c.Update(func(tx *Tx) error { return tx.PutDirent(d, e) }))
			dirs[d][e.Name] = e
		},
		"delete": func(t *rapid.T) {
			d, n := dirNo.Draw(t, "dir"), nameGen.Draw(t, "name")
			check(c.Update(func(tx *Tx) error { return tx.DeleteDirent(d, n) }))
			delete(dirs[d], n)
		},
		"bmap": func(t *rapid.T) {
			p := place{dirNo.Draw(t, "file"), sliver.BmapNo(rapid.IntRange(0, 3).Draw(t, "no"))}
			m := rapid.SampledFrom([]func() *Bmap{func() *Bmap { return new(Bmap) }, mixedBmap, func() *Bmap { return archivedBmap(3) }}).Draw(t, "bmap")()
			check(c.Update(func(tx *Tx) error { return tx.PutBmap(p.id, p.no, m) }))
			bmaps[p] = m
		},
		"cut": func(t *rapid.T) {
			p := place{dirNo.Draw(t, "file"), sliver.BmapNo(rapid.IntRange(0, 3).Draw(t, "from"))}
			check(c.Update(func(tx *Tx) error { return tx.DeleteBmaps(p.id, p.no) }))
			for no := p.no; no < 4; no++ {
				delete(bmaps, place{p.id, no})
			}
		},
		"": func(t *rapid.T) {
			check(c.View(func(tx *Tx) error {
				for d, want := range dirs {
					n, last := 0, uint64(0)
					check(tx.Readdir(d, 0, func(e Dirent) bool {
						if e != want[e.Name] || e.Cookie <= last {
							t.Fatalf("directory %d has %+v", d, e)
						}
						n, last = n+1, e.Cookie
						return true
					}))
					empty, err := tx.DirEmpty(d)
					if n != len(want) || empty != (n == 0) || err != nil {
						t.Fatalf("directory %d has %d entries, empty %v, want %d: %v", d, n, empty, len(want), err)
					}
					for name, e := range want {
						if got, err := tx.Lookup(d, name); got != e || err != nil {
							t.Fatalf("lookup %q: %+v %v", name, got, err)
						}
					}
					for no := range sliver.BmapNo(4) {
						m := bmaps[place{d, no}]
						if m == nil {
							m = new(Bmap)
						}
						if got, err := tx.Bmap(d, no); err != nil || !reflect.DeepEqual(got, m) {
							t.Fatalf("bmap %d/%d: %v", d, no, err)
						}
					}
				}
				return nil
			}))
		},
	})
}

func TestVolumesJobsCounters(t *testing.T) {
	c, err := openKV(newMemKV())
	if err != nil {
		t.Fatal(err)
	}
	v := Volume{Barcode: "A00001L9", State: VolAppend}
	j := Job{Kind: "archive", Paths: []string{"x"}}
	err = c.Update(func(tx *Tx) (err error) {
		if v.No, err = tx.NextVolumeNo(); err != nil {
			return err
		}
		if j.ID, err = tx.NextJobID(); err != nil {
			return err
		}
		tx.PutJob(&j)
		tx.PutOrphan(9)
		return tx.PutVolume(&v)
	})
	if err != nil || v.No != 1 || j.ID != 1 {
		t.Fatal(err, v.No, j.ID)
	}
	if err := c.Update(func(tx *Tx) error { return tx.PutVolume(&Volume{No: 2, Barcode: v.Barcode}) }); err == nil {
		t.Error("two volumes with one barcode")
	}
	// A write whose error nobody looked at fails the Update.
	if err := c.Update(func(tx *Tx) error { tx.PutDirent(1, Dirent{Name: "a/b", Cookie: 3}); return tx.PutCounter("n", 1) }); err == nil {
		t.Error("a failed write was committed")
	}
	seen := map[sliver.FileID]bool{}
	err = c.Update(func(tx *Tx) error { // more than is reserved at once
		clear(seen)
		for range 3 * idsAtOnce {
			id, err := tx.NextFileID()
			if err != nil {
				return err
			}
			seen[id] = true
		}
		return nil
	})
	if err != nil || len(seen) != 3*idsAtOnce {
		t.Errorf("%d numbers: %v", len(seen), err)
	}
	err = c.View(func(tx *Tx) error {
		if got, err := tx.VolumeByBarcode(v.Barcode); got != v || err != nil {
			t.Errorf("volume %+v %v", got, err)
		}
		if got, err := tx.Job(j.ID); !reflect.DeepEqual(got, j) || err != nil {
			t.Errorf("job %+v %v", got, err)
		}
		if n, err := tx.Counter("n"); n != 0 || err != nil {
			t.Errorf("counter %d %v", n, err)
		}
		if err := tx.PutCounter("n", 1); err == nil {
			t.Error("write in a View")
		}
		return tx.Orphans(func(id sliver.FileID) bool { seen[id] = true; return true })
	})
	if err != nil || !seen[9] {
		t.Errorf("orphans: %v", err)
	}
}
