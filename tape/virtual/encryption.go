package virtual

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"slices"

	"github.com/pkg/errors"

	"sliod/tape/scsi"
)

// What the drives say of their only algorithm, as IBM's do.
const (
	algorithmIndex = 1
	maxUKAD        = 32
	maxAKAD        = 60
)

// A sealed record lies in the data file as
//
//	nonce (12) | length of A-KAD (1) | length of U-KAD (1) | A-KAD | U-KAD | AES-256-GCM of the record | tag (16)
//
// with nonce, lengths and A-KAD authenticated. The nonce is random.
const (
	nonceSize  = 12
	tagSize    = 16
	sealHeader = nonceSize + 2
)

// Sense codes of encryption.
const (
	codeCannotDecrypt scsi.Code = 0x7401
	codeNotEncrypted  scsi.Code = 0x7402
	codeIncorrectKey  scsi.Code = 0x7403
)

// crypt is a drive's encryption. The zero value is off. It is gone after a reset and an
// unload.
type crypt struct {
	encrypt scsi.EncryptionMode
	decrypt scsi.DecryptionMode
	aead    cipher.AEAD // nil: no key
	data    []scsi.KeyData
}

func (c *crypt) kad(t scsi.KeyDataType) []byte {
	for _, k := range c.data {
		if k.Type == t {
			return k.Data
		}
	}
	return nil
}

// overhead is how many bytes a record takes more when it is sealed.
func (c *crypt) overhead() int {
	if c.encrypt != scsi.EncryptOn {
		return 0
	}
	return sealHeader + len(c.kad(scsi.AuthenticatedData)) + len(c.kad(scsi.UnauthenticatedData)) + tagSize
}

// seal encrypts a record.
func (c *crypt) seal(record []byte) []byte {
	a, u := c.kad(scsi.AuthenticatedData), c.kad(scsi.UnauthenticatedData)
	b := make([]byte, nonceSize, len(record)+c.overhead())
	_, _ = rand.Read(b) // never fails
	b = append(b, byte(len(a)), byte(len(u)))
	b = append(append(b, a...), u...)
	return c.aead.Seal(b, b[:nonceSize], record, b[:sealHeader+len(a)])
}

// sealed is a record as it lies in the data file.
type sealed struct {
	nonce, authenticated, text []byte
	data                       []scsi.KeyData
}

func parseSealed(b []byte) (s sealed, err error) {
	if len(b) < sealHeader {
		return s, errors.WithMessage(errUnreadable, "an encrypted record without its header")
	}
	a, u := int(b[nonceSize]), int(b[nonceSize+1])
	if len(b) < sealHeader+a+u+tagSize {
		return s, errors.WithMessage(errUnreadable, "an encrypted record without its tag")
	}
	s.nonce, s.authenticated, s.text = b[:nonceSize], b[:sealHeader+a], b[sealHeader+a+u:]
	if u > 0 {
		s.data = append(s.data, scsi.KeyData{Type: scsi.UnauthenticatedData, Data: b[sealHeader+a : sealHeader+a+u]})
	}
	if a > 0 {
		s.data = append(s.data, scsi.KeyData{Type: scsi.AuthenticatedData, Authenticated: 1, Data: b[sealHeader : sealHeader+a]})
	}
	return s, nil
}

// readable says why a record must not be read in the mode that is set.
func (c *crypt) readable(e entry) *scsi.Sense {
	switch {
	case e.overhead > 0 && c.decrypt == scsi.DecryptOff:
		return sense(scsi.ProtectKey, codeCannotDecrypt)
	case e.overhead == 0 && c.decrypt == scsi.DecryptOn:
		return sense(scsi.ProtectKey, codeNotEncrypted)
	}
	return nil
}

// unseal reads and decrypts a record. s is the answer if the key is another; err is about the
// files.
func (d *drive) unseal(e entry) (record []byte, data []scsi.KeyData, s *scsi.Sense, err error) {
	b := make([]byte, e.length)
	if err := d.part().read(e, b); err != nil {
		return nil, nil, nil, err
	}
	x, err := parseSealed(b)
	if err != nil {
		return nil, nil, nil, err
	}
	if d.crypt.aead == nil {
		return nil, x.data, sense(scsi.ProtectKey, codeCannotDecrypt), nil
	}
	record, err = d.crypt.aead.Open(nil, x.nonce, x.text, x.authenticated)
	if err != nil { // its checksum matched: it is not damaged
		return nil, x.data, sense(scsi.ProtectKey, codeIncorrectKey), nil
	}
	return record, x.data, nil, nil
}

