package vfs

// Gate lets the requests of a user bring data from tape, or refuses them. It is safe for
// concurrent use.
type Gate interface {
	// Recall is asked before a fault begins for the sake of a request: for how many bytes
	// of which file, read-ahead among them. An error refuses the request, which then changes
	// nothing. A request for what is on its way already is asked for what is read ahead
	// for its sake alone; an error ends the read-ahead then, and not the request. It must not block.
	Recall(file uint64, bytes int64) error
}
