package ltfscheck

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/pkg/errors"

	"sliod/tape"
)

// TestGolden: the reference implementation's volume is clean. Its version 2.4.8 does
// not write attribute 0820.
func TestGolden(t *testing.T) {
	m := golden(t)
	paths := map[string]*Entry{}
	r, err := Check(context.Background(), m, Options{Every: true, Data: true, Entry: func(e *Entry) { paths[e.Path] = e }})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	if len(r.Findings) != 1 || !strings.Contains(r.Findings[0].Text, "no attribute 0820") || r.Worst() != Warning {
		t.Errorf("findings: %v", r.Findings)
	}
	if !r.OK() || r.Serial != "SLI001" || r.UUID != "6acc47dc-4b90-4af4-a73c-85ad521040b8" || r.BlockSize != 524288 || r.Partitions != 2 ||
		r.Generation != 2 || r.Files != 8 || r.Dirs != 3 || r.Bytes != 17+1+5000+2+3072+600000 || len(r.Indexes) != 3 || len(paths) != 11 {
		t.Errorf("%+v, %d entries", r, len(paths))
	}
	for _, x := range r.Indexes {
		if !x.Chained {
			t.Errorf("index %+v is not in the chain", x)
		}
	}
	h := paths["hello.txt"]
	if h == nil || h.Length != 17 || len(h.Extents) != 2 || len(h.Xattrs) != 2 || !bytes.Equal(h.Xattrs[0].Value, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}) {
		t.Errorf("hello.txt: %+v", h)
	}
	if paths["dir/a:b%c"] == nil || paths["dir/sub dir/ümläut.txt"] == nil || !paths["dir/five-thousand.bin"].ReadOnly || paths["dir/link"].Symlink != "../hello.txt" {
		t.Errorf("paths %v", paths)
	}
	// The usual check does not read all, and finds the same.
	m = golden(t)
	if r, err := Check(context.Background(), m, Options{}); err != nil || len(r.Findings) != 1 || r.Files != 8 {
		t.Errorf("%+v %+v", r, err)
	}
}