// securityOut sets the encryption.
func (d *drive) securityOut(c *scsi.Command, b scsi.SecurityOut) *scsi.Sense {
	if d.lib.cfg.NoEncryption {
		return sense(scsi.IllegalKey, scsi.CodeInvalidOpcode)
	}
	if b.Protocol != scsi.ProtocolEncryption || b.Page != scsi.PageSetEncryption {
		return badField
	}
	bad := sense(scsi.IllegalKey, scsi.CodeInvalidParameter)
	data, ok := taken(c, int(min(b.Length, maxRecord)))
	if !ok {
		return sense(scsi.IllegalKey, scsi.CodeParameterLength)
	}
	p, err := scsi.ParseSetEncryption(data)
	if err != nil {
		return sense(scsi.IllegalKey, scsi.CodeParameterLength)
	}
	on := p.Encrypt == scsi.EncryptOn || p.Decrypt != scsi.DecryptOff
	tooLong := slices.ContainsFunc(p.Data, func(k scsi.KeyData) bool {
		return k.Type == scsi.UnauthenticatedData && len(k.Data) > maxUKAD || k.Type == scsi.AuthenticatedData && len(k.Data) > maxAKAD || k.Type > scsi.AuthenticatedData
	})
	switch {
	case p.Scope != 1 && p.Scope != 2, p.Algorithm != algorithmIndex, p.KeyFormat != 0, tooLong,
		p.Encrypt != scsi.EncryptOff && p.Encrypt != scsi.EncryptOn, p.Decrypt == scsi.DecryptRaw || p.Decrypt > scsi.DecryptMixed,
		on && len(p.Key) != 32, !on && len(p.Key)+len(p.Data) > 0, p.OnUnload && d.state != ready:
		return bad
	}
	next := crypt{encrypt: p.Encrypt, decrypt: p.Decrypt, data: p.Data}
	if on {
		block, err := aes.NewCipher(p.Key)
		if err == nil {
			next.aead, err = cipher.NewGCM(block)
		}
		if err != nil {
			return bad
		}
	}
	d.crypt = next
	d.keyInstance++
	return nil
}

// securityIn answers what is asked about encryption.
func (d *drive) securityIn(c *scsi.Command, b scsi.SecurityIn) *scsi.Sense {
	if d.lib.cfg.NoEncryption {
		return sense(scsi.IllegalKey, scsi.CodeInvalidOpcode)
	}
	alloc := int(min(b.Alloc, maxRecord))
	switch {
	case b.Protocol == 0 && b.Page == 0: // the protocols that the drive has
		give(c, []byte{0, 0, 0, 0, 0, 0, 0, 2, 0, scsi.ProtocolEncryption}, alloc)
		return nil
	case b.Protocol != scsi.ProtocolEncryption:
		return badField
	}
	switch b.Page {
	case 0: // the pages that it gives, and takes
		give(c, supportedPages(0, 0, 1, scsi.PageEncryptionCapabilities, scsi.PageEncryptionStatus, scsi.PageNextBlockStatus), alloc)
	case 1:
		give(c, supportedPages(1, scsi.PageSetEncryption), alloc)
	case scsi.PageEncryptionCapabilities:
		give(c, scsi.EncryptionCapabilities{Config: 1, Algorithms: []scsi.Algorithm{{Index: algorithmIndex, Usable: d.state == ready, Decrypt: 2, Encrypt: 2,
			MaxU: maxUKAD, MaxA: maxAKAD, KeyLength: 32, Code: scsi.AlgorithmAES256GCM}}}.Bytes(), alloc)
	case scsi.PageEncryptionStatus:
		st := scsi.EncryptionStatus{Scope: 2, KeyScope: 2, Encrypt: d.crypt.encrypt, Decrypt: d.crypt.decrypt, Algorithm: algorithmIndex,
			Instance: d.keyInstance, Control: 1, Data: d.crypt.data}
		give(c, st.Bytes(), alloc)
	case scsi.PageNextBlockStatus:
		return d.nextBlock(c, alloc)
	default:
		return badField
	}
	return nil
}

func supportedPages(page uint16, list ...uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, page)
	b = binary.BigEndian.AppendUint16(b, uint16(2*len(list)))
	for _, p := range list {
		b = binary.BigEndian.AppendUint16(b, p)
	}
	return b
}

// nextBlock says whether the record at the head is encrypted.
func (d *drive) nextBlock(c *scsi.Command, alloc int) *scsi.Sense {
	if s := d.notReady(); s != nil {
		return s
	}
	n := scsi.NextBlock{Block: uint64(d.block), Status: scsi.BlockNone}
	if p := d.part(); d.block < p.count() {
		e, err := p.entry(d.block)
		if err != nil {
			return d.damaged(err)
		}
		switch {
		case e.kind == filemarkEntry:
		case e.overhead == 0:
			n.Status = scsi.BlockClear
		default:
			_, data, s, err := d.unseal(e)
			if err != nil {
				return d.damaged(err)
			}
			if n.Status, n.Algorithm, n.Data = scsi.BlockReadable, algorithmIndex, data; s != nil || d.crypt.decrypt == scsi.DecryptOff {
				n.Status = scsi.BlockLocked
			}
		}
	}
	give(c, n.Bytes(), alloc)
	return nil
}
