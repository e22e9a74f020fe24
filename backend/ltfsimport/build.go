package ltfsimport

import (
	"context"
	"fmt"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// Options say how a tree is imported.
type Options struct {
	Volume catalog.VolumeNo // that the pieces are on
	Now    catalog.Time
	// UID, GID, Mode and DirMode are for entries whose owner and mode are not known. The
	// modes have permission bits only.
	UID, GID      uint32
	Mode, DirMode uint32
	// BrokenExtents: a file whose extents cannot be what they say is taken over, and reading
	// it is an error. Else it fails the import.
	BrokenExtents bool
	// Flags are those of the new inodes.
	Flags uint32
	// Begin is called in the transaction that makes the root.
	Begin func(tx *catalog.Tx, root sliver.FileID) error
	// Progress is told what has been done since it was told last.
	Progress func(files, bytes int64)
}

// Source is the volume that is imported. *ltfs.Volume is one.
type Source interface {
	Index() *ltfs.Index
	Label() ltfs.Label
	BlockSize() int
	TapePartition(ltfs.PartitionID) tape.Partition
	CanHold(ltfs.Extent) bool
}

// Result is what Build has made.
type Result struct {
	// Root is the record of the root. Its Parent is the root itself: who gives it a name
	// sets it.
	Root  catalog.Inode
	Files int64 // files and directories, the root included
	Bytes int64 // of extents, on the volume
	// Notes tell, for a person, what could not be taken over as it is: the first MaxNotes,
	// and how many there were.
	Notes     []string
	NoteCount int
}

// MaxNotes is the number of notes that a Result keeps.
const MaxNotes = 100

// Limits of a batch: one transaction.
const (
	batchSteps = 2000
	batchBytes = 4 << 20
	idsAtOnce  = 256
)

// builder makes the records of one import.
type builder struct {
	ctx context.Context
	cat *catalog.Catalog
	o   Options
	x   *ltfs.Index
	res Result

	root sliver.FileID

	label     ltfs.Label
	blockSize uint64
	partition func(ltfs.PartitionID) uint8
	canHold   func(ltfs.Extent) bool

	ids   []sliver.FileID
	steps []func(*catalog.Tx) error // of the batch
	bytes int                       // of the batch, about

	hardlinks   bool  // an entry has other names
	files, done int64 // for Progress
}

// Build makes the catalog's records of the whole tree of a volume. If it fails, what it
// has made is still there: see Remove.
func Build(ctx context.Context, cat *catalog.Catalog, src Source, o Options) (*Result, error) {
	b := &builder{
		ctx: ctx, cat: cat, o: o, x: src.Index(), label: src.Label(), blockSize: uint64(src.BlockSize()),
		partition: func(p ltfs.PartitionID) uint8 { return uint8(src.TapePartition(p)) }, canHold: src.CanHold,
	}
	if err := b.build(); err != nil {
		return nil, errors.WithMessage(err, "import the volume's tree into the catalog")
	}
	return &b.res, nil
}

func (b *builder) build() error {
	id, err := b.nextID()
	if err != nil {
		return err
	}
	b.root = id
	for _, n := range b.x.Renamed {
		b.note("an entry called %q has a name that cannot exist, or that another entry has; it is called %q", n[0], n[1])
	}
	root := b.newItem(b.x.Root, id, id, "/")
	if b.o.Begin != nil {
		b.step(64, func(tx *catalog.Tx) error { return b.o.Begin(tx, id) })
	}
	if err := b.contents(b.x.Root, &root, ""); err != nil {
		return err
	}
	if err := b.flush(); err != nil {
		return err
	}
	if b.hardlinks {
		if err := b.links(b.x.Root, id, ""); err != nil {
			return err
		}
		if err := b.flush(); err != nil {
			return err
		}
	}
	return b.cat.View(func(tx *catalog.Tx) (err error) {
		b.res.Root, err = tx.Inode(id)
		return err
	})
}

// step adds a step, of about n bytes, to the batch.
func (b *builder) step(n int, fn func(*catalog.Tx) error) {
	b.steps = append(b.steps, fn)
	b.bytes += n
}

// flushIfFull ends the batch if it is large enough. Between two calls of it a record and the
// name that leads to it must be in one batch.
func (b *builder) flushIfFull() error {
	if len(b.steps) < batchSteps && b.bytes < batchBytes {
		return nil
	}
	return b.flush()
}

func (b *builder) flush() error {
	if err := b.ctx.Err(); err != nil {
		return errors.WithStack(err)
	}
	if len(b.steps) > 0 {
		err := b.cat.Update(func(tx *catalog.Tx) error {
			for _, s := range b.steps {
				if err := s(tx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	clear(b.steps)
	b.steps, b.bytes = b.steps[:0], 0
	if b.o.Progress != nil {
		b.o.Progress(b.files, b.done)
	}
	b.files, b.done = 0, 0
	return nil
}

// nextID returns a number for a new file.
func (b *builder) nextID() (sliver.FileID, error) {
	if len(b.ids) == 0 {
		err := b.cat.Update(func(tx *catalog.Tx) error {
			b.ids = b.ids[:0]
			for range idsAtOnce {
				id, err := tx.NextFileID()
				if err != nil {
					return err
				}
				b.ids = append(b.ids, id)
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	id := b.ids[0]
	b.ids = b.ids[1:]
	return id, nil
}

// note tells what could not be taken over as it is.
func (b *builder) note(format string, args ...any) {
	b.res.NoteCount++
	if len(b.res.Notes) < MaxNotes {
		b.res.Notes = append(b.res.Notes, fmt.Sprintf(format, args...))
	}
}
