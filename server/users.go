package server

import (
	"os/user"
	"strconv"
	"sync"
	"time"

	"sliod/backend/vfs"
	"sliod/server/wire"
)

const (
	// userTTL is how long what the user database says is believed.
	userTTL = 10 * time.Second
	// maxUsers bounds the cache.
	maxUsers = 1024
	// nogroup is the group of a user that the machine does not know.
	nogroup = 65534
)

// Users answers in which groups a user is, as the machine's user database has it. It
// is safe for concurrent use.
type Users struct {
	lookup func(uid uint32) (gid uint32, groups []uint32, ok bool)
	now    func() time.Time

	mu    sync.Mutex
	known map[uint32]knownUser
}

type knownUser struct {
	gid    uint32
	groups []uint32
	ok     bool
	until  time.Time
}

// NewUsers returns an empty cache of the user database.
func NewUsers() *Users {
	return &Users{lookup: lookupUser, now: time.Now, known: make(map[uint32]knownUser)}
}

// Cred returns the credentials of a user.
func (u *Users) Cred(uid uint32) *vfs.Cred { return u.cred(Peer{UID: wire.NoUname}, uid) }

// cred returns the credentials with which p acts as uid. For the peer's own user they
// are those of its process, if they are known.
func (u *Users) cred(p Peer, uid uint32) *vfs.Cred {
	if p.Exact && uid == p.UID {
		return &vfs.Cred{UID: uid, GID: p.GID, Groups: p.Groups}
	}
	k := u.find(uid)
	if !k.ok {
		return &vfs.Cred{UID: uid, GID: nogroup}
	}
	return &vfs.Cred{UID: uid, GID: k.gid, Groups: k.groups}
}

func (u *Users) find(uid uint32) knownUser {
	u.mu.Lock()
	k, ok := u.known[uid]
	u.mu.Unlock()
	if ok && u.now().Before(k.until) {
		return k
	}
	// The database may be on a network: ask it without the lock.
	k.gid, k.groups, k.ok = u.lookup(uid)
	k.until = u.now().Add(userTTL)
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.known) >= maxUsers {
		clear(u.known)
	}
	u.known[uid] = k
	return k
}

// lookupUser asks the machine's user database. What it does not say is no group.
func lookupUser(uid uint32) (gid uint32, groups []uint32, ok bool) {
	usr, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return 0, nil, false
	}
	g, err := strconv.ParseUint(usr.Gid, 10, 32)
	if err != nil {
		return 0, nil, false
	}
	ids, err := usr.GroupIds()
	if err != nil {
		return uint32(g), nil, true
	}
	for _, id := range ids {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			groups = append(groups, uint32(n))
		}
	}
	return uint32(g), groups, true
}
