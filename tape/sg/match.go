package sg

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pkg/errors"

	"sliod/tape"
)

// A match says which drive is in which element.
type match struct {
	serial map[uint16]string // the drive's serial number, by element address
	notes  []string          // what was not matched by equal serial numbers, and how
}

// matchDrives finds the element of each drive. serials are the drives' own, in the order of
// the configuration, "" for one that cannot be asked; ordered says that somebody has
// chosen that order. Three ways, each only where the one before has left something:
//
//  1. The changer reports the drive's serial number.
//  2. It reports the beginning of it, of one drive that is left: there are changers
//     that cut the last one off.
//  3. It reports nothing that could be a serial number, and as many elements as drives
//     are left: they belong together in their orders.
//
// An element whose drive is another's has no entry.
func matchDrives(elements []tape.Element, serials []string, ordered bool) match {
	m := match{serial: map[uint16]string{}}
	left := slices.Clone(serials)
	take := func(e tape.Element, i int) {
		m.serial[e.Address] = left[i]
		left = slices.Delete(left, i, i+1)
	}
	var others []tape.Element
	for _, e := range elements {
		if e.Kind != tape.DriveElement {
			continue
		}
		if i := slices.Index(left, e.Drive); i >= 0 && e.Drive != "" {
			take(e, i)
		} else {
			others = append(others, e)
		}
	}
	var nameless []tape.Element
	for _, e := range others {
		if e.Drive == "" {
			nameless = append(nameless, e)
			continue
		}
		found := -1
		for i, s := range left {
			if strings.HasPrefix(s, e.Drive) {
				if found >= 0 {
					found = -1
					break
				}
				found = i
			}
		}
		if found >= 0 {
			m.notes = append(m.notes, fmt.Sprintf("the changer cuts the serial number of the drive in element %d off (%q): it is taken for %s", e.Address, e.Drive, left[found]))
			take(e, found)
		}
	}
	if ordered && len(nameless) > 0 && len(nameless) == len(left) {
		for _, e := range nameless {
			m.notes = append(m.notes, fmt.Sprintf("the changer does not say which drive is in element %d: by the order of library.devices it is %s", e.Address, left[0]))
			take(e, 0)
		}
	}
	return m
}

// missing explains why a drive has no element. It is nil if every drive that has answered has
// one.
func (m match) missing(elements []tape.Element, serials []string) error {
	var lost []string
	for _, s := range serials {
		found := s == "" // it cannot be used in any case
		for _, have := range m.serial {
			found = found || have == s
		}
		if !found {
			lost = append(lost, s)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	var told []string
	for _, e := range elements {
		if e.Kind == tape.DriveElement {
			told = append(told, fmt.Sprintf("element %d holds %s", e.Address, orNone(e.Drive)))
		}
	}
	return errors.Errorf("sg: the changer names no element for the drives %s; it says: %s: if it does not tell serial numbers, library.devices has to list all its drives in the order of the elements",
		strings.Join(lost, ", "), strings.Join(told, ", "))
}

func orNone(s string) string {
	if s == "" {
		return "a drive without serial number"
	}
	return s
}
