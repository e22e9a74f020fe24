package export

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Export is a subtree of the archive and who may use it. It is not changed once the
// server has it.
type Export struct {
	Name string
	// Attach is the attach name, without a leading slash. Empty: peers that are not
	// local get this export for the empty attach name.
	Attach string
	// Path is the subtree in the archive, clean and absolute.
	Path     string
	ReadOnly bool
	// Networks lists who is let in. Local peers are if it is empty.
	Networks []Network
	// Users and Certificates, if one of them is not empty, list who may attach: names
	// or numbers of users, "host:NAME" of a machine's certificate; fingerprints.
	Users, Certificates []string

	Map              Mapping
	AnonUID, AnonGID uint32
	UIDs, GIDs       []Range
	// InsecureRoot lets root of a machine that nothing proves be root here.
	InsecureRoot bool
	// Admin lets the users of the certificates that the lists name use the control tree. There must
	// be a list.
	Admin bool
	// Recall is the rule for recalls by reading and writing.
	Recall Recall
}

// Check says what contradicts itself in e, as one sentence that names the keys of the
// configuration, and the key to blame.
func (e *Export) Check() (key, msg string) {
	name, plain, vsock, tls := "["+"export."+e.Name+"]", false, false, false
	for _, n := range e.Networks {
		plain = plain || n.plain()
		vsock = vsock || n.word == "vsock"
		tls = tls || n.word == "tls" || n.word == ""
	}
	const choose = "write map = \"root-squash\", or insecure_root = true if you trust each of them"
	switch {
	case !path.IsAbs(e.Path) || path.Clean(e.Path) != e.Path:
		return "path", fmt.Sprintf("path of %s is %q; it must be an absolute path of the archive, such as /projects, without . and ..", name, e.Path)
	case strings.HasPrefix(e.Attach, "ctl/") || e.Attach == "ctl" || strings.HasPrefix(e.Attach, "id:") || e.Attach != "" && path.Clean("/"+e.Attach) != "/"+e.Attach:
		return "attach", fmt.Sprintf("attach of %s is %q; ctl and names that begin with id: mean something else, and . and .. are no names", name, e.Attach)
	case e.Map == AsIs && !e.InsecureRoot && plain:
		return "map", fmt.Sprintf("map of %s is \"as-is\", and networks let in machines over plain TCP, each of which can say that it is root: %s", name, choose)
	case e.Map == AsIs && !e.InsecureRoot && vsock:
		return "map", fmt.Sprintf("map of %s is \"as-is\", and networks let in virtual machines, each of which can say that it is root: %s", name, choose)
	case e.InsecureRoot && e.Map != AsIs && e.Map != Ranges:
		return "insecure_root", fmt.Sprintf("insecure_root of %s is set, and map = %q makes nobody root: write map = \"as-is\", or take it out", name, e.Map)
	case e.Admin && !tls:
		return "admin", fmt.Sprintf("admin of %s is set, and only users with certificates can administer the server: put \"tls\" into networks", name)
	case e.Admin && len(e.Users)+len(e.Certificates) == 0:
		return "admin", fmt.Sprintf("admin of %s is set, and without users and certificates everybody whose certificate the CA has signed could administer the server: write users = [\"alice\"], or certificates = [\"sha256:...\"]", name)
	case e.Map == Ranges && len(e.UIDs) == 0:
		return "map", fmt.Sprintf("map of %s is \"ranges\", and there are no uids: write uids = [\"1000-1999:101000\"] or the like, and gids", name)
	case e.Map != Ranges && len(e.UIDs)+len(e.GIDs) > 0:
		return "map", fmt.Sprintf("map of %s is %q, and uids and gids are for map = \"ranges\"", name, e.Map)
	}
	if field, msg := e.Recall.Check(); msg != "" {
		return map[string]string{"mode": "recall"}[field], fmt.Sprintf("%s: %s", name, msg)
	}
	if err := checkRanges(e.UIDs); err != nil {
		return "uids", fmt.Sprintf("uids of %s: %v", name, err)
	}
	if err := checkRanges(e.GIDs); err != nil {
		return "gids", fmt.Sprintf("gids of %s: %v", name, err)
	}
	if c, ok := toClient(e.UIDs, 0); ok && !e.InsecureRoot && (plain || vsock) {
		return "uids", fmt.Sprintf("uids of %s makes user %d of machines that nothing proves root here: leave 0 out, or write insecure_root = true", name, c)
	}
	return "", ""
}

