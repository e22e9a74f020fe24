// Package ltfsimport makes records of the catalog from the index of an LTFS volume
// that another program, or another archive, has written. Nothing is copied: the
// slivers of the new files point to the extents on the volume.
//
// # Words
//
// An import has a root: a directory that no name leads to while the import runs. Build
// makes the whole tree below it, in many transactions of bounded size. The caller then
// gives the root its name, in one transaction: until then nobody sees any of it.
//
// # What is taken over
//
// Of an entry that another program wrote: name, times, xattrs, whether it is read-only,
// the target of a symbolic link, the extents. Owner and mode come from Options. Of an entry
// that SLIOD wrote, with sliod.meta: also owner, mode, device numbers, all xattrs, hard
// links, and the checksums of the slivers. FileIDs are always new.
//
// An extent is cut at the boundaries of slivers. What lies between two extents in one
// sliver is a piece of zeros; a sliver without any extent is a hole. A sliver that
// SLIOD's list names and that has no extent here is on another volume of its archive: its
// record has a copy without pieces, and reading it is an error.
//
// # What a crash leaves
//
// A root and what is below it, up to some transaction; every record is reached
// from the root, so Remove finds all of them. Who calls Build notes the root in the
// catalog in the same transaction that makes it (Options.Begin).
//
// # Memory
//
// Beside the index itself: a list of the entries of each directory on the way
// down, and a batch of at most 4 MiB. A SLIOD file's list of slivers is decoded as a whole.
package ltfsimport
