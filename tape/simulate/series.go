package simulate

import "time"

// bins is how many a Series has at most.
const bins = 480

// Bin is what happened in one stretch of time.
type Bin struct {
	Served  int64                     // requests that were done
	WaitSum time.Duration             // of these
	WaitMax time.Duration             // of these
	Queue   time.Duration             // requests that wait times how long they do
	Peak    int                       // the most that waited at once
	Use     [activities]time.Duration // of all drives together
}

// Series is what happened over time, in at most 480 bins: when they are full, each two become
// one, so it has the same size whatever is added.
type Series struct {
	Width time.Duration // of a bin
	Bins  []Bin
}

// at returns the bin of an instant.
func (s *Series) at(t time.Duration) *Bin {
	if s.Width == 0 {
		s.Width = time.Second
	}
	for t >= bins*s.Width {
		for i := range s.Bins {
			if b := s.Bins[i]; i%2 == 0 {
				s.Bins[i/2] = b
			} else {
				s.Bins[i/2].join(&b)
			}
		}
		s.Bins = s.Bins[:(len(s.Bins)+1)/2]
		s.Width *= 2
	}
	i := int(t / s.Width)
	for len(s.Bins) <= i {
		s.Bins = append(s.Bins, Bin{})
	}
	return &s.Bins[i]
}

func (b *Bin) join(c *Bin) {
	b.Served += c.Served
	b.WaitSum += c.WaitSum
	b.WaitMax = max(b.WaitMax, c.WaitMax)
	b.Queue += c.Queue
	b.Peak = max(b.Peak, c.Peak)
	for i := range b.Use {
		b.Use[i] += c.Use[i]
	}
}

// spread calls add for each bin that the time from..to touches, with how long it does.
func (s *Series) spread(from, to time.Duration, add func(b *Bin, d time.Duration)) {
	for from < to {
		b := s.at(from)
		end := min((from/s.Width+1)*s.Width, to)
		add(b, end-from)
		from = end
	}
}
