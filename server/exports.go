package server

import (
	"os/user"
	"path"
	"strconv"
	"strings"

	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"

	"sliod/backend/vfs"
	"sliod/export"
	"sliod/server/wire"
)

// byNumber is how an attach name begins that names a file by its FileID, which is
// qid.path: "id:" and a decimal number.
const byNumber = "id:"

// target is what an attach name means to a peer.
type target struct {
	tree   string // its name, for Config.Authorize and log lines
	fs     vfs.FS
	export *export.Export // nil: a whole tree
	path   string         // below its root
	number string         // of a file, instead of a path; "" is none
}

// errNoExport refuses a peer to whom no export is open, or none of that name.
func errNoExport(aname string) error {
	return errors.Wrapf(linux.EACCES, "no export lets it attach to %q", aname)
}

// target finds what aname means to c's peer. A local peer has the whole archive, and
// the exports that let it in by their names. All others have exports alone. A file by
// its number belongs to the tree that the connection has attached to before.
func (c *conn) target(aname string) (target, error) {
	s := c.srv
	if number, ok := strings.CutPrefix(aname, byNumber); ok {
		t := target{fs: s.cfg.Trees[""], export: c.last, number: number}
		switch {
		case c.last != nil:
			t.tree = c.last.Name
		case c.peer.Kind != export.Local:
			return t, linux.ENOENT
		}
		return t, nil
	}
	if fs := s.cfg.Trees[aname]; fs != nil && aname != "" {
		return target{tree: aname, fs: fs}, nil
	}
	p := strings.TrimSuffix(path.Clean("/"+aname), "/")
	if e, rest := s.findExport(c, aname, p); e != nil {
		return target{tree: e.Name, fs: s.cfg.Trees[""], export: e, path: rest}, nil
	}
	if c.peer.Kind != export.Local {
		return target{}, errNoExport(aname)
	}
	return target{fs: s.cfg.Trees[""], path: p}, nil
}

// findExport returns the export that lets c's peer in and has the longest attach name
// with which the clean path p begins, and what is left of p.
func (s *Server) findExport(c *conn, aname, p string) (found *export.Export, rest string) {
	local := c.peer.Kind == export.Local
	if local && strings.HasPrefix(aname, "/") {
		return nil, "" // a path of the archive
	}
	for i := range s.cfg.Exports {
		e := &s.cfg.Exports[i]
		if !e.Admits(&c.peer.Peer) || local && e.Attach == "" {
			continue
		}
		r, ok := p, e.Attach == ""
		if !ok {
			if r, ok = strings.CutPrefix(p, "/"+e.Attach); ok && r != "" && r[0] != '/' {
				ok = false
			}
		}
		if ok && (found == nil || len(e.Attach) > len(found.Attach)) {
			found, rest = e, r
		}
	}
	return found, rest
}

// open finds the node that t means, as cred sees it.
func (t *target) open(cred *vfs.Cred) (vfs.FS, vfs.Node, error) {
	fs := t.fs
	if t.export != nil {
		x, err := newExported(fs, t.export)
		if err != nil {
			return nil, nil, err
		}
		fs = x
	}
	if t.number == "" {
		n, err := fs.Attach(cred, t.path)
		return fs, n, err
	}
	finder, ok := fs.(vfs.Finder)
	id, err := strconv.ParseUint(t.number, 10, 64)
	if !ok || err != nil {
		return nil, nil, linux.ENOENT
	}
	n, err := finder.Find(cred, 0, id)
	return fs, n, err
}

// exportCred decides whether the peer may attach to e for the user that it names, and as
// whom.
func (c *conn) exportCred(e *export.Export, claimed uint32) (*vfs.Cred, error) {
	p := &c.peer
	uid, anon := p.UID, false
	switch {
	case p.Kind == export.Local:
		if claimed != wire.NoUname && claimed != p.UID {
			if p.UID != 0 {
				return nil, errors.Wrapf(linux.EPERM, "user %d attaches as user %d", p.UID, claimed)
			}
			uid = claimed
		}
	case p.Kind.Claims():
		uid = claimed
	}
	if !e.Listed(&p.Peer, userNames(uid)...) {
		return nil, errors.Wrapf(linux.EACCES, "[export.%s] does not let %s in", e.Name, p.who(uid))
	}
	switch p.Kind {
	case export.TLSUser:
		mapped, _ := e.UID(p.Kind, claimed)
		switch all := e.Map == export.AllSquash; {
		case all:
		case uid == wire.NoUname:
			return nil, errors.Wrapf(linux.EACCES, "this machine has no user %q, whom the certificate names: make it (useradd), or use map = \"all-squash\"", p.Name)
		case uid == 0 && e.Map != export.AsIs:
			return nil, errors.Wrapf(linux.EPERM, "the certificate names root, and [export.%s] has no map = \"as-is\"", e.Name)
		case claimed != wire.NoUname && claimed != uid && !(e.Translates() && mapped == uid):
			return nil, errors.Wrapf(linux.EPERM, "the certificate of %s (user %d here) attaches as user %d", p.Name, uid, claimed)
		}
		anon = e.Squash(p.Kind, uid)
	default:
		uid, anon = e.UID(p.Kind, uid)
	}
	if anon {
		return &vfs.Cred{UID: e.AnonUID, GID: e.AnonGID}, nil
	}
	cred := *c.srv.users.cred(*p, uid)
	if cred.GID == nogroup {
		cred.GID = e.AnonGID
	}
	if e.Map != export.AsIs { // nobody brings group root along
		if cred.GID == 0 && uid != 0 {
			cred.GID = e.AnonGID
		}
		var groups []uint32
		for _, g := range cred.Groups {
			if g != 0 {
				groups = append(groups, g)
			}
		}
		cred.Groups = groups
	}
	return &cred, nil
}

// mayAdminister says whether the peer, who is not local, may use the control tree.
func (c *conn) mayAdminister() bool {
	if c.peer.Kind != export.TLSUser {
		return false
	}
	for i := range c.srv.cfg.Exports {
		if e := &c.srv.cfg.Exports[i]; e.Admin && e.Listed(&c.peer.Peer) {
			return true
		}
	}
	return false
}

// userNames returns what a user of this machine is called in lists of users.
func userNames(uid uint32) []string {
	if uid == wire.NoUname {
		return nil
	}
	names := []string{strconv.FormatUint(uint64(uid), 10)}
	if u, err := user.LookupId(names[0]); err == nil {
		names = append(names, u.Username)
	}
	return names
}
