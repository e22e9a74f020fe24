// Package cert has the TLS certificates of servers and users: whom one names, the files
// that they come from, what to say when one is refused, and a small certification
// authority (CA) for a lab.
//
// # Whom a certificate names
//
// A client's certificate that the server's CA has signed names a user or a machine, by
// a URI among its alternative names:
//
//	sliod:user:NAME    the user NAME of the server's user database
//	sliod:host:NAME    a machine, which says itself for which of its users it asks
//
// A certificate without such a URI names the user of its common name (CN). One with two
// of them names nobody.
//
// # Files
//
// A Source reads its files anew when one of them has changed, and looks at each
// handshake. A set that cannot be used leaves the last good one in use, and is said
// once. Nothing here is kept over a restart.
//
// # Locks
//
// Source.mu is held while the files are read: few and short, and every handshake needs
// them. Nothing is called under it but the log.
package cert
