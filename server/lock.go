package server

import (
	"github.com/hugelgupf/p9/linux"
	"sliod/backend/vfs"
	"sliod/server/wire"
)

// lock serves Tlock. With LockBlock the reply is held until the lock is granted; a
// client that asks again instead is answered with LockBlocked.
func (c *conn) lock(tag uint16, q *wire.MsgTlock) (wire.Message, error) {
	f, err := c.node(q.Fid)
	switch {
	case err != nil:
		return nil, err
	case f.file == nil:
		return nil, linux.EBADF
	case q.Flags&^(wire.LockBlock|wire.LockReclaim) != 0:
		return nil, linux.EINVAL
	}
	l, err := c.lockRange(q.LockType, q.Start, q.Length, q.ProcID, q.ClientID)
	if err != nil {
		return nil, err
	}
	r := c.newRequest(wire.Tlock, tag, f.file)
	err = f.file.Lock(l, q.Flags&wire.LockBlock != 0, &r.Waiter)
	switch {
	case err == nil:
		c.rep.lock.Status = wire.LockSuccess
	case err == vfs.ErrParked:
		c.park(r)
		return nil, errQueued
	case isAgain(err):
		c.rep.lock.Status = wire.LockBlocked
	default:
		return nil, err
	}
	return &c.rep.lock, nil
}

// getlock serves Tgetlock. A Linux client always asks with type Unlock, and means: is
// there any lock that a write lock would meet?
func (c *conn) getlock(q *wire.MsgTgetlock) (wire.Message, error) {
	f, err := c.node(q.Fid)
	switch {
	case err != nil:
		return nil, err
	case f.file == nil:
		return nil, linux.EBADF
	}
	l, err := c.lockRange(q.LockType, q.Start, q.Length, q.ProcID, q.ClientID)
	if err != nil {
		return nil, err
	}
	if l.Type == vfs.Unlock {
		l.Type = vfs.WriteLock
	}
	l, err = f.file.GetLock(l)
	if err != nil {
		return nil, err
	}
	r := &c.rep.getlock
	r.LockType, r.Start, r.Length, r.ProcID = uint8(l.Type), l.Start, l.Length, l.ProcID
	r.ClientID = []byte(l.ClientID)
	return r, nil
}

func (c *conn) lockRange(typ uint8, start, length uint64, proc uint32, client []byte) (vfs.LockRange, error) {
	l := vfs.LockRange{
		Type: vfs.LockType(typ), Start: start, Length: length,
		ProcID: proc, ClientID: string(client), Conn: c.id,
	}
	switch {
	case l.Type > vfs.Unlock, start > maxOffset:
		return l, linux.EINVAL
	case length > 0 && length-1 > maxOffset-start:
		return l, linux.EOVERFLOW
	case len(client) > maxName:
		return l, linux.ENAMETOOLONG // it is kept with the lock
	}
	return l, nil
}
