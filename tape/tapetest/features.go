package tapetest

import (
	"slices"

	"sliod/tape"
)

// features: what the drive says that it can, it does; what it cannot is refused.
func features(t *T) {
	t.must(t.Format(t.ctx, 1))
	for i := range 4 {
		t.write(i, 1000)
	}
	t.must(t.WriteFilemarks(t.ctx, 0))
	l := t.Limits()
	segments := []tape.Segment{{First: 2, Last: 3}, {First: 0, Last: 0}, {First: 1, Last: 1}}
	if !l.HasOrder {
		_, err := t.Order(t.ctx, segments)
		t.kind(err, tape.IllegalRequest)
	} else {
		order, err := t.Order(t.ctx, segments)
		t.must(err)
		if slices.Sort(order); !slices.Equal(order, []int{0, 1, 2}) {
			t.Fatalf("the order of three segments is %v", order)
		}
	}
	if !l.HasWraps {
		_, err := t.Wraps(t.ctx)
		t.kind(err, tape.IllegalRequest)
	} else {
		ws, err := t.Wraps(t.ctx)
		t.must(err)
		for i, w := range ws {
			if w.End > 3 || i > 0 && w.Wrap <= ws[i-1].Wrap {
				t.Fatalf("ends of wraps of a tape with 4 records: %+v", ws)
			}
		}
	}
	if s, err := t.Statistics(t.ctx); err != nil {
		t.kind(err, tape.IllegalRequest)
	} else if n := len(s.Partitions); n > 0 && (n != 1 || s.Partitions[0].SizeBytes < s.Partitions[0].LeftBytes) {
		t.Fatalf("statistics of a tape with one partition: %+v", s)
	}
	if l.WORM || l.Cleaning {
		t.Fatalf("a scratch cartridge with limits %+v", l)
	}
	switch alerts, err := t.Alerts(t.ctx); {
	case err != nil:
		t.kind(err, tape.IllegalRequest)
	case slices.ContainsFunc(alerts, func(a tape.Alert) bool { return !a.Valid() }):
		t.Fatalf("alerts %d", alerts)
	}
	t.at(tape.Position{Block: 4})
	encryption(t, l.HasEncryption)
	if l.Protected {
		t.must(t.WriteBlock(t.ctx, Record(5, min(l.MaxBlock, 8<<20))))
	}
}

// encryption: what is written with a key is read with it, and records in clear are too.
func encryption(t *T, has bool) {
	k := &tape.EncryptionKey{ID: "tapetest", Key: [32]byte{1, 2, 3}}
	t.must(t.SetKey(t.ctx, nil))
	if !has {
		t.kind(t.SetKey(t.ctx, k), tape.IllegalRequest)
		_, _, err := t.BlockKey(t.ctx)
		t.kind(err, tape.IllegalRequest)
		return
	}
	t.must(t.SetKey(t.ctx, k))
	t.write(4, 2000)
	t.must(t.WriteFilemarks(t.ctx, 0))
	t.must(t.Locate(t.ctx, tape.Position{Block: 3}))
	t.read(3, 1000)
	t.read(4, 2000)
	t.must(t.SetKey(t.ctx, nil))
	t.must(t.Locate(t.ctx, tape.Position{Block: 4}))
	if id, encrypted, err := t.BlockKey(t.ctx); err != nil || !encrypted || id != k.ID {
		t.Fatalf("the record's key is %q, %v, %v", id, encrypted, err)
	}
	t.readKind(tape.WrongKey)
	t.must(t.Locate(t.ctx, tape.Position{Block: 3}))
	t.read(3, 1000)
	t.must(t.Locate(t.ctx, tape.Position{Block: 4}))
}