// TestFaults breaks each rule in the golden volume, one at a time.
func TestFaults(t *testing.T) {
	const extent = "<bytecount>5000</bytecount>"
	for _, c := range []struct {
		name  string
		fault func(m *medium)
		worst Severity
		want  string // in a finding
	}{
		// Labels.
		{"blank", func(m *medium) { m.parts[0] = nil }, Error, "partition 0 is blank"},
		{"second blank", func(m *medium) { m.parts[1] = nil }, Error, "partition 1 is blank"},
		{"one partition only", func(m *medium) { m.parts = m.parts[:1] }, Error, "no partition 1"},
		{"tar", func(m *medium) { m.parts[0][0] = make([]byte, 10240) }, Error, "begins with 80 bytes, VOL1"},
		{"other implementation", func(m *medium) { m.change(t, 0, 0, "LTFS", "XXXX") }, Error, `the implementation "XXXX"`},
		{"serial differs", func(m *medium) { m.change(t, 1, 0, "SLI001", "SLI002") }, Error, `volume serial "SLI002"`},
		{"serial in lower case", func(m *medium) { m.change(t, 0, 0, "SLI001", "sli001") }, Error, "only A to Z"},
		{"accessibility", func(m *medium) { m.change(t, 0, 0, "SLI001L", "SLI001 ") }, Error, "accessibility"},
		{"reserved bytes", func(m *medium) { m.parts[0][0][60] = 'x' }, Error, "which are spaces"},
		{"standard version", func(m *medium) { m.parts[0][0][79] = '3' }, Error, "standard version"},
		{"no filemark", func(m *medium) { m.parts[0][1] = []byte("x") }, Error, "where the label has a filemark"},
		{"label cut", func(m *medium) { m.parts[0][2] = m.parts[0][2][:100] }, Error, "label cannot be read"},
		{"label unreadable", func(m *medium) { m.bad[tape.Position{Block: 2}] = tape.MediumError }, Error, "label cannot be read"},
		{"labels differ", func(m *medium) { m.change(t, 1, 2, "<compression>true", "<compression>false") }, Error, "differ in more than their location"},
		{"same location", func(m *medium) { m.parts[1][2] = m.parts[0][2] }, Error, "both labels"},
		{"block size", func(m *medium) { m.change(t, 0, 2, "524288", "524288000") }, Error, "blocksize is outside"},
		{"no block size", func(m *medium) { m.change(t, 0, 2, "<blocksize>524288</blocksize>", "") }, Error, "<blocksize> is missing"},
		{"label's UUID", func(m *medium) { m.change(t, 0, 2, "6acc47dc-", "6acc47dc") }, Error, "not a UUID"},
		{"unknown element in the label", func(m *medium) {
			m.change(t, 0, 2, "<blocksize>", "<x/><blocksize>")
			m.change(t, 1, 2, "<blocksize>", "<x/><blocksize>")
		}, Warning, "an element <x>"},
		// Layout.
		{"data behind the index", func(m *medium) { m.insert(1, 18, []byte("data")) }, Error, "does not end in an index"},
		{"no closing filemark", func(m *medium) { m.parts[1] = m.parts[1][:17] }, Error, "does not end in an index"},
		{"index partition without index", func(m *medium) { m.parts[0] = m.parts[0][:4] }, Error, "has no index"},
		{"a filemark too many", func(m *medium) { m.insert(0, 7, nil) }, Error, "does not end in an index"},
		{"a filemark in the data", func(m *medium) { m.parts[1][12] = nil }, Error, "goes over the filemark"},
		{"torn index", func(m *medium) { m.parts[1][16] = m.parts[1][16][:300] }, Error, "cannot be read"},
		{"torn tree", func(m *medium) { m.parts[1][16] = m.parts[1][16][:3000] }, Error, "index cannot be read"},
		{"index unreadable", func(m *medium) { m.bad[tape.Position{Block: 5}] = tape.MediumError }, Error, "has no index"},
		{"records of the index", func(m *medium) {
			b := m.parts[0][5]
			m.parts[0][5] = b[:1000]
			m.insert(0, 6, b[1000:])
		}, Error, "record 0 of the index has 1000 bytes"},
		// Chain.
		{"not where it says", func(m *medium) { m.change(t, 1, 16, "<startblock>16<", "<startblock>17<") }, Error, "says it is at b:17"},
		{"of another volume", func(m *medium) { m.change(t, 1, 16, "6acc47dc", "6acc47dd") }, Error, "of another volume"},
		{"reference into nowhere", func(m *medium) {
			m.change(t, 1, 16, "<startblock>5</startblock>\n</previous", "<startblock>6</startblock>\n</previous")
		}, Error, "where there is none"},
		{"no reference", func(m *medium) {
			m.change(t, 1, 16, "<previousgenerationlocation>\n<partition>b</partition>\n<startblock>5</startblock>\n</previousgenerationlocation>\n", "")
		}, Warning, "no newer index refers to index 1"},
		{"reference to the index partition", func(m *medium) {
			m.change(t, 1, 16, "<previousgenerationlocation>\n<partition>b", "<previousgenerationlocation>\n<partition>a")
		}, Error, "not in the data partition"},
		{"generations", func(m *medium) { m.change(t, 0, 5, "<generationnumber>2", "<generationnumber>3") }, Error, "ends in generation 3"},
		{"generations along the chain", func(m *medium) { m.change(t, 1, 5, "<generationnumber>1", "<generationnumber>2") }, Error, "before it of generation 2"},
		{"index partition's reference", func(m *medium) {
			m.change(t, 0, 5, "<startblock>16</startblock>\n</previous", "<startblock>5</startblock>\n</previous")
		}, Error, "the data partition's is at b:16"},
		{"copies differ", func(m *medium) { m.change(t, 0, 5, "plain text", "other text") }, Error, "differs from that of the same generation"},
		// Index.
		{"document type", func(m *medium) { m.both(t, "<ltfsindex", "<!DOCTYPE x><ltfsindex") }, Error, "has no index"},
		{"version", func(m *medium) { m.both(t, `version="2.4.0"`, `version="3.0"`) }, Error, `index version "3.0"`},
		{"version 2.5", func(m *medium) { m.both(t, `version="2.4.0"`, `version="2.5.0"`) }, Warning, "index version 2.5.0"},
		{"missing element", func(m *medium) { m.both(t, "<readonly>true</readonly>", "") }, Error, "<readonly> is missing"},
		{"twice", func(m *medium) {
			m.both(t, "<readonly>true</readonly>", "<readonly>true</readonly><readonly>true</readonly>")
		}, Error, "<readonly> twice"},
		{"boolean", func(m *medium) { m.both(t, "<readonly>true", "<readonly>yes") }, Error, "not true or false"},
		{"number", func(m *medium) { m.both(t, "<length>5000", "<length>-5000") }, Error, "not a number"},
		{"time without fraction", func(m *medium) { m.both(t, "2026-11-22T07:12:03.531343404Z", "2026-11-22T07:12:03Z") }, Error, "not a time"},
		{"time that is none", func(m *medium) { m.both(t, "2026-11-22T07:12:03.531343404Z", "2026-02-30T07:12:03.531343404Z") }, Error, "not a time"},
		{"fileuid twice", func(m *medium) { m.both(t, "<fileuid>7<", "<fileuid>5<") }, Error, "fileuid 5 is that of another"},
		{"fileuid above the highest", func(m *medium) { m.both(t, "<fileuid>7<", "<fileuid>70<") }, Error, "there is a fileuid 70"},
		{"fileuid of the root", func(m *medium) { m.both(t, "<fileuid>1<", "<fileuid>9<") }, Error, "the root has fileuid 9"},
		{"name with a colon", func(m *medium) { m.both(t, "hello.txt</name>", "hello:txt</name>") }, Error, "must be percent-encoded"},
		{"name badly encoded", func(m *medium) { m.both(t, "a%3Ab%25c", "a%3Ab%2c%zz") }, Error, "two hex digits"},
		{"name with a slash", func(m *medium) { m.both(t, "<name>hello.txt", "<name>hello/txt") }, Error, "slash"},
		{"name ..", func(m *medium) { m.both(t, "<name>hello.txt", "<name>..") }, Error, "is not a name"},
		{"name too long", func(m *medium) { m.both(t, "<name>hello.txt", "<name>"+strings.Repeat("ü", 256)) }, Error, "more than 255"},
		{"two of one name", func(m *medium) { m.both(t, "<name>hello.txt", "<name>sparse") }, Error, "a second entry of this name"},
		{"file and directory of one name", func(m *medium) { m.both(t, "<name>hello.txt", "<name>dir") }, Error, "a second entry of this name"},
		{"base64", func(m *medium) { m.both(t, "AAECAwQ", "AAE*AwQ") }, Error, "not base64"},
		{"value type", func(m *medium) { m.both(t, `type="base64"`, `type="hex"`) }, Error, `value of type "hex"`},
		{"xattr twice", func(m *medium) { m.both(t, "<key>note</key>", "<key>binary</key>") }, Error, "twice"},
		{"link with a length", func(m *medium) { m.both(t, "<name>link</name>\n<length>0", "<name>link</name>\n<length>3") }, Error, "link with a length"},
		{"contents", func(m *medium) { m.both(t, "<contents>", "<contents>text") }, Error, "text between"},
		{"unknown element", func(m *medium) { m.both(t, "<fileuid>7<", "<other/><fileuid>7<") }, Warning, "an element <other>"},
		{"open for write", func(m *medium) {
			m.both(t, "<readonly>true</readonly>", "<readonly>true</readonly><openforwrite>true</openforwrite>")
		}, Warning, "was being written"},
		{"lock state", func(m *medium) { m.both(t, ">unlocked<", ">ajar<") }, Error, `<volumelockstate> is "ajar"`},
		// Extents.
		{"extent beyond the data", func(m *medium) { m.both(t, "<startblock>8</startblock>", "<startblock>80</startblock>") }, Error, "whose data are from"},
		{"extent in the label", func(m *medium) { m.both(t, "<startblock>8</startblock>", "<startblock>2</startblock>") }, Error, "whose data are from"},
		{"extent in an index", func(m *medium) { m.both(t, "<startblock>11</startblock>", "<startblock>5</startblock>") }, Error, "lies in an index"},
		{"extent over a filemark", func(m *medium) { m.both(t, "<startblock>12</startblock>", "<startblock>14</startblock>") }, Error, "goes over the filemark"},
		{"extent's partition", func(m *medium) {
			m.both(t, "<partition>b</partition>\n<startblock>8<", "<partition>c</partition>\n<startblock>8<")
		}, Error, "does not have"},
		{"byte offset", func(m *medium) {
			m.both(t, "<byteoffset>0</byteoffset>\n"+extent, "<byteoffset>524288</byteoffset>\n"+extent)
		}, Error, "inside a record of at most"},
		{"no bytes", func(m *medium) { m.both(t, extent, "<bytecount>0</bytecount>") }, Error, "no bytes"},
		{"overlap", func(m *medium) { m.both(t, "<fileoffset>12<", "<fileoffset>11<") }, Error, "extents overlap"},
		{"beyond the length", func(m *medium) { m.both(t, "<length>5000", "<length>4999") }, Error, "extents go to byte 5000"},
		{"too long", func(m *medium) { m.both(t, extent, "<bytecount>18446744073709551615</bytecount>") }, Error, "whose data are from"},
		// Data.
		{"record too short", func(m *medium) { m.parts[1][8] = m.parts[1][8][:4999] }, Error, "goes over the end of record"},
		{"short record inside a file", func(m *medium) { m.parts[1][12] = m.parts[1][12][:524287] }, Error, "goes over the end of record"},
		{"record unreadable", func(m *medium) { m.bad[tape.Position{Partition: 1, Block: 10}] = tape.MediumError }, Error, "block 1:10 cannot be read"},
		{"wrong hash", func(m *medium) {
			m.both(t, "<key>note</key>\n<value>plain text", "<key>ltfs.hash.sha256sum</key>\n<value>e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
		}, Error, "its SHA-256 is"},
		// Memory.
		{"no memory", func(m *medium) { m.limits.HasMAM = false }, Note, "no access"},
		{"barcode", func(m *medium) { m.attrs["0:0806"] = []byte("OTHER1" + strings.Repeat(" ", 26)) }, Warning, "barcode \"OTHER1\""},
		{"length", func(m *medium) { m.attrs["0:0800"] = []byte("X") }, Error, "has 1 bytes, not 8"},
		{"format version", func(m *medium) { m.attrs["0:080B"] = []byte("2.2.0           ") }, Error, "format version \"2.2.0\""},
		{"GUID", func(m *medium) { m.attrs["0:0820"] = []byte("6acc47dd-4b90-4af4-a73c-85ad521040b8") }, Error, "attribute 0820 is of volume"},
		{"080C of an earlier time", func(m *medium) { m.coherency(1, put(1, 1)) }, Warning, "now it is"},
		{"080C with another generation", func(m *medium) { m.coherency(1, put(9, 1)) }, Error, "says index 1 at block 16"},
		{"080C with another block", func(m *medium) { m.coherency(0, put(17, 7)) }, Error, "says index 2 at block 7"},
		{"080C of another volume", func(m *medium) { m.coherency(0, func(b []byte) { b[32] = '7' }) }, Error, "080C is of volume"},
		{"080C not of LTFS", func(m *medium) { m.coherency(0, func(b []byte) { binary.BigEndian.PutUint16(b[25:], 1) }) }, Error, "not one of LTFS"},
		{"080C too short", func(m *medium) { m.attrs["0:080C"] = m.attrs["0:080C"][:69] }, Error, "69 bytes, not 70"},
		{"no 080C", func(m *medium) { delete(m.attrs, "1:080C") }, Warning, "has no attribute 080C"},
	} {
		m := golden(t)
		c.fault(m)
		r := m.check(t)
		found := func(f Finding) bool { return strings.Contains(f.Text, c.want) }
		if !slices.ContainsFunc(r.Findings, found) {
			t.Errorf("%s: no finding has %q: %v", c.name, c.want, r.Findings)
			continue
		}
		if c.worst == Note {
			continue // what remains is less
		}
		if want := c.worst; r.Worst() != want {
			t.Errorf("%s: worst is %v, want %v: %v", c.name, r.Worst(), want, r.Findings)
		}
	}
}

// TestRightHash: the SHA-256 of a file of two extents is found to be right.
func TestRightHash(t *testing.T) {
	m := golden(t)
	sum := sha256.Sum256([]byte("hello, tape\nmore\n"))
	m.both(t, "<key>note</key>\n<value>plain text", "<key>ltfs.hash.sha256sum</key>\n<value>"+hex.EncodeToString(sum[:]))
	if r := m.check(t); !r.OK() {
		t.Error(r.Findings)
	}
}

// TestBrokenDrive: what is not the volume's fault is an error.
func TestBrokenDrive(t *testing.T) {
	for _, at := range []tape.Position{{Block: 0}, {Block: 5}, {Partition: 1, Block: 16}, {Partition: 1, Block: 8}} {
		m := golden(t)
		m.bad[at] = tape.HardwareError
		if _, err := Check(context.Background(), m, Options{Data: true}); tape.KindOf(err) != tape.HardwareError {
			t.Errorf("%v: %v", at, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Check(ctx, golden(t), Options{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestManyFindings(t *testing.T) {
	r := &Report{}
	for range maxFindings + 5 {
		r.add(Finding{Severity: Warning, Text: "x"})
	}
	r.add(Finding{Severity: Error, Text: "the last"})
	if len(r.Findings) != maxFindings || r.More != 6 || r.Worst() != Error {
		t.Error(len(r.Findings), r.More, r.Worst())
	}
}

// FuzzIndex reads anything as the index of the golden volume.
func FuzzIndex(f *testing.F) {
	g := golden(f)
	f.Add(g.parts[0][5])
	f.Add(g.parts[0][2])
	f.Add([]byte("<ltfsindex><directory><contents/><name/></directory></ltfsindex>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &medium{parts: slices.Clone(g.parts), attrs: g.attrs, limits: g.limits}
		for p, block := range []int{5, 16} {
			m.parts[p] = slices.Clone(m.parts[p])
			m.parts[p][block] = b[:min(len(b), 1<<19)]
		}
		if _, err := Check(context.Background(), m, Options{Every: true, Data: true}); err != nil {
			t.Fatalf("%+v", err)
		}
	})
}
