package virtual

import (
	"testing"

	"sliod/tape/scsi/scsitest"
)

func TestTransport(t *testing.T) {
	l := open(t, t.TempDir())
	for _, d := range []struct {
		name   string
		device int
	}{{"drive", 0}, {"changer", Changer}} {
		t.Run(d.name, func(t *testing.T) { scsitest.TestTransport(t, l.Transport(d.device)) })
	}
}
