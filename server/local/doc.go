// Package local is a tree of the server, for the bridge that mounts it in the same
// process: bridge.Tree without frames and sockets. Calls go straight to the tree; file
// data goes from the cache's slot to the kernel without a copy in Go.
//
// A call that has to wait for tape parks a vfs.Waiter, as the server does, and holds
// only its goroutine, which go-fuse has given it.
package local
