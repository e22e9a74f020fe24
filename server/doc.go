// Package server speaks 9P2000.L: it turns the frames of a connection into calls
// of a tree (package vfs) and its answers into frames. It knows nothing of cache,
// catalog or tape.
//
// # Words
//
// A connection has one reader and one writer goroutine. The reader decodes a
// request, calls the tree and queues the reply. A request whose call returns
// vfs.ErrParked is deferred: it is a request object in the connection's tag
// table, and holds no goroutine, no lock and no message buffer. A batch is what
// goes to the socket in one writev(2): heads of replies, and between them the
// data where it lies.
//
// The reader waits for the next request as package socket has it: for a moment in a system call,
// or asking again and again while client and server take turns, then in the runtime's poller. A connection
// has a descriptor for its socket, one more for that wait, and a third once it had to wait for a client that
// does not read.
//
// # A deferred request
//
//	            ErrParked                  Wake
//	calling ------------------> parked -----------> ready
//	   ^  \                       |                   |
//	   |   \ Wake before ErrParked| Cancel is true    | the writer takes it
//	   |    `---------------------+------> ready      |
//	   |                          v                   v
//	   |                        ended <---------- answered (write, fsync, lock; failed read)
//	   `---------------------------------------------´ a read is called again
//
// The state is guarded by conn.mu and kept in the request, not in the tag table,
// so a wake that comes before the call has returned only marks the request. Only
// the connection's own goroutines take a request out of a state; Wake itself does
// nothing but mark and signal. A woken read is called again by the writer, and only
// when the output queue has room: a client that does not read its replies pins no
// more than the queue's limit.
//
// # Flush
//
// A request is answered before its Rflush, or never. Both are queued under conn.mu,
// and a batch keeps the order. Tflush looks at the request:
//
//	not there         it was answered, or never existed: Rflush
//	parked            Cancel true: it ends without an answer, Rflush
//	                  Cancel false: its wake is on the way; Rflush is hung onto it
//	calling           the writer repeats a read; Rflush is hung onto it
//	ready, a read     it ends without an answer, Rflush
//	ready, another    its answer is final: answer, Rflush
//
// An Rflush that is hung onto a request goes out right after its answer, or when it
// ends without one. A second Tversion and the end of the connection do the same to
// all requests, and nothing is answered.
//
// # Open files
//
// A fid and each request parked on it hold a reference to the open file. Tclunk
// answers at once; the file is closed when the last of them has gone.
//
// # Lock order
//
// Server.mu and conn.mu are leaves: nothing is called with one of them held, no tree,
// no socket, and neither is taken under the other. A tree may call Wake under none of
// its own locks only (see vfs), so conn.mu never meets a lock of a tree. Fids belong
// to the reader alone and have no lock.
//
// # Identity
//
// A unix socket tells the peer's user by SO_PEERCRED. A loopback TCP connection
// belongs to the user who owns the socket at its other end, as /proc/net/tcp says.
// Root may attach as anyone, others only as themselves. These peers are local, and have
// the whole archive.
//
// All others have exports alone (package export has the rules): a certificate names a
// user or a machine (package cert), a machine on plain TCP or vsock only claims its users.
// An export is a tree of its own, exported, around the data tree: it stops at its
// directory, translates owners, and refuses changes if it is read-only. What it hands to
// the data tree are the data tree's own nodes. A file by number ("id:N") belongs to what
// the connection attached to last.
//
// # What survives a crash
//
// Nothing here: after a restart clients attach anew.
package server
