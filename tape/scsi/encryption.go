package scsi

import (
	"bytes"
	"context"
	"slices"

	"github.com/pkg/errors"

	"sliod/tape"
)

// keyBytes is the length of a key of AES-256.
const keyBytes = 32

// allHosts is the scope of the keys that are set: for every way to the drive, as LTFS and
// stenc do it.
const allHosts = 2

// learnEncryption finds out whether the drive encrypts this medium by AES-256-GCM with a
// key that hosts can set.
func (d *Drive) learnEncryption(ctx context.Context) error {
	buf := make([]byte, 1024)
	n, err := d.patient(ctx, call{op: "encryption capabilities", block: SecurityIn{ProtocolEncryption, PageEncryptionCapabilities, uint32(len(buf))}, dir: In, data: buf, timeout: d.times.Short})
	if err != nil {
		_, err := d.lacking(err)
		return err
	}
	c, err := ParseEncryptionCapabilities(buf[:n])
	if err != nil {
		d.log.WithError(err).Warn("the drive's encryption capabilities make no sense: it is not used for encryption")
		return nil
	}
	i := slices.IndexFunc(c.Algorithms, func(a Algorithm) bool {
		return a.Code == AlgorithmAES256GCM && a.KeyLength == keyBytes && a.Usable && a.Encrypt != 0 && a.Decrypt != 0
	})
	switch {
	case i < 0:
	case c.Config == 2:
		d.log.Info("the drive lets no host set keys: its encryption is managed by the library, or turned off")
	default:
		d.algorithm, d.limits.HasEncryption = &c.Algorithms[i], true
	}
	return nil
}

// SetKey implements tape.Drive. The drive is asked afterwards whether it took the key. If
// that fails, nothing is read or written until the key is set: every command tries
// again to set it first.
func (d *Drive) SetKey(ctx context.Context, k *tape.EncryptionKey) error {
	const op = "set key"
	switch {
	case !d.loaded:
		return d.notLoaded(op)
	case d.algorithm == nil && k == nil:
		return nil
	case d.algorithm == nil:
		return d.place(d.fail(op, tape.IllegalRequest, nil, errors.Errorf("drive %s cannot encrypt this medium by AES-256-GCM", d.serial)))
	}
	if k != nil {
		if err := k.Check(); err != nil {
			return d.place(d.fail(op, tape.IllegalRequest, nil, err))
		}
		if _, err := d.keyData(k.ID); err != nil {
			return d.place(err)
		}
		own := *k
		k = &own
	}
	if d.keyTold && d.lost == 0 && (k == nil) == (d.key == nil) && (k == nil || *k == *d.key) {
		return nil
	}
	d.key, d.keyTold = k, true
	if err := d.applyKey(ctx); err != nil {
		d.mustSetAgain()
		return d.place(err)
	}
	return nil
}

// mustSetAgain has the next command make the drive's settings before it is sent.
func (d *Drive) mustSetAgain() {
	if d.lost == 0 {
		d.lost = CodeModeChanged
	}
}

// keyData is how the id of a key goes with it: authenticated, if it fits.
func (d *Drive) keyData(id string) (KeyData, error) {
	a := d.algorithm
	k := KeyData{Type: AuthenticatedData, Data: []byte(id)}
	room, fixed := int(a.MaxA), a.AFixed
	if len(id) > room {
		k.Type, room, fixed = UnauthenticatedData, int(a.MaxU), a.UFixed
	}
	if len(id) > room {
		return k, d.fail("set key", tape.IllegalRequest, nil, errors.Errorf("the id %q of the key is too long: drive %s takes %d bytes", id, d.serial, max(a.MaxA, a.MaxU)))
	}
	if fixed {
		k.Data = append(k.Data, make([]byte, room-len(id))...)
	}
	return k, nil
}

// keyName is the id that comes with a record or a key.
func keyName(ks []KeyData) string {
	for _, t := range []KeyDataType{AuthenticatedData, UnauthenticatedData} {
		for _, k := range ks {
			if k.Type == t && len(k.Data) > 0 {
				return string(bytes.TrimRight(k.Data, "\x00"))
			}
		}
	}
	return ""
}

