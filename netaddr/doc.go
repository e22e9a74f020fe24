// Package netaddr has the addresses at which a server listens and a client connects,
// and the sockets that package net does not know.
//
//	tcp:HOST:PORT      TCP
//	tls:HOST:PORT      TLS over TCP, with certificates on both sides
//	unix:PATH          a unix socket, with a path of any length
//	vsock:[CID:]PORT   between a virtual machine and its host
//	port:PATH          a virtio-serial port, in a virtual machine; for clients only
//
// Parse is the one place that reads an address. The package knows nothing of 9P, users
// and certificates, has no goroutines and no locks.
package netaddr
