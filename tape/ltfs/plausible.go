package ltfs

// Bounds of what an extent can be where the end of the data is not certain, or is not that of
// its partition: more than any volume or index partition holds, in bytes.
const (
	maxExtent      = 1 << 45
	maxIndexExtent = 1 << 40
)

// CanHold says whether the volume can have what an extent of its index says. A damaged, or
// hostile, index may name more than all tapes of the world: who makes something for each
// MiB of it asks before.
func (v *Volume) CanHold(e Extent) bool {
	bytes := uint64(e.ByteOffset) + e.ByteCount
	if bytes < e.ByteCount {
		return false
	}
	switch {
	case v.TapePartition(e.Partition) != v.dp:
		return bytes <= maxIndexExtent
	case v.repair != nil: // data may have been lost that it names
		return bytes <= maxExtent
	}
	size := uint64(v.blockSize)
	blocks, end := (bytes+size-1)/size, uint64(v.EndOfData().Block)
	return e.StartBlock <= end && blocks <= end-e.StartBlock
}
