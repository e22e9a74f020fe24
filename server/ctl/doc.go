// Package ctl is the control tree: the archive's administration as a tree of
// small files, as Plan 9 does it. A client reaches it with the attach name "ctl".
//
//	/README       what this tree is
//	/status       the server as a whole
//	/volumes      the volumes of the library
//	/drives       its drives
//	/queue        what waits for tape, and the jobs
//	/jobs/new     write a command here
//	/jobs/list    write a command with many paths here
//	/jobs/error   what was wrong with the last command that was refused
//	/jobs/N       job number N
//
// The four reports and /jobs/N hold one JSON object each, with the fields of
// package backend's Status, Queue, JobStatus and so on; /volumes and /drives hold
// {"volumes": [...]} and {"drives": [...]}.
//
// # Reading
//
// A report is made when it is read at offset 0, and kept in the open file: reads
// at later offsets see the same text. Reading again from 0 makes a new one, so one
// open file can be polled. The length that Getattr tells is that of a report
// made for the answer; the next may be longer, so read to the end of file. The
// version in the QID of a report is 0, which means "do not cache" to Linux.
//
// # Commands
//
// One write to /jobs/new is one command, whatever its offset, in one of three
// forms:
//
//	archive NUL path NUL path...    any byte but NUL may be in a path
//	archive LF path LF path...      one path a line
//	archive path                    one path, to type in a shell
//
// The write is answered when the job has begun, not when it is done. Reading the
// same open file from offset 0 then gives the number of the job and a line feed.
// A command that is refused starts nothing: the write fails with the errno of
// the cause, and the same open file, or /jobs/error, holds a line that explains it.
//
// The word of a command on paths may be followed by options, in the first two forms:
//
//	recall pin=24h priority=low NUL path NUL...
//
// pin is for how long the job pins what it recalls (or, with the word pin, what it
// pins), priority is high, normal or low. cancel and release have numbers of jobs as
// arguments, and priority has a priority before them; they begin none.
//
// # Lists
//
// A command with more paths than one write can carry goes to /jobs/list: the writes to
// one open file are one command. Each is made of whole parts, all ended by a NUL: the
// first begins with the word, all else is paths. An empty path ends the list and begins
// the job, whose number is read back. Paths that are not there count as failed, and do not
// keep the job from beginning. A list whose file is closed before its end is forgotten.
//
// # Who may
//
// Root and the user who runs the server; package server lets nobody else attach to
// the tree. Only they may write commands, whatever is configured there.
//
// # Locks
//
// Each open file has one mutex, for its text. It is never held while the archive
// is asked. tree.lastError has its own. Jobs on files that run survive a restart,
// with their numbers; nothing else of the tree does.
package ctl
