// Package ltfscheck says whether a volume obeys the LTFS format, version 2.4
// (ISO/IEC 20919). It is a second reader, written apart from package ltfs and
// sharing no code with it, so that a mistake made in both the writer and the
// reader there is found here: XML is read by encoding/xml, labels and the
// cartridge's memory by code of its own. It writes nothing.
//
// # What is checked
//
//	labels      VOL1 byte by byte, the XML label, both copies equal but for location
//	layout      where the filemarks are; an index construct is filemark, records of
//	            the block size (the last may be short), filemark
//	chain       each index names its own place and the one before it, generations go
//	            down along the chain to the first; both partitions end in the same one
//	index       required elements, each once, numbers, times, booleans, names, base64;
//	            fileuids unique and not above the highest; extents inside the data,
//	            on no filemark and in no index, without overlap in a file
//	memory      the attributes of the format, and 080C against 0009 and the tape
//	data        if asked for: every extent is read, and ltfs.hash.sha256sum compared
//
// # Words
//
// A finding is one thing that is not as it should be. An Error breaks the format:
// another implementation may refuse the volume or show wrong data. A Warning is
// legal or harmless, but tells that something happened, such as a torn index that a
// crash left behind. A Note is for information.
//
// There are no goroutines and no locks; Check belongs to the goroutine that owns
// the drive.
package ltfscheck
