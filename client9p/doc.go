// Package client9p is a 9P2000.L client: what the commands use, and what the ways
// to mount stand on.
//
// A Client is one connection, a Fid is a file on it. Every call takes a context
// and sends one request; calls of different goroutines are in flight at the
// same time, and answers may come in any order.
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
// One reader goroutine for each Client, which ends at Close or when the
// connection fails. It hands each answer to its call, and copies file data
// straight into the caller's slice: the caller gets it back when the call
// returns, never before. Client.mu guards the tables of tags and fids and is never
// held during I/O; Client.sending is a lock of one frame on the wire.
package client9p
