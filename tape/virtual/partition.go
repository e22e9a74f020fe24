package virtual

import (
	"encoding/binary"
	stderrors "errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/pkg/errors"
)

// Sizes and limits of a partition's files; docs/virtual-library.md draws them.
const (
	indexMagic  = "SLVTIDX1"
	indexHeader = 32
	entrySize   = 32
	// maxPending bounds the entries kept in memory between flushes: 2 MiB, or 32 GiB
	// of records of 512 KiB.
	maxPending = 65536
	// filemarkSize is what a filemark takes of the capacity.
	filemarkSize = 512
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errUnreadable: the record is not what was written.
var errUnreadable = stderrors.New("virtual: the record's checksum does not match")

type entryKind uint8

const (
	recordEntry   entryKind = 1
	filemarkEntry entryKind = 2
)

// entry describes one object, a record or a filemark.
type entry struct {
	kind   entryKind
	length uint32
	offset int64  // of the record in the data file; of a filemark: where the next record begins
	marks  uint32 // filemarks before it in the partition
	sum    uint32 // CRC-32C of the record, as it lies in the data file
	// overhead is how many bytes of length an encrypted record takes more than its content;
	// 0: it is in clear.
	overhead uint16
}

func (e entry) end() int64 { return e.offset + int64(e.length) }

// marksAfter counts the filemarks up to and with e.
func (e entry) marksAfter() uint32 {
	if e.kind == filemarkEntry {
		return e.marks + 1
	}
	return e.marks
}

// put encodes e into b. Its check goes over the check of the entry before, so
// that an entry is valid only behind the one that it was written behind.
func (e entry) put(b []byte, before uint32) (check uint32) {
	clear(b[:entrySize])
	b[0] = byte(e.kind)
	binary.BigEndian.PutUint16(b[2:], e.overhead)
	binary.BigEndian.PutUint32(b[4:], e.length)
	binary.BigEndian.PutUint64(b[8:], uint64(e.offset))
	binary.BigEndian.PutUint32(b[16:], e.marks)
	binary.BigEndian.PutUint32(b[20:], e.sum)
	binary.BigEndian.PutUint32(b[24:], before)
	check = crc32.Checksum(b[:28], castagnoli)
	binary.BigEndian.PutUint32(b[28:], check)
	return check
}

// parseEntry decodes an entry. ok is false if it is torn.
func parseEntry(b []byte) (e entry, before, check uint32, ok bool) {
	check = binary.BigEndian.Uint32(b[28:])
	if crc32.Checksum(b[:28], castagnoli) != check {
		return e, 0, 0, false
	}
	e = entry{entryKind(b[0]), binary.BigEndian.Uint32(b[4:]), int64(binary.BigEndian.Uint64(b[8:])),
		binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[20:]), binary.BigEndian.Uint16(b[2:])}
	ok = e.offset >= 0 && uint32(e.overhead) <= e.length && (e.kind == recordEntry || e.kind == filemarkEntry && e.length == 0)
	return e, binary.BigEndian.Uint32(b[24:]), check, ok
}

// partition is one partition of a loaded cartridge: a file of records, one
// behind the other, and a file of 32-byte entries that describe them. Entries
// go to the index only after the records they describe are on disk; so what
// the index says is true, and what it does not say has not happened.
//
// It belongs to the drive that has it loaded.
type partition struct {
	index, data *file
	capacity    int64
	seed        uint32 // the check "before" the first entry

	synced    int64   // entries in the index
	check     uint32  // of the last of them
	pending   []entry // behind them, in memory until the next flush
	end       int64   // where the next record goes in the data file
	marks     uint32  // filemarks in all
	dataDirty bool
	broken    error // a flush failed: what is on disk is not known, and no write is taken
	buf       []byte
}

// createPartition makes the files of an empty partition, durably but for the
// directory.
func createPartition(indexName, dataName string, seed uint32) error {
	head := make([]byte, indexHeader)
	copy(head, indexMagic)
	binary.BigEndian.PutUint32(head[8:], seed)
	binary.BigEndian.PutUint32(head[28:], crc32.Checksum(head[:28], castagnoli))
	for name, b := range map[string][]byte{indexName: head, dataName: nil} {
		f, err := createFile(name)
		if err != nil {
			return errors.WithStack(err)
		}
		_, err = f.WriteAt(b, 0)
		if err = stderrors.Join(err, f.Sync(), f.Close()); err != nil {
			return errors.Wrapf(err, "virtual: creating %s", name)
		}
	}
	return nil
}

