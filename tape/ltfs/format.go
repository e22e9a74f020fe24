package ltfs

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
	"sliod/tape"
)

// DefaultBlockSize is the record size that interchanges best.
const DefaultBlockSize = 512 << 10

// FormatOptions are the options of Format.
type FormatOptions struct {
	Barcode    tape.Barcode // at least six of A-Z and 0-9; the first six are the volume serial
	BlockSize  int          // bytes; 0: DefaultBlockSize
	Creator    string       // "": the constant Creator
	VolumeName string       // for people
	UUID       string       // "": a random one
	// Root are xattrs of the root directory in the first index: what SetArchive and
	// SetRemoved note. nil: none.
	Root func(*Index)
	// OnePartition makes one partition even on a medium that could have two.
	OnePartition bool
	Log          *logrus.Entry
	// Key, if not nil, is asked for "": the key that the volume is encrypted with, but for its labels.
	Key KeySource
	// Pool is the name of the volume's pool, for attribute 0808h and for errors.
	Pool string
	// Erased, if not nil, is called when nothing is on the medium any longer and nothing of the new volume yet.
	// Who keeps a record of UUIDs writes the new one down here: at any moment the medium is either what the old
	// record says, or blank, or has the UUID of the new one.
	Erased func() error
}

// Format erases the medium in d and makes an empty LTFS volume of it: labels,
// first indexes, the cartridge's memory. On a medium that cannot be partitioned
// the volume has one partition, a form that only SLIOD reads. A crash in between
// leaves a medium that Mount calls ErrNotLTFS or ErrInconsistent: format again.
func Format(ctx context.Context, d tape.Drive, o FormatOptions) error {
	if err := format(ctx, d, o); err != nil {
		return errors.WithMessagef(err, "format volume %q in drive %s", o.Barcode, d.Serial())
	}
	return nil
}

func format(ctx context.Context, d tape.Drive, o FormatOptions) error {
	lim := d.Limits()
	if o.BlockSize == 0 {
		o.BlockSize = DefaultBlockSize
		if lim.MaxBlock > 0 {
			o.BlockSize = min(o.BlockSize, lim.MaxBlock)
		}
	}
	serial, err := volumeSerial(o.Barcode)
	if err != nil {
		return err
	}
	switch {
	case lim.WriteProtected:
		return errors.WithStack(&tape.Error{Op: "format", Volume: o.Barcode, Drive: d.Serial(), Kind: tape.WriteProtected})
	case o.BlockSize < minBlockSize || o.BlockSize > maxBlockSize || lim.MaxBlock > 0 && o.BlockSize > lim.MaxBlock:
		return errors.Errorf("block size %d: it must be from %d to %d bytes (the drive's limit is %d)", o.BlockSize, minBlockSize, maxBlockSize, lim.MaxBlock)
	}
	if o.UUID == "" {
		o.UUID = newUUID()
	}
	v := newVolume(d, o.Log, o.Creator)
	v.barcode, v.pool = o.Barcode, o.Pool
	if err := v.beginKeys(ctx, o.Key); err != nil {
		return err
	}
	switch {
	case v.wantErr != nil:
		return errors.Wrap(ErrNoKey, v.wantErr.Error())
	case v.want != nil && !lim.HasEncryption:
		return errors.WithStack(&tape.Error{Op: "format", Volume: o.Barcode, Drive: d.Serial(), Kind: tape.IllegalRequest, Err: errors.WithMessagef(ErrCannotEncrypt,
			"drive %s cannot encrypt; pool %q wants it (encryption = \"on\", %v)", d.Serial(), o.Pool, v.want)})
	}
	v.blockSize = o.BlockSize
	v.label = &Label{Version: FormatVersion, Creator: v.creator, FormatTime: now(), UUID: strings.ToLower(o.UUID),
		Index: 'a', Data: 'b', BlockSize: uint32(o.BlockSize), Compression: true}
	partitions := 2
	v.ip, v.dp = 0, 1
	if lim.Partitions < 2 || o.OnePartition {
		partitions, v.dp, v.label.Data = 1, 0, 'a'
	}
	if err := d.Format(ctx, partitions); err != nil {
		return errors.WithMessagef(err, "make %d partitions", partitions)
	}
	if o.Erased != nil {
		if err := o.Erased(); err != nil {
			return err
		}
	}
	for _, p := range v.partitions() {
		l := *v.label
		l.Location = PartitionID('a' + p)
		if err := v.seek(ctx, tape.Position{Partition: p}); err != nil {
			return err
		}
		for _, rec := range [][]byte{encodeVOL1(serial), nil, l.Encode(), nil} {
			if err := v.write(ctx, rec); err != nil {
				return errors.WithMessagef(err, "write the label of partition %d", p)
			}
		}
	}
	v.label.Location = 'a'
	if v.want != nil { // all but the labels
		if err := d.SetKey(ctx, v.want); err != nil {
			return errors.WithMessagef(err, "have pool %q encrypted", o.Pool)
		}
		v.key = v.want
	}
	v.index = NewIndex(v.label.UUID, v.label.FormatTime)
	v.index.Root.Name = o.VolumeName
	if o.Root != nil {
		o.Root(v.index)
	}
	v.end, v.endKnown = labelBlocks, true
	if err := v.writeIdentity(ctx, string(o.Barcode), o.VolumeName); err != nil {
		return err
	}
	if err := v.writeKeyID(ctx); err != nil {
		return err
	}
	return v.writeIndexes(ctx)
}

// volumeSerial returns the six characters that stand in VOL1.
func volumeSerial(b tape.Barcode) (string, error) {
	if len(b) < 6 || len(b) > 32 {
		return "", errors.Errorf("barcode %q: an LTFS volume needs at least 6 characters, of which the first 6 are its serial", b)
	}
	for _, c := range []byte(b) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return "", errors.Errorf("barcode %q: only A to Z and 0 to 9 are allowed", b)
		}
	}
	return string(b[:6]), nil
}

// newUUID returns a random UUID (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (package documentation)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
