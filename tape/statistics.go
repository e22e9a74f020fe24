package tape

// Statistics are what a drive and a cartridge remember of the cartridge's life. A number that is
// not told is 0.
type Statistics struct {
	Mounts                          uint64
	WrittenBytes, ReadBytes         int64  // in its life
	WriteRetries, ReadRetries       uint64 // recovered errors
	WriteErrors, ReadErrors         uint64 // that were not recovered
	LastWriteErrors, LastReadErrors uint64 // the same, of the mount before this one
	BeginningPasses, MiddlePasses   uint64 // of the tape over the head, at its beginning and its middle
	Partitions                      []PartitionRoom
}

// PartitionRoom is the native size of a partition, and what is left of it.
type PartitionRoom struct{ SizeBytes, LeftBytes int64 }
