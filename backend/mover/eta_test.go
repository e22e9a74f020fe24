package mover

import (
	"math"
	"testing"
	"time"
)

func TestLearned(t *testing.T) {
	var l learned
	if l.armMove() != 10*time.Second || l.read.scale(time.Minute, &l.load) != time.Minute || l.batch.mean(time.Hour) != time.Hour {
		t.Error("nothing is known, and the model is not believed")
	}
	for speed, want := range map[float64]time.Duration{0: time.Minute, 1: time.Minute, 60: time.Second, math.Inf(1): 0} {
		var l learned
		l.told(speed)
		for _, d := range []time.Duration{6 * l.armMove(), l.read.scale(time.Minute, &l.load), 2 * l.indexTime(), l.formatTime() / 3} {
			if (d - want).Abs() > time.Microsecond {
				t.Errorf("the library says that it is %v times as fast as the model: a minute takes %v, want %v", speed, d, want)
			}
		}
		l.load.add(20*time.Second, 40*time.Second, keepOther)
		if d := l.armMove(); d < 19*time.Second || d > 21*time.Second {
			t.Errorf("the library says that it is %v times as fast as the model, and takes twice as long: a move takes %v", speed, d)
		}
	}
	l.load.add(time.Minute, 2*time.Second, keepOther)
	if d := l.read.scale(time.Minute, &l.load); d != 2*time.Second {
		t.Errorf("of a library that loads 30 times as fast as the model, a modelled minute of reading takes %v", d)
	}
	for range 20 {
		l.read.add(60*time.Second, time.Second, keepReads)
		l.batch.add(3*time.Second, 1, keepOther)
	}
	if d := l.read.scale(time.Minute, &l.load); d != time.Second {
		t.Errorf("a modelled minute takes %v", d)
	}
	if d := l.batch.mean(0); d < 2999*time.Millisecond || d > 3001*time.Millisecond {
		t.Errorf("a batch takes %v", d)
	}
	for range 300 { // the library has become slower
		l.read.add(60*time.Second, 2*time.Second, keepReads)
	}
	if d := l.read.scale(time.Minute, &l.load); d < 1900*time.Millisecond {
		t.Errorf("a modelled minute takes %v", d)
	}
}
