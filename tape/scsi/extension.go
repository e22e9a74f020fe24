package scsi

import (
	"encoding/binary"

	"github.com/pkg/errors"
)

// SubpageExtension of PageConfiguration is the device configuration extension.
const SubpageExtension = 0x01

// ConfigurationExtension is mode page 10h/01h.
type ConfigurationExtension struct {
	AppendOnly   bool   // WRITE MODE 1: what is recorded is not overwritten without ALLOW OVERWRITE
	EarlyWarning uint16 // PEWS: the programmable early warning comes so many MB before the early warning
}

// Page encodes e.
func (e ConfigurationExtension) Page() ModePage {
	d := make([]byte, 28)
	d[1] = bit(e.AppendOnly, 0x10)
	binary.BigEndian.PutUint16(d[2:], e.EarlyWarning)
	return ModePage{Page: PageConfiguration, Subpage: SubpageExtension, Data: d}
}

// ParseConfigurationExtension decodes page 10h/01h.
func ParseConfigurationExtension(d []byte) (ConfigurationExtension, error) {
	if len(d) < 4 || d[1]>>4 > 1 {
		return ConfigurationExtension{}, errors.Errorf("scsi: configuration extension page % x", d)
	}
	return ConfigurationExtension{d[1]&0x10 != 0, binary.BigEndian.Uint16(d[2:])}, nil
}
