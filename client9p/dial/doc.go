// Package dial connects a client to a server at any address of package netaddr. It is
// the one place that does: all commands, mounts and relays go through it.
//
// A TLS connection is checked on both sides by certificates. With TLS 1.3 the server looks
// at the client's only after the client is through with the handshake, so what it has
// against it comes as an error of the first Read; it too says what to do (Refused).
package dial