// Admits says whether the networks of e let p connect.
func (e *Export) Admits(p *Peer) bool {
	if len(e.Networks) == 0 {
		return p.Kind == Local
	}
	return slices.ContainsFunc(e.Networks, func(n Network) bool { return n.has(p) })
}

// Listed says whether p may attach: it is let in, and in the lists if there are any.
// names are what the user who attaches is called, by name and by number.
func (e *Export) Listed(p *Peer, names ...string) bool {
	if !e.Admits(p) {
		return false
	}
	if len(e.Users)+len(e.Certificates) == 0 {
		return true
	}
	switch p.Kind {
	case TLSUser, TLSHost:
		return slices.Contains(e.Users, p.Name) || slices.ContainsFunc(e.Certificates, func(f string) bool { return strings.EqualFold(f, p.Fingerprint) })
	}
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(e.Users, n) })
}

// mapping is Map with Auto resolved.
func (e *Export) mapping(k Kind) Mapping {
	switch {
	case e.Map != Auto && e.Map != "":
		return e.Map
	case k == Vsock:
		return AllSquash
	}
	return RootSquash
}

// UID returns the user of this server as whom a client's user acts. anon says that it
// is the anonymous one, who is in no group but AnonGID.
func (e *Export) UID(k Kind, id uint32) (uid uint32, anon bool) {
	uid, ok := e.mapID(k, e.UIDs, id)
	if !ok || uid == 0 && k.open() && !e.InsecureRoot {
		return e.AnonUID, true
	}
	return uid, false
}

// GID is UID for a group.
func (e *Export) GID(k Kind, id uint32) uint32 {
	gid, ok := e.mapID(k, e.GIDs, id)
	if !ok || gid == 0 && k.open() && !e.InsecureRoot {
		return e.AnonGID
	}
	return gid
}

func (e *Export) mapID(k Kind, ranges []Range, id uint32) (uint32, bool) {
	if id == noID {
		return 0, false
	}
	switch e.mapping(k) {
	case AsIs:
		return id, true
	case RootSquash:
		return id, id != 0
	case Ranges:
		return toServer(ranges, id)
	}
	return 0, false
}

// Squash is UID for a user of this server, whose number is not translated.
func (e *Export) Squash(k Kind, uid uint32) (anon bool) {
	switch e.mapping(k) {
	case AllSquash:
		return true
	case RootSquash:
		return uid == 0
	case Ranges:
		_, ok := toClient(e.UIDs, uid)
		return !ok
	}
	return false
}

// Translates says whether numbers differ between the two sides.
func (e *Export) Translates() bool { return e.Map == Ranges }

// Shown returns how a client sees an owner and a group of this server.
func (e *Export) Shown(uid, gid uint32) (uint32, uint32) {
	if !e.Translates() {
		return uid, gid
	}
	u, ok := toClient(e.UIDs, uid)
	if !ok {
		u = nobody
	}
	g, ok := toClient(e.GIDs, gid)
	if !ok {
		g = nobody
	}
	return u, g
}

// nobody is how an owner is shown that has no number on the client's side.
const nobody = 65534

// Meant returns the owner of this server that a client means in a chown, false if it
// has no such one. GroupMeant is the same for a group.
func (e *Export) Meant(uid uint32) (uint32, bool) {
	if !e.Translates() {
		return uid, true
	}
	return toServer(e.UIDs, uid)
}

// GroupMeant is Meant for a group.
func (e *Export) GroupMeant(gid uint32) (uint32, bool) {
	if !e.Translates() {
		return gid, true
	}
	return toServer(e.GIDs, gid)
}

// LetsIn says whether the networks of one of the exports let peers of a kind in; for
// TCP, from another machine.
func LetsIn(list []Export, k Kind) bool {
	for i := range list {
		for _, n := range list[i].Networks {
			switch k {
			case TCP:
				if n.plain() {
					return true
				}
			case Vsock:
				if n.word == "vsock" {
					return true
				}
			case TLSUser, TLSHost:
				if n.word == "tls" || n.word == "" {
					return true
				}
			}
		}
	}
	return false
}

// CheckAll finds what is wrong among several exports: the one to blame, its key, and
// the message; nil if nothing is.
func CheckAll(list []Export) (*Export, string, string) {
	names := make(map[string]string)
	for i := range list {
		e := &list[i]
		if key, msg := e.Check(); msg != "" {
			return e, key, msg
		}
		if other, ok := names[e.Attach]; ok {
			return e, "attach", fmt.Sprintf("[export.%s] and [export.%s] have the same attach name %q: give one of them another", other, e.Name, "/"+e.Attach)
		}
		names[e.Attach] = e.Name
	}
	return nil, "", ""
}
