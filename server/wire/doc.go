// Package wire is the codec of 9P2000.L frames: decode into structs that are
// used again, encode by append, with p9's types where the protocol has them.
//
// # Frames
//
// A frame is size[4] type[1] tag[2] body, little endian; size counts itself.
// Strings are length[2] and bytes. The messages Rread and Rreaddir end with
// count[4] data; Twrite too. Their data is not part of the structs here, so that
// it can go from where it lies to the socket: see ParseTwrite and AppendRread.
//
// # Ownership
//
// A decoded []byte is a view of the frame: it is valid as long as the frame is.
// Decode keeps nothing else, and allocates nothing.
//
// # Strictness
//
// A field that reaches beyond the body, bytes left over after the last field,
// and a walk of more than MaxWalk names are ErrMalformed. There is one
// exception: the last field of Tfsync may be missing, because older clients do
// not send it. Values are not judged here; package server does that.
package wire
