package virtual

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"

	"sliod/tape"
)

const cartridgeFormat = 1

// memory is the part of a cartridge that is not on its tape: the file "memory"
// in its folder, replaced as a whole.
type memory struct {
	Format         int                  `json:"format"`
	Barcode        tape.Barcode         `json:"barcode"`
	Type           string               `json:"type"`
	Serial         string               `json:"serial"`
	Capacity       int64                `json:"capacity"`
	Partitions     []int64              `json:"partitions"` // capacity of each
	Epoch          int                  `json:"epoch"`      // number of FORMATs: names the partitions' files
	WriteProtected bool                 `json:"write_protected,omitempty"`
	WORM           bool                 `json:"worm,omitempty"`
	Cleanings      int                  `json:"cleanings,omitempty"` // of a cleaning cartridge
	Use            use                  `json:"use"`
	Loads          uint64               `json:"loads"`
	ChangeRef      uint32               `json:"change_reference"`
	Attributes     map[string]attribute `json:"attributes"` // by "partition:hex id"
}

// use is what a cartridge was used for in its life.
type use struct {
	Written     int64 `json:"written"` // bytes
	Read        int64 `json:"read"`
	WriteErrors int64 `json:"write_errors"`
	ReadErrors  int64 `json:"read_errors"`
}

type attribute struct {
	Format uint8  `json:"format"`
	Value  []byte `json:"value"`
}

func attributeKey(partition uint8, id uint16) string {
	if id != 0x080C { // volume coherency is the only host attribute that each partition has
		partition = 0
	}
	return strconv.Itoa(int(partition)) + ":" + strconv.FormatUint(0x10000|uint64(id), 16)[1:]
}

// cartridge is a loaded cartridge. It belongs to the drive that has it.
type cartridge struct {
	dir   string
	mem   memory
	parts []*partition
	log   *logrus.Entry

	// changed: the volume change reference is already new since the host has seen it.
	changed bool
	// memDirty: mem is newer than the file.
	memDirty bool
	// before is what the cartridge was used for before this load.
	before use
}

// createCartridge makes a blank cartridge with one partition. A folder that a
// crash left half made is made anew.
func createCartridge(dir string, barcode tape.Barcode, kind string, capacity int64) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return errors.WithStack(err)
	}
	m := memory{Format: cartridgeFormat, Barcode: barcode, Type: kind, Capacity: capacity, Partitions: []int64{capacity},
		Serial: "V" + string(barcode), ChangeRef: 1, Attributes: map[string]attribute{}}
	if err := m.createPartitions(dir); err != nil {
		return err
	}
	return m.save(dir)
}

// readMemory reads and checks a cartridge's memory.
func readMemory(dir string) (memory, error) {
	var m memory
	b, err := os.ReadFile(filepath.Join(dir, "memory"))
	if err != nil {
		return m, errors.WithStack(err)
	}
	if err := parseMemory(b, &m); err != nil {
		return m, errors.WithMessagef(err, "virtual: cartridge %s", dir)
	}
	return m, nil
}

func parseMemory(b []byte, m *memory) error {
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(m); err != nil {
		return errors.Wrap(err, "its memory is damaged")
	}
	if m.Format != cartridgeFormat {
		return errors.Errorf("it has format %d, this program knows %d", m.Format, cartridgeFormat)
	}
	if m.Type == cleanerType {
		if len(m.Partitions) > 0 || m.Cleanings < 0 {
			return errors.New("its memory is damaged")
		}
		return nil
	}
	if len(m.Partitions) < 1 || len(m.Partitions) > maxPartitions || m.Capacity <= 0 || m.Epoch < 0 ||
		slices.ContainsFunc(m.Partitions, func(n int64) bool { return n <= 0 }) {
		return errors.New("its memory is damaged")
	}
	if m.Attributes == nil {
		m.Attributes = map[string]attribute{}
	}
	return nil
}

// save replaces the cartridge's memory durably.
func (m *memory) save(dir string) error {
	b, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return errors.WithStack(err)
	}
	return replaceFile(filepath.Join(dir, "memory"), append(b, '\n'))
}

func (m *memory) partitionName(dir string, n int, what string) string {
	return filepath.Join(dir, strconv.Itoa(n)+"-"+strconv.Itoa(m.Epoch)+"."+what)
}

