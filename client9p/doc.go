// Package client9p is a 9P2000.L client: what the commands use, and what the ways
// to mount stand on. Frames are package server/wire's.
//
// A Client is one connection, a Fid is a file on it. Every call takes a context;
// calls of different goroutines are in flight at the same time, and answers may
// come in any order. Large reads and writes are cut into several requests that are
// in flight together.
//
// # Cancelling
//
// When the context of a call ends, the client sends Tflush and waits for Rflush,
// as the protocol demands before the tag may be used again. If the answer came
// first, the call has happened and returns as if nothing had been cancelled;
// otherwise it returns the context's error, and the server has not done what
// was asked.
//
// # Errors
//
// What the server refuses is a linux.Errno (github.com/hugelgupf/p9/linux) inside
// an *Error that names the message. When the connection fails, every call
// in flight and every later one gets an error that is ErrClosed as well.
//
// # Goroutines and locks
//
// A caller sends its own request as far as the socket takes it at once, with what else is
// queued. Of the callers that wait one at a time takes in what comes, its own answer and
// others', and then leaves that to another (waiting.go). If nothing comes for a millisecond, it is left
// to the reader; what a socket does not take at once, to the writer: two goroutines
// of each Client. A third watches for the server to hang up. They end at Close or when
// the connection fails. If the connection is no socket of the system (TLS), writer and
// reader do all of it. Only the one who has set Client.writing sends, and only the one
// whom Client.reading names receives. File data goes out from the caller's slice and
// straight into it: the caller has it back when the call returns, never before. A call that
// waits holds nothing but its goroutine and a small object. Client.mu guards the queue and
// the tables of tags and fids, and is never held during I/O.
package client9p
