// Package export has the rules by which a server lets others in: which peer may attach
// to which export, and as whom. It decides and does nothing: no I/O, no goroutines, no
// locks.
//
// # Kinds of peers
//
//	Local     a process of this machine, by a unix socket or loopback TCP: its user is known
//	TCP       another machine over plain TCP: it only claims who it is (n_uname)
//	Vsock     a virtual machine of this host, or the host: known by its CID, claims its users
//	TLSUser   a certificate that names a user: its user is known
//	TLSHost   a certificate that names a machine, which claims its users
//
// # Whom the server acts as
//
//	as-is         as the user that asks; root too, over plain TCP and vsock only with InsecureRoot
//	root-squash   user 0 becomes the anonymous user, group 0 the anonymous group
//	all-squash    everybody becomes the anonymous user
//	ranges        the client's numbers are translated, and back in what it sees; all others are anonymous
package export
