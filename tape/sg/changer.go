package sg

import (
	"context"

	"sliod/tape"
)

// namedChanger is a changer whose drives are known better than it knows them: an inventory
// has the serial numbers that the drives themselves tell.
type namedChanger struct {
	tape.Changer
	serial map[uint16]string // by element address
}

// Inventory implements tape.Changer.
func (c *namedChanger) Inventory(ctx context.Context) ([]tape.Element, error) {
	es, err := c.Changer.Inventory(ctx)
	for i := range es {
		if s, ok := c.serial[es[i].Address]; ok && es[i].Kind == tape.DriveElement {
			es[i].Drive = s
		}
	}
	return es, err
}
