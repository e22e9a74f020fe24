package simulate

import "github.com/pkg/errors"

// Outcome is what one of several simulations of the same trace came to.
type Outcome struct {
	Order  Order
	Result *Result // nil if Err is not
	Err    error   // the library could not do the work in this way
}

// Comparison runs the same trace in several ways at once: as the server does, and, with
// volumes chosen by Oldest, in the other orders.
type Comparison struct {
	sims []*Simulation // by Order
}

// NewComparison returns a Comparison for the library of cfg, whose Order and Choice do not count.
func NewComparison(cfg Config) (*Comparison, error) {
	c := &Comparison{}
	for o := range orders {
		cfg.Order, cfg.Choice = o, ByPolicy
		if o != Sliod {
			cfg.Choice = Oldest
		}
		s, err := New(cfg)
		if err != nil {
			return nil, err
		}
		c.sims = append(c.sims, s)
	}
	return c, nil
}

// Add is Simulation.Add. A way that cannot do the work is left behind; the error is one that
// stops all: a request that the library cannot have, or nobody left.
func (c *Comparison) Add(r Request) error {
	var first error
	left := 0
	for _, s := range c.sims {
		err := s.Add(r) // one that was left behind says so again
		switch {
		case err == nil:
			left++
		case s.err == nil:
			return err
		case first == nil:
			first = err
		}
	}
	if left == 0 {
		return errors.WithMessage(first, "in no order")
	}
	return nil
}

// Finish returns the outcomes: the server's first, then those of the other orders.
func (c *Comparison) Finish() []Outcome {
	var out []Outcome
	for o, s := range c.sims {
		r, err := s.Finish()
		out = append(out, Outcome{Order(o), r, err})
	}
	return out
}
