package client9p

import (
	"context"

	"github.com/hugelgupf/p9/linux"

	"sliod/server/wire"
)

// LockType is the type of a record lock.
type LockType uint8

// Types of record locks.
const (
	ReadLock LockType = iota
	WriteLock
	Unlock
)

// Lock is a record lock of fcntl(2). Length 0 means to the end of the file. Who holds
// it is named by ProcID and ClientID together, on this connection.
type Lock struct {
	Type          LockType
	Start, Length uint64
	ProcID        uint32
	ClientID      string
}

// SetLock takes or releases a lock. If another holds a conflicting one, it is
// EAGAIN, or with wait the call lasts until the lock is granted or ctx ends.
func (f *Fid) SetLock(ctx context.Context, l Lock, wait bool) error {
	m := wire.MsgTlock{Fid: f.fid, LockType: uint8(l.Type), Start: l.Start, Length: l.Length, ProcID: l.ProcID, ClientID: []byte(l.ClientID)}
	if wait {
		m.Flags = wire.LockBlock
	}
	var r wire.MsgRlock
	if err := f.c.do(ctx, &m, &r); err != nil {
		return err
	}
	switch r.Status {
	case wire.LockSuccess:
		return nil
	case wire.LockBlocked:
		return &Error{Op: opName(wire.Tlock), Errno: linux.EAGAIN}
	}
	return &Error{Op: opName(wire.Tlock), Errno: linux.ENOLCK}
}

// GetLock returns a lock that would keep l from being granted, or l with type
// Unlock if there is none.
func (f *Fid) GetLock(ctx context.Context, l Lock) (Lock, error) {
	var r wire.MsgRgetlock
	err := f.c.do(ctx, &wire.MsgTgetlock{Fid: f.fid, LockType: uint8(l.Type), Start: l.Start, Length: l.Length, ProcID: l.ProcID, ClientID: []byte(l.ClientID)}, &r)
	return Lock{LockType(r.LockType), r.Start, r.Length, r.ProcID, string(r.ClientID)}, err
}
