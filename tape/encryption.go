package tape

import (
	"fmt"

	"github.com/pkg/errors"
)

// MaxKeyID is the longest id of a key in bytes.
const MaxKeyID = 32

// EncryptionKey is a key for the drive's own encryption, AES-256-GCM. Its id is no
// secret: it goes on tape beside every record. However it is printed or encoded, only the
// id is shown. Hand it on as a pointer.
type EncryptionKey struct {
	ID  string // 1 to MaxKeyID bytes
	Key [32]byte
}

// String names the key.
func (k *EncryptionKey) String() string {
	if k == nil {
		return "no key"
	}
	return fmt.Sprintf("key %q", k.ID)
}

// Format implements fmt.Formatter, so that no verb shows the key.
func (k EncryptionKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }

// MarshalText implements encoding.TextMarshaler, for encoders such as JSON's.
func (k EncryptionKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Check says what is wrong with a key, if anything.
func (k *EncryptionKey) Check() error {
	if len(k.ID) == 0 || len(k.ID) > MaxKeyID {
		return errors.Errorf("the id %q of an encryption key has %d bytes: give it 1 to %d", k.ID, len(k.ID), MaxKeyID)
	}
	return nil
}
