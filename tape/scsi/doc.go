// Package scsi drives tape drives (SSC) and medium changers (SMC) by command
// blocks over a Transport, and implements tape.Drive and tape.Changer. The same
// code drives real devices and the emulated library.
//
// # Words
//
// A command block (CDB) is a CommandBlock in Go: one type for each command, with its
// bytes by CDB and back by ParseStream and ParseChanger, which the emulator
// uses. Sense is decoded sense data; the table in kind.go is the only place that gives it a
// tape.Kind. Parameter data has one type for each form, with Bytes and a parser.
//
// # Unit attentions
//
// A command that is answered with a unit attention was not done. At Load all are
// taken. Later, Drive looks what happened:
//
//	28/xx  medium may have changed: an error, until Load
//	29/xx  reset: records in the buffer are in doubt, so a Deferred error if there
//	       are any; else the settings are made again, and then as below
//	other  a command that does not depend on the position is done again; one that does is
//	       done again only if READ POSITION gives what was expected, and is an error if not
//
// The Changer takes resets, and tells all else.
//
// # Capabilities
//
// Load asks the drive what it can do with the medium: READ ATTRIBUTE, READ
// POSITION (long, then short form) and mode page 11h decide Limits. MODE
// SENSE(10) falls back to (6), LOCATE(16) to (10).
//
// # Concurrency, and crashes
//
// A Drive belongs to one goroutine; a Changer has a turn that its callers wait for. There
// are no goroutines here, and nothing that survives a crash: that is the device's business.
package scsi
