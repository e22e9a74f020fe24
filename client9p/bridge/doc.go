// Package bridge mounts the archive by FUSE: it turns the kernel's requests into
// calls of a Tree, which is a 9P server (Remote) or the archive in the same process.
//
//	program -> kernel -> FS (here) -> Tree -> 9P -> server -> archive
//
// # Who may do what
//
// The kernel checks permissions by the attributes that it is told
// (default_permissions), and the calls run as the user who mounted. What makes a
// new file runs as the user who asks, so that the file is theirs; for the calls that follow
// it is a file like any other (FS.adopt).
//
// # Access control lists
//
// The kernel goes by a file's list (FUSE_POSIX_ACL), which it reads as an extended attribute, and
// leaves the rest to the file system. The server does that rest, so that all clients
// see the same: the mode follows a list that is set and the list a chmod, and a new file
// inherits from its directory. Whether the maker's umask counts depends on that too, so
// the kernel does not apply it (FUSE_DONT_MASK): it goes to the server in the mode (newMode).
//
// # Waiting for tape
//
// go-fuse gives each request a goroutine. A read or write of archived content
// keeps that goroutine, the request's buffer and nothing else; no lock is held in
// a call. Reads are never answered short but at the end of the file, as the
// kernel would take that for one.
//
// # Interrupts
//
// The kernel interrupts a request for any signal. Only one that ends the
// program gives the request up (interrupt.go): any other must not make a read of an
// archived file fail, and Go programs get signals all the time. Every request can be given
// up so, those too that wait for a server that is away.
//
// # Caching
//
// The kernel keeps attributes and names for Options.AttrTimeout, and file data until
// the file's version changes: what another client changes is seen after that time. An open
// that finds another version has the kernel drop pages and attributes, so that what was
// closed elsewhere is seen by the next open. Appending goes past the pages.
//
// # Locks
//
// FS.mu guards the tables of nodes and open files, node.mu what a node remembers. Both
// are leaves: no call of the Tree is made with them held.
package bridge