// openPartition opens a partition's files and cuts off a torn tail of the index, and
// of the data what the index does not name. cut is how many bytes of the index
// went.
func openPartition(indexName, dataName string, capacity int64) (p *partition, cut int64, err error) {
	p = &partition{capacity: capacity, buf: make([]byte, entrySize)}
	opened := p
	defer func() {
		if err != nil {
			opened.close()
		}
	}()
	if p.index, err = openFile(indexName); err != nil {
		return nil, 0, errors.WithStack(err)
	}
	if p.data, err = openFile(dataName); err != nil {
		return nil, 0, errors.WithStack(err)
	}
	if p.seed, p.synced, p.check, err = scan(p.index); err != nil {
		return nil, 0, errors.WithMessagef(err, "%s", indexName)
	}
	size, err := p.index.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, 0, errors.WithStack(err)
	}
	if cut = size - indexHeader - p.synced*entrySize; cut > 0 {
		if err := p.cutIndex(p.synced); err != nil {
			return nil, 0, err
		}
	}
	if p.synced > 0 {
		last, err := p.entry(p.synced - 1)
		if err != nil {
			return nil, 0, err
		}
		p.end, p.marks = last.end(), last.marksAfter()
	}
	st, err := p.data.Stat()
	if err != nil {
		return nil, 0, errors.WithStack(err)
	}
	if st.Size() > p.end {
		if err := p.data.Truncate(p.end); err != nil {
			return nil, 0, errors.WithStack(err)
		}
	}
	return p, cut, nil
}

// scan reads an index from its beginning and returns how many entries are valid, and
// the check of the last. Only a damaged header is an error.
func scan(r io.ReaderAt) (seed uint32, n int64, check uint32, err error) {
	head := make([]byte, indexHeader)
	if _, err := r.ReadAt(head, 0); err != nil && err != io.EOF {
		return 0, 0, 0, errors.WithStack(err)
	}
	if string(head[:8]) != indexMagic || crc32.Checksum(head[:28], castagnoli) != binary.BigEndian.Uint32(head[28:]) {
		return 0, 0, 0, errors.New("virtual: not a partition index of this version, or its header is damaged")
	}
	seed = binary.BigEndian.Uint32(head[8:])
	check = seed
	var end int64
	var marks uint32
	buf := make([]byte, entrySize*8192)
	for {
		got, rerr := r.ReadAt(buf, indexHeader+n*entrySize)
		if rerr != nil && rerr != io.EOF {
			return 0, 0, 0, errors.WithStack(rerr)
		}
		for b := buf[:got]; len(b) >= entrySize; b = b[entrySize:] {
			e, before, sum, ok := parseEntry(b[:entrySize])
			if !ok || before != check || e.offset != end || e.marks != marks {
				return seed, n, check, nil
			}
			n, check, end, marks = n+1, sum, e.end(), e.marksAfter()
		}
		if got < len(buf) {
			return seed, n, check, nil
		}
	}
}

func (p *partition) close() {
	for _, f := range []*file{p.index, p.data} {
		if f != nil {
			f.Close()
		}
	}
}

// count is the number of objects: the block number of the end of data.
func (p *partition) count() int64 { return p.synced + int64(len(p.pending)) }

// entry returns object n, which must be below count.
func (p *partition) entry(n int64) (entry, error) {
	if n >= p.synced {
		return p.pending[n-p.synced], nil
	}
	b := p.buf[:entrySize]
	if _, err := p.index.ReadAt(b, indexHeader+n*entrySize); err != nil {
		return entry{}, errors.Wrapf(err, "virtual: reading entry %d", n)
	}
	e, _, _, ok := parseEntry(b)
	if !ok {
		return entry{}, errors.WithStack(errUnreadable)
	}
	return e, nil
}

// at returns the byte offset in the data, and the filemarks, before object n, which may
// be count.
func (p *partition) at(n int64) (offset int64, marks uint32, err error) {
	if n >= p.count() {
		return p.end, p.marks, nil
	}
	e, err := p.entry(n)
	return e.offset, e.marks, err
}

// used is how much of the capacity the objects before n take.
func (p *partition) used(n int64) (int64, error) {
	offset, marks, err := p.at(n)
	return offset + int64(marks)*filemarkSize, err
}

// read reads the beginning of record e into b, which may be shorter. Only a
// whole record can be checked; so a shorter b costs another buffer.
func (p *partition) read(e entry, b []byte) error {
	whole := b
	if len(b) < int(e.length) {
		whole = make([]byte, e.length)
	}
	whole = whole[:e.length]
	if _, err := p.data.ReadAt(whole, e.offset); err != nil {
		if err == io.EOF {
			return errors.WithMessage(errUnreadable, "the data file is too short")
		}
		return errors.WithStack(err)
	}
	if crc32.Checksum(whole, castagnoli) != e.sum {
		return errors.WithStack(errUnreadable)
	}
	if len(b) < int(e.length) {
		copy(b, whole)
	}
	return nil
}

