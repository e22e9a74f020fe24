package tape

// Segment is a run of blocks that will be read in one go, for Drive.Order.
type Segment struct {
	Partition Partition
	First     BlockNo
	Last      BlockNo // the last one, included
}

// WrapEnd is where one wrap of a volume ends, for Drive.Wraps.
type WrapEnd struct {
	Wrap      int // from 0; even ones run forward
	Partition Partition
	End       BlockNo // the object at the end of the wrap
}
