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
//	2A/xx  settings: they are made again, and then as below
//	other  a command that does not depend on the position is done again; one that does is
//	       done again only if READ POSITION gives what was expected, and is an error if not
//
// The Changer takes resets, and tells all else.
//
// # Once and no more
//
// A command that the drive aborted, or was too busy for, is done again, one that depends on the position
// only if READ POSITION gives what was expected: by SAM-5 it was not done then, but who stands between may think
// otherwise. And a flush succeeds only if the drive is where the records that were written put it: a
// record that was lost or written twice would put all behind it one off from where the catalog
// says. A drive that counts has no position to compare.
//
// # Capabilities
//
// Nothing but READ, WRITE, WRITE FILEMARKS, SPACE(6), REWIND, INQUIRY with the serial number,
// TEST UNIT READY, READ BLOCK LIMITS and MODE SENSE of page 10h is asked of a drive.
// All else is found out by asking: a drive that answers 5/20 00 or 5/24 00 has not got it.
//
//	command                          if the drive has not got it
//	MODE SENSE(10), LOCATE(16)       MODE SENSE(6), LOCATE(10)
//	READ POSITION, long form         the short form
//	LOCATE, READ POSITION            blocks are counted, see below; Limits.HasLocate
//	mode page 11h                    one partition; Limits.Partitions
//	READ ATTRIBUTE                   Limits.HasMAM
//	FORMAT MEDIUM                    short ERASE; without it a filemark on block 0
//	REPORT SUPPORTED OPERATION CODES the table in timeouts.go; what the drive says counts if longer
//	REPORT DENSITY SUPPORT           the density of the mode data; a medium that the drive
//	                                 only reads is then found out by writing
//	log page 31h                     page 17h; without it the capacity of the density, and
//	                                 Limits.RemainingBytes is 0
//	mode pages 0Fh, 10h/01h          compression and early warning stay as they are
//	mode page 0Ah/F0h, CRC-32C       records go without a checksum; Limits.Protected
//	RECEIVE RECOMMENDED ACCESS ORDER Limits.HasOrder
//	READ END OF WRAP POSITION        Limits.HasWraps
//	SECURITY PROTOCOL IN, AES-256-GCM Limits.HasEncryption
//	PREVENT                          nothing keeps an operator from taking the cartridge
//
// # Logical block protection
//
// Where the drive can, each record goes with its CRC-32C behind it, both ways: set at Load, looked at
// again after it was set, and set again after resets and changes of mode. Below READ
// and WRITE nobody sees it: guard adds it in exec, and takes it off. A Transport that carries
// tails sends record and checksum from two places; for others they are copied into
// one. It costs 18 microseconds a record of 512 KiB, 25 with the copy: always on. Only a host that
// cannot transfer 512 KiB and 4 bytes goes without, since LTFS volumes have such
// records. A mismatch is Kind ProtectionError: the way to the drive is to blame, not the volume.
//
// # Encryption
//
// SetKey sends the page "set data encryption" for all hosts: encryption on, decryption mixed, so that
// records in clear are read too, the key's id as authenticated key-associated data (or
// unauthenticated, if it is too long for that), and that the key is cleared at unload. The status page must
// then say the same. The key is taken out before Unload and Release as well. It is the last of the settings that are
// made again after a reset or a change of modes. Since nothing may be written without it, a unit
// attention that tells of one is kept in mind (lost) whoever hears it, and every command
// but UNLOAD and PREVENT has the settings made first, or fails. The page's bytes are cleared when it was
// sent, and the key is in no error or log.
//
// # Media
//
// WORM cartridges (the medium's memory, attribute 0408h, says so; else the WORMM bit of
// mode page 1Dh) are read and never written: Limits.WORM comes with Limits.WriteProtected,
// and writes and formats fail with Kind WriteProtected without being sent. LTFS
// overwrites the end of its index partition, which WORM does not allow.
//
// With a cleaning cartridge Load succeeds with Limits.Cleaning and nothing else, and it is not kept
// in: the drive cleans itself and lets it go.
//
// A drive in append-only mode (mode page 10h/01h) is sent ALLOW OVERWRITE before a
// write that does not continue the last one, and before FORMAT MEDIUM.
//
// # Drives without LOCATE
//
// READ POSITION is believed if it has the long form and says "beginning of partition" at block 0
// and nowhere else. Otherwise Load rewinds, and tells the drive to LOCATE to where
// it says that it is: one that can does not move, and is believed from then on. One that
// cannot is not believed in anything: its numbers may be constant (tgt's are), or the
// drive's own. counter then keeps the contract of tape.Drive by counting:
//
//   - Each record and filemark that is read, written or spaced over is counted; the
//     count begins with a REWIND at Load. After an error that may have moved the
//     head the position is lost: Position rewinds and says 0, Locate rewinds and counts
//     forward, and writes are refused until one of them was called.
//   - Locate is SPACE over blocks, by at most 2^23-1, backward if that is shorter and the
//     drive can. SPACE stops behind a filemark and says how many blocks are left: it is sent again.
//   - LocateEnd is SPACE to the end of data, always, even if the head should be there:
//     so what is appended never goes over data, whatever was counted. Its block number must have been
//     counted once since Load, from the last place known; what is written keeps it known.
//   - SpaceFilemarks is Locate by a map of the filemarks that were seen, in 8 bytes each.
//
// What it costs: the first LocateEnd after a load needs one SPACE for each filemark on the tape,
// and each of them stops and starts the tape, some seconds on a real drive. Reading in
// the order of the tape costs nothing more. Any command error costs a rewind.
//
// tgt's SPACE runs over filemarks and counts them as blocks, so that Locate works as it is. But at the
// end of data it does not say how far it came; that gives it away. Then the map is made by READ of
// one byte of each record, 0.1 to 0.5 ms each over iSCSI. (Its SPACE backward over filemarks
// goes one block too far, it does not see the beginning of the tape, and it claims every cartridge to be
// WORM: none of that is used.) A drive that does this and holds much data would be read
// as a whole at its own speed. A drive that stops at filemarks without INFORMATION cannot be used.
//
// # Concurrency, and crashes
//
// A Drive belongs to one goroutine; a Changer has a turn that its callers wait for. There
// are no goroutines here, and nothing that survives a crash: that is the device's business.
package scsi