// createPartitions makes the files of all partitions of the epoch.
func (m *memory) createPartitions(dir string) error {
	for n := range m.Partitions {
		seed := binary.BigEndian.AppendUint32([]byte(m.Serial), uint32(m.Epoch)<<8|uint32(n))
		if err := createPartition(m.partitionName(dir, n, "index"), m.partitionName(dir, n, "data"), crc32.Checksum(seed, castagnoli)); err != nil {
			return err
		}
	}
	return nil
}

// openCartridge opens a cartridge for a drive.
func openCartridge(dir string, log *logrus.Entry) (*cartridge, error) {
	m, err := readMemory(dir)
	if err != nil {
		return nil, err
	}
	if m.Type == cleanerType {
		return nil, errors.New("virtual: a cleaning cartridge holds no data")
	}
	c := &cartridge{dir: dir, mem: m, before: m.Use, log: log.WithField("volume", m.Barcode)}
	if err := c.openPartitions(); err != nil {
		return nil, err
	}
	c.mem.Loads++
	c.memDirty = true
	return c, nil
}

func (c *cartridge) openPartitions() error {
	keep := map[string]bool{"memory": true}
	for n, size := range c.mem.Partitions {
		index, data := c.mem.partitionName(c.dir, n, "index"), c.mem.partitionName(c.dir, n, "data")
		p, cut, err := openPartition(index, data, size)
		if err != nil {
			c.close()
			return err
		}
		if cut > 0 {
			c.log.Warnf("partition %d: %d bytes of a write that was not finished cut off its index", n, cut)
		}
		c.parts = append(c.parts, p)
		keep[filepath.Base(index)], keep[filepath.Base(data)] = true, true
	}
	names, err := os.ReadDir(c.dir)
	if err != nil {
		c.close()
		return errors.WithStack(err)
	}
	for _, e := range names { // of an earlier format
		if ext := filepath.Ext(e.Name()); !keep[e.Name()] && (ext == ".index" || ext == ".data" || ext == ".new") {
			if err := removeFile(filepath.Join(c.dir, e.Name())); err != nil {
				c.log.WithError(err).Warn("could not remove a file of an earlier format")
			}
		}
	}
	return nil
}

// modify must be called before the tape is changed.
func (c *cartridge) modify() {
	if !c.changed {
		c.changed, c.memDirty = true, true
		c.mem.ChangeRef++
	}
}

// saveMemory writes the memory if it is newer than its file. It goes to disk
// before the tape that it speaks of: a change reference that the host has seen
// must not come again with other data.
func (c *cartridge) saveMemory() error {
	if !c.memDirty {
		return nil
	}
	if err := c.mem.save(c.dir); err != nil {
		return err
	}
	c.memDirty = false
	return nil
}

// flush puts everything that was written on the tape on disk.
func (c *cartridge) flush() error {
	if !slices.ContainsFunc(c.parts, func(p *partition) bool { return len(p.pending) > 0 }) {
		return nil // a full disk must not keep one from reading
	}
	if err := c.saveMemory(); err != nil {
		for _, p := range c.parts { // records without their change reference must not be
			p.broken = err
			p.drop()
		}
		return err
	}
	for _, p := range c.parts {
		if err := p.flush(); err != nil {
			return err
		}
	}
	return nil
}

// format erases the cartridge. The new partitions become the cartridge's by the
// replacement of its memory, so a crash leaves the old ones or the new ones.
func (c *cartridge) format(sizes []int64) error {
	next := c.mem
	next.Epoch++
	next.Partitions = sizes
	next.ChangeRef++
	next.Attributes = map[string]attribute{}
	for k, a := range c.mem.Attributes {
		if !strings.HasSuffix(k, ":080c") {
			next.Attributes[k] = a
		}
	}
	if err := next.createPartitions(c.dir); err != nil {
		return err
	}
	if err := syncDir(c.dir); err != nil {
		return err
	}
	if err := next.save(c.dir); err != nil {
		return err
	}
	c.close()
	c.mem, c.memDirty, c.changed = next, false, true
	return c.openPartitions()
}

// close ends the use of the files. What was not flushed is lost.
func (c *cartridge) close() {
	for _, p := range c.parts {
		p.close()
	}
	c.parts = nil
}
