package ltfs

import (
	"context"
	"fmt"
	"strings"

	"github.com/pkg/errors"
	"sliod/tape"
)

// keyKey is the xattr of the index's root that has the id of the volume's key.
const keyKey = "sliod.key"

// mamKey is the attribute of the cartridge's memory that has it, of those that are left to hosts
// (SPC-5, 1400h to 17FFh): the volume's UUID, a space, the id.
const mamKey = 0x1580

// KeySource finds keys by their ids. Asked for "" it gives the key that new data are to be
// written with: nil if that is in clear. An id that it does not know is an error that says
// what to configure; it never says a key.
type KeySource func(id string) (*tape.EncryptionKey, error)

// KeyError says that a volume is encrypted, and cannot be read with the keys that there are.
type KeyError struct {
	Volume tape.Barcode // "" if its label cannot be read
	ID     string       // of the key; "" if the volume does not tell
	Wrong  bool         // there is a key of that id, and it is another
	Err    error        // why there is none, or what the drive said
}

func (e *KeyError) Error() string {
	volume, key := "the volume", "a key without an id"
	if e.Volume != "" {
		volume = "volume " + string(e.Volume)
	}
	if e.ID != "" {
		key = fmt.Sprintf("key %q", e.ID)
	}
	if e.Wrong {
		return fmt.Sprintf("%s is encrypted with %s, and what is configured under that id is another key: put the key there that the volume was written with: %v", volume, key, e.Err)
	}
	return fmt.Sprintf("%s is encrypted with %s, which cannot be had: %v", volume, key, e.Err)
}

// Unwrap returns the cause.
func (e *KeyError) Unwrap() error { return e.Err }

// KeyID returns the id of the key that the volume is encrypted with, "" if it is in clear.
func (v *Volume) KeyID() string {
	if v.key == nil {
		return ""
	}
	return v.key.ID
}

// Refusal says why the volume is only read, though its medium can be written: its encryption is
// not what its pool writes with now. It is an ErrKeyPolicy, or nil.
func (v *Volume) Refusal() error {
	has := func(k *tape.EncryptionKey) string {
		if k == nil {
			return "not encrypted"
		}
		return fmt.Sprintf("encrypted with %v", k)
	}
	switch {
	case v.keys == nil && v.key == nil:
		return nil
	case v.wantErr != nil:
		return errors.Wrapf(ErrKeyPolicy, "volume %s is %s, and the key to write with cannot be had: %v", v.barcode, has(v.key), v.wantErr)
	case (v.want == nil) == (v.key == nil) && (v.key == nil || v.key.ID == v.want.ID):
		return nil
	}
	return errors.Wrapf(ErrKeyPolicy, "volume %s is %s, and its pool's data are %s now", v.barcode, has(v.key), has(v.want))
}

// beginKeys is the first step of a mount: it turns off what an earlier user of the drive has set, and
// learns what the volume is written with, if it is.
func (v *Volume) beginKeys(ctx context.Context, source KeySource) error {
	v.keys = source
	if source != nil {
		v.want, v.wantErr = source("")
	}
	return errors.WithMessage(v.d.SetKey(ctx, nil), "turn off the drive's encryption")
}

// keyFromMemory sets the key that the cartridge's memory names.
func (v *Volume) keyFromMemory(ctx context.Context) error {
	if !v.d.Limits().HasMAM || v.key != nil {
		return nil
	}
	b, err := v.d.ReadAttribute(ctx, 0, mamKey)
	if err != nil {
		return v.mamError(err)
	}
	uuid, id, ok := strings.Cut(strings.TrimRight(string(b), " \x00"), " ")
	if !ok || !strings.EqualFold(uuid, v.label.UUID) || id == "" {
		return nil // of another volume, that was on this cartridge before
	}
	return v.useKey(ctx, id)
}

// useKey gives the drive the key with an id.
func (v *Volume) useKey(ctx context.Context, id string) error {
	k, err := v.findKey(id)
	if err == nil {
		err = v.d.SetKey(ctx, k)
		if err != nil && tape.KindOf(err) != tape.IllegalRequest {
			return err // of the drive, or the way to it
		}
	}
	if err != nil {
		return errors.WithStack(&KeyError{Volume: v.barcode, ID: id, Err: err})
	}
	v.key = k
	return nil
}

func (v *Volume) findKey(id string) (*tape.EncryptionKey, error) {
	switch {
	case !v.d.Limits().HasEncryption:
		return nil, errors.Errorf("drive %s cannot decrypt: use a drive that can", v.d.Serial())
	case v.keys == nil:
		return nil, errors.New("no keys are configured")
	case id == "" && v.want == nil:
		return nil, errors.New("no key is configured to try")
	case id == "":
		return v.want, nil
	}
	k, err := v.keys(id)
	if err == nil && k == nil {
		err = errors.New("no such key is configured")
	}
	return k, err
}

// unlocked does a step of the mount. If that meets an encrypted record, the drive is asked for the
// id of its key, and the step is done again with the key.
func (v *Volume) unlocked(ctx context.Context, step func(context.Context) error) error {
	err := step(ctx)
	if tape.KindOf(err) != tape.WrongKey {
		return err
	}
	if v.key == nil {
		id := ""
		if v.d.Limits().HasEncryption {
			var kerr error
			if id, _, kerr = v.d.BlockKey(ctx); kerr != nil {
				return kerr
			}
		}
		if err := v.useKey(ctx, id); err != nil {
			return err
		}
		v.posKnown, v.recOK = false, false
		if err = step(ctx); tape.KindOf(err) != tape.WrongKey {
			return err
		}
	}
	return errors.WithStack(&KeyError{Volume: v.barcode, ID: v.key.ID, Wrong: true, Err: err})
}

// Unlock finds the key of the volume in d, as Mount does, and sets it: for those who
// read the medium themselves. A medium that Mount would refuse is not an error, unless it is for
// the key.
func Unlock(ctx context.Context, d tape.Drive, o MountOptions) error {
	v := newVolume(d, o.Log, o.Creator)
	if err := v.beginKeys(ctx, o.Key); err != nil {
		return err
	}
	err := v.unlocked(ctx, v.readLabels)
	if err == nil {
		err = v.keyFromMemory(ctx)
	}
	if err == nil && v.key == nil && d.Limits().HasEncryption {
		// The first record behind the label and its filemarks; there may be none.
		if err = v.seek(ctx, tape.Position{Partition: v.dp, Block: labelBlocks + 1}); err == nil {
			var id string
			var encrypted bool
			if id, encrypted, err = d.BlockKey(ctx); err == nil && encrypted {
				err = v.useKey(ctx, id)
			}
		}
	}
	var ke *KeyError
	if err != nil && !errors.As(err, &ke) && (errors.Is(err, ErrNotLTFS) || errors.Is(err, ErrInconsistent) || blames(err)) {
		return nil
	}
	return errors.WithMessagef(err, "find the key of the volume in drive %s", d.Serial())
}

// writeKeyID puts the id of the volume's key in the cartridge's memory.
func (v *Volume) writeKeyID(ctx context.Context) error {
	if v.key == nil || !v.d.Limits().HasMAM {
		return nil
	}
	if err := v.d.WriteAttribute(ctx, 0, mamKey, tape.AttrASCII, []byte(v.label.UUID+" "+v.key.ID)); err != nil {
		return v.mamError(err)
	}
	return nil
}

// nameKey has the index say which key the volume has.
func (v *Volume) nameKey() {
	if v.key != nil {
		v.index.Root.SetXattr(keyKey, []byte(v.key.ID))
	} else {
		v.index.Root.DeleteXattr(keyKey)
	}
}