// truncate makes n the end of data. It is on disk before anything is written
// over what was there: an old entry never describes new bytes.
func (p *partition) truncate(n int64) error {
	if n >= p.count() {
		return nil
	}
	if p.broken != nil {
		return p.broken
	}
	offset, marks, err := p.at(n)
	if err != nil {
		return err
	}
	if n >= p.synced {
		p.pending = p.pending[:n-p.synced]
	} else {
		if err := p.cutIndex(n); err != nil {
			p.broken = err
			return err
		}
		p.pending = p.pending[:0]
	}
	p.end, p.marks = offset, marks
	return errors.WithStack(p.data.Truncate(p.end))
}

// cutIndex shortens the index to n entries, durably.
func (p *partition) cutIndex(n int64) error {
	check := p.seed
	if n > 0 {
		b := p.buf[:entrySize]
		if _, err := p.index.ReadAt(b, indexHeader+(n-1)*entrySize); err != nil {
			return errors.WithStack(err)
		}
		check = binary.BigEndian.Uint32(b[28:])
	}
	if err := p.index.Truncate(indexHeader + n*entrySize); err != nil {
		return errors.WithStack(err)
	}
	if err := p.index.Sync(); err != nil { // a shorter size is not fdatasync's business everywhere
		return errors.WithStack(err)
	}
	p.synced, p.check = n, check
	return nil
}

// appendRecord adds a record, whose CRC-32C is sum, at the end of data. It is on disk after flush. overhead is as in entry.
func (p *partition) appendRecord(b []byte, sum uint32, overhead int) error {
	if p.broken != nil {
		return p.broken
	}
	if len(p.pending) >= maxPending {
		if err := p.flush(); err != nil {
			return err
		}
	}
	if _, err := p.data.WriteAt(b, p.end); err != nil {
		return errors.WithStack(err)
	}
	p.dataDirty = true
	p.pending = append(p.pending, entry{recordEntry, uint32(len(b)), p.end, p.marks, sum, uint16(overhead)})
	p.end += int64(len(b))
	return nil
}

// mark adds a filemark.
func (p *partition) mark() error {
	if p.broken != nil {
		return p.broken
	}
	p.pending = append(p.pending, entry{kind: filemarkEntry, offset: p.end, marks: p.marks})
	p.marks++
	return nil
}

// flush puts all on disk: first the records, then the entries that name them.
func (p *partition) flush() error {
	if len(p.pending) == 0 {
		return nil
	}
	if err := p.write(); err != nil {
		p.broken = errors.WithMessage(err, "virtual: flush")
		p.drop()
		return p.broken
	}
	return nil
}

// drop forgets what is not on disk, after that was told to the host: what is
// can still be read.
func (p *partition) drop() {
	if len(p.pending) > 0 {
		p.end, p.marks, p.pending = p.pending[0].offset, p.pending[0].marks, nil
	}
}

func (p *partition) write() error {
	if p.dataDirty {
		if err := p.data.Datasync(); err != nil {
			return errors.Wrapf(err, "fdatasync %s", p.data.Name())
		}
		p.dataDirty = false
	}
	b := make([]byte, len(p.pending)*entrySize)
	check := p.check
	for i, e := range p.pending {
		check = e.put(b[i*entrySize:], check)
	}
	if _, err := p.index.WriteAt(b, indexHeader+p.synced*entrySize); err != nil {
		return errors.WithStack(err)
	}
	if err := p.index.Datasync(); err != nil {
		return errors.Wrapf(err, "fdatasync %s", p.index.Name())
	}
	p.synced, p.check, p.pending = p.synced+int64(len(p.pending)), check, p.pending[:0]
	return nil
}

// afterMarks finds the smallest block number that has at least marks filemarks
// before it; ok is false if there are not so many.
func (p *partition) afterMarks(marks uint32) (int64, bool, error) {
	if marks > p.marks {
		return 0, false, nil
	}
	lo, hi := int64(0), p.count()
	for lo < hi {
		mid := lo + (hi-lo)/2
		_, m, err := p.at(mid)
		if err != nil {
			return 0, false, err
		}
		if m >= marks {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo, true, nil
}

func (k entryKind) String() string {
	switch k {
	case recordEntry:
		return "record"
	case filemarkEntry:
		return "filemark"
	}
	return fmt.Sprintf("entry(%d)", uint8(k))
}
