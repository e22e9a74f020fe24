package mover

import (
	"testing"
	"time"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/schedule"
)

func TestEstimatorLearns(t *testing.T) {
	var e estimator
	if e.exchangeTime() != guessedExchange || e.scale(time.Minute) != time.Minute {
		t.Error("nothing is known, and the model is not believed")
	}
	for range 20 {
		e.exchanged(2 * time.Second)
		e.readTook(60*time.Second, time.Second)
	}
	if d := e.exchangeTime(); d != 2*time.Second {
		t.Errorf("an exchange takes %v", d)
	}
	if d := e.scale(time.Minute); d < 900*time.Millisecond || d > 1100*time.Millisecond {
		t.Errorf("a modelled minute takes %v", d)
	}
	for range 300 { // the library has become slower
		e.readTook(60*time.Second, 2*time.Second)
	}
	if d := e.scale(time.Minute); d < 1900*time.Millisecond {
		t.Errorf("a modelled minute takes %v", d)
	}
}

// TestPlanOfVolumes: with one drive, the volumes that wait get it one after the other, each after
// the work of those before and an exchange.
func TestPlanOfVolumes(t *testing.T) {
	r := newRig(t, setup{drives: 1, slots: 4})
	m := r.m
	m.mu.Lock()
	defer m.mu.Unlock()
	// Nobody is to begin with it: the volumes are of the test alone.
	volumes := m.volumes
	defer func() { m.volumes = volumes }()
	now := time.Now()
	m.volumes = map[catalog.VolumeNo]*volume{}
	add := func(no catalog.VolumeNo, n int, since time.Time, class schedule.Class) *volume {
		v := &volume{queue: schedule.NewClasses[sliver.Key](schedule.Planner{}, &m.cfg.Schedule)}
		v.record.Store(&catalog.Volume{No: no, Barcode: string(rune('A' + no))})
		for i := range n {
			v.queue.Add(keyOf(1, sliver.No(1000*int(no)+i)), class, schedule.Place{Position: tape.Position{Partition: 1, Block: tape.BlockNo(2 * i)}}, mib, since)
		}
		m.volumes[no] = v
		return v
	}
	bulk := add(1, 100, now.Add(-time.Minute), schedule.Bulk)
	client := add(2, 1, now, schedule.Client)
	m.est = estimator{exchange: time.Minute}
	m.planLocked(now)
	e := &m.est
	if got := e.begins[2]; got != time.Minute {
		t.Errorf("the client's volume has a drive after %v", got)
	}
	if got, want := e.begins[1], 2*time.Minute+e.scale(client.queue.Takes(now)); got != want {
		t.Errorf("the job's volume has a drive after %v, want %v", got, want)
	}
	if at := m.volumeETALocked(bulk, now); !at.Equal(now.Add(e.begins[1] + bulk.queue.Takes(now))) {
		t.Errorf("it is done at %v", at.Sub(now))
	}
	// The drive has the job's volume since a minute: the client waits for the rest of its turn.
	d := m.drives[0]
	bulk.drive, d.vol, d.mountedAt = d, bulk, now.Add(-time.Minute)
	defer func() { d.vol = nil }()
	for i := range 10_000 {
		bulk.queue.Add(keyOf(2, sliver.No(i)), schedule.Bulk, schedule.Place{Position: tape.Position{Partition: 1, Block: tape.BlockNo(1000 + 500*i)}}, mib, now)
	}
	e.begins = nil
	m.planLocked(now)
	if got, want := e.begins[2], m.cfg.Schedule.Turn[schedule.Client]; got != want {
		t.Errorf("the client's volume has a drive after %v, want %v", got, want)
	}
	if e.begins[1] != 0 {
		t.Errorf("the mounted volume has a drive after %v", e.begins[1])
	}
}
