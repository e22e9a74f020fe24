// Package rebuild makes a catalog from tapes alone. docs/ltfs.md says what the
// tapes tell; nothing is copied from them, the catalog points to them. They are only
// read.
//
// # Steps
//
//	collect   each volume's index is read, by one goroutine a drive, and what it
//	          says of each file is put in the catalog as a stage record (stage.go)
//	choose    volumes of other archives than the one that is rebuilt do not count
//	build     file by file: the newest entry of all volumes says what the file is;
//	          its slivers point to every volume that has them in that version
//	place     directory by directory: the names; files whose directory no volume
//	          knows come to /lost+found
//	join      circles of directories, which stale entries can make, are cut
//	adopt     what other programs have put on the volumes gets numbers and names
//
// # What survives a crash
//
// Each step works in transactions of bounded size, and takes the stage records
// that it has used away in the same transaction. A volume counts as read when its
// last transaction has committed; stage records of a volume that does not count are
// not looked at, and are overwritten when it is read again. So a rebuild that ended
// at any instant goes on where it was. As long as there are stage records the
// catalog cannot be served.
//
// # Memory
//
// The index of one volume for each drive, as package ltfs holds it; the parent of
// each directory; the runs of removed files. All else is in the catalog.
package rebuild
