package sg

import (
	"context"

	"github.com/pkg/errors"

	"sliod/tape/scsi"
)

// identify asks a device what it is and for its serial number, "" if it has none
// to tell. INQUIRY takes no unit attention away from whoever uses the device.
func identify(t scsi.Transport) (scsi.InquiryData, string, error) {
	b, err := inquire(t, scsi.Inquiry{Alloc: 96}, 96)
	if err != nil {
		return scsi.InquiryData{}, "", err
	}
	q, err := scsi.ParseInquiry(b)
	if err != nil {
		return q, "", err
	}
	if b, err = inquire(t, scsi.Inquiry{VPD: true, Page: scsi.PageSerial, Alloc: 252}, 252); err != nil {
		return q, "", nil //nolint:nilerr // an old device has no such page
	}
	id, err := scsi.ParseVital(scsi.PageSerial, b)
	if err != nil {
		return q, "", nil //nolint:nilerr // as if it had none
	}
	return q, printable(id), nil
}

func inquire(t scsi.Transport, q scsi.Inquiry, size int) ([]byte, error) {
	c := &scsi.Command{CDB: q.CDB(), Dir: scsi.In, Data: make([]byte, size), Timeout: scsi.LTO9Timeouts.Short}
	if err := t.Do(context.Background(), c); err != nil {
		return nil, err
	}
	if c.Status != scsi.Good {
		return nil, errors.Errorf("sg: INQUIRY was refused with status %02x, sense data % x", uint8(c.Status), c.Sense)
	}
	return c.Data[:c.Transferred()], nil
}