// applyKey sets the drive's encryption to what SetKey was told, if it was, and sees whether it
// is so.
func (d *Drive) applyKey(ctx context.Context) error {
	if !d.keyTold || d.algorithm == nil {
		return nil
	}
	if d.key == nil {
		if st, err := d.encryption(ctx); err != nil || st.Encrypt == EncryptOff && st.Decrypt == DecryptOff {
			return err
		}
	}
	page := SetEncryption{Scope: allHosts, Algorithm: d.algorithm.Index}
	if d.key != nil {
		data, err := d.keyData(d.key.ID)
		if err != nil {
			return err
		}
		page.OnUnload, page.Encrypt, page.Decrypt, page.Key, page.Data = true, EncryptOn, DecryptMixed, d.key.Key[:], []KeyData{data}
	}
	err := d.sendKey(ctx, page)
	if s, ok := senseOf(err); ok && s.Key == IllegalKey && !s.Deferred && page.OnUnload {
		page.OnUnload = false // some drives forget the key at unload without being told, and know no such bit
		err = d.sendKey(ctx, page)
	}
	if err != nil {
		return explain(err, "drive %s did not take %v", d.serial, d.key)
	}
	st, err := d.encryption(ctx)
	if err != nil {
		return err
	}
	name := keyName(st.Data)
	if st.Encrypt != page.Encrypt || st.Decrypt != page.Decrypt || d.key != nil && name != "" && name != d.key.ID {
		return d.fail("set key", tape.HardwareError, nil, errors.Errorf("drive %s was given %v, and says that it encrypts in mode %d and decrypts in mode %d with key %q: does another host or the library set keys?",
			d.serial, d.key, st.Encrypt, st.Decrypt, name))
	}
	return nil
}

// sendKey sends a page with a key, and leaves no copy of it.
func (d *Drive) sendKey(ctx context.Context, page SetEncryption) error {
	data := page.Bytes()
	defer clear(data)
	_, err := d.patient(ctx, call{op: "set key", block: SecurityOut{ProtocolEncryption, PageSetEncryption, uint32(len(data))}, dir: Out, data: data, timeout: d.times.Short})
	return err
}

// encryption asks for the drive's encryption status.
func (d *Drive) encryption(ctx context.Context) (EncryptionStatus, error) {
	buf := make([]byte, 1024)
	n, err := d.patient(ctx, call{op: "encryption status", block: SecurityIn{ProtocolEncryption, PageEncryptionStatus, uint32(len(buf))}, dir: In, data: buf, timeout: d.times.Short})
	if err != nil {
		return EncryptionStatus{}, err
	}
	st, err := ParseEncryptionStatus(buf[:n])
	if err != nil {
		return st, d.fail("encryption status", tape.HardwareError, nil, err)
	}
	return st, nil
}

// dropKey takes the key out of the drive when the use of the medium ends: whoever uses the
// drive next shall not have it. A drive that does not let it go is no reason to keep the
// cartridge.
func (d *Drive) dropKey(ctx context.Context) {
	if !d.loaded || d.key == nil {
		return
	}
	d.key = nil
	if err := d.applyKey(ctx); err != nil {
		d.mustSetAgain()
		d.log.WithError(err).Warn("the drive's key could not be cleared before the use of the medium ended")
	}
}

// BlockKey implements tape.Drive.
func (d *Drive) BlockKey(ctx context.Context) (id string, encrypted bool, err error) {
	const op = "next block's encryption"
	if d.algorithm == nil {
		return "", false, d.place(d.fail(op, tape.IllegalRequest, nil, errors.Errorf("drive %s does not tell whether records are encrypted", d.serial)))
	}
	buf := make([]byte, 1024)
	n, err := d.ask(ctx, call{op: op, block: SecurityIn{ProtocolEncryption, PageNextBlockStatus, uint32(len(buf))}, dir: In, data: buf, timeout: d.times.Short})
	if err != nil {
		return "", false, err
	}
	b, err := ParseNextBlock(buf[:n])
	if err != nil {
		return "", false, d.place(d.fail(op, tape.HardwareError, nil, err))
	}
	switch b.Status {
	case BlockUnsupported, BlockReadable, BlockLocked:
		return keyName(b.Data), true, nil
	}
	return "", false, nil
}
