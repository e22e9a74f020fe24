// Package ltfs is the format on tape: LTFS 2.4 (ISO/IEC 20919), so that any LTFS
// implementation reads what SLIOD archived. It works on a tape.Drive.
//
// # Words
//
// A label is VOL1 and an XML label, at the start of each partition. A record is
// one tape block of the volume's block size. An index is the XML tree of the
// whole volume; an index construct is filemark, index, filemark. An extent is a
// run of bytes in the data partition, which may begin inside a record and share
// it with other files. The generation counts indexes. The cartridge's memory
// (MAM) says in attribute 080C where the last index is, valid as long as the
// drive's volume change reference stays the same.
//
//	index partition (a):  VOL1 | label | index N
//	data partition  (b):  VOL1 | label | index 1 data index 2 data ... index N
//
// # States of a volume
//
//	          Append           Flush            WriteIndex
//	clean ---------> written ---------> flushed ------------> clean
//	                    \                  \
//	                     \ write error      \ write error, or WriteIndex failed
//	                      v                  v
//	                    failed: to be mounted again (reading goes on)
//
// # What survives a crash
//
// What Flush acknowledged is on the medium. It is found by the next index, or by
// the caller's catalog: Mount reports what lies behind the last index (Repair),
// and the caller keeps it (Adopt) or not (CutOff). WriteIndex writes the data
// partition first, the index partition second and the memory last, so a whole
// index is on tape at every instant: while the one in the index partition is
// overwritten, the data partition already has the new one.
//
// # Encryption
//
// A volume has one key for its life, or none; docs/encryption.md and docs/ltfs.md say where its id
// stands. Format writes the labels in clear and sets the key before the first index. Mount turns
// encryption off, reads the labels, and sets the key that the cartridge's memory or the first
// encrypted record names. A volume whose key is not what its pool writes with now (Refusal) is only read.
//
// # Checking
//
// Package ltfscheck, a second reader that shares no code with this one, says whether a
// volume obeys the format. The tests have it look at what is written here.
//
// # Room
//
// Append refuses with ErrVolumeFull while two indexes, as large as the tree may
// make them, still fit, and at the drive's early warning. It does so as well when
// the index comes near to the size of the index partition, which a real medium never
// sees: that partition has a pair of wraps, tens of gigabytes.
//
// # Metadata
//
// Meta is what SLIOD adds in xattrs to rebuild its catalog; docs/ltfs.md in the
// repository has the layout of each, which cannot be changed any more.
//
// # Concurrency
//
// There are no locks and no goroutines. A Volume and its Index belong to the
// goroutine that owns the drive.
package ltfs
