package rebuild

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hugelgupf/p9/p9"
	"pgregory.net/rapid"

	"sliod/backend"
	"sliod/backend/acl"
	"sliod/backend/catalog"
	"sliod/backend/vfs"
	"sliod/tape/virtual"
)

// model is what the random test knows of the tree: which paths there are, and
// which of them are directories. What is in them the archive itself tells.
type model struct {
	*rig
	rt   *rapid.T
	dirs map[string]bool // by path; of the root ""
	n    uint64
}

func (m *model) pick(what string, want func(dir bool) bool) (string, bool) {
	var list []string
	for _, p := range slices.Sorted(maps.Keys(m.dirs)) {
		if p != "" && want(m.dirs[p]) {
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		return "", false
	}
	return rapid.SampledFrom(list).Draw(m.rt, what), true
}

func isFile(d bool) bool { return !d }
func anything(bool) bool { return true }

// free returns a path that nobody has.
func (m *model) free(what string) string {
	dirs := []string{""}
	for _, p := range slices.Sorted(maps.Keys(m.dirs)) {
		if m.dirs[p] && p != "" {
			dirs = append(dirs, p)
		}
	}
	dir := rapid.SampledFrom(dirs).Draw(m.rt, what+" in")
	name := rapid.SampledFrom([]string{"a", "b", "c", "d", "\xff:%", " x "}).Draw(m.rt, what)
	if _, there := m.dirs[dir+"/"+name]; there {
		m.n++
		name = fmt.Sprintf("n%d", m.n)
	}
	return dir + "/" + name
}

func (m *model) empty(dir string) bool {
	for p := range m.dirs {
		if strings.HasPrefix(p, dir+"/") {
			return false
		}
	}
	return true
}

func (m *model) size(what string) uint64 {
	return rapid.SampledFrom([]uint64{0, 1, 700, mib - 1, mib, mib + 1, 2*mib + 5000}).Draw(m.rt, what)
}

// step does one random change.
func (m *model) step() {
	m.n++
	switch rapid.SampledFrom([]string{"create", "create", "create", "mkdir", "write", "write", "truncate", "rename", "rename", "remove", "remove", "link", "symlink", "xattr", "acl", "attr", "evict", "root"}).Draw(m.rt, "op") {
	case "create":
		p := m.free("file")
		m.write(p, m.size("at")/3, content(m.n, int(m.size("bytes"))))
		m.dirs[p] = false
	case "mkdir":
		p := m.free("dir")
		m.mkdir(p)
		m.dirs[p] = true
	case "write":
		if p, ok := m.pick("write to", isFile); ok && m.regular(p) {
			m.write(p, m.size("at"), content(m.n, int(m.size("bytes"))/2))
		}
	case "truncate":
		if p, ok := m.pick("truncate", isFile); ok && m.regular(p) {
			m.truncate(p, m.size("to"))
			if rapid.Bool().Draw(m.rt, "grow") {
				m.truncate(p, 3*mib)
			}
		}
	case "rename":
		from, ok := m.pick("rename", anything)
		if !ok {
			return
		}
		to := m.free("rename to")
		if strings.HasPrefix(to, from+"/") {
			return
		}
		m.rename(from, to)
		for _, p := range slices.Sorted(maps.Keys(m.dirs)) {
			if p == from || strings.HasPrefix(p, from+"/") {
				m.dirs[to+p[len(from):]] = m.dirs[p]
				delete(m.dirs, p)
			}
		}
	case "remove":
		if p, ok := m.pick("remove", anything); ok && m.empty(p) {
			m.remove(p)
			delete(m.dirs, p)
		}
	case "link":
		if p, ok := m.pick("link", isFile); ok {
			to := m.free("link to")
			m.link(p, to)
			m.dirs[to] = false
		}
	case "symlink":
		p := m.free("symlink")
		m.in(p, func(d vfs.Node, name string) error { _, err := d.Symlink(root, name, "to "+name, 1); return err })
		m.dirs[p] = false
	case "xattr":
		if p, ok := m.pick("xattr of", anything); ok {
			n := m.node(p)
			defer n.Release()
			m.ok(n.SetXattr(root, "trusted.x", content(m.n, 20), 0))
		}
	case "acl":
		if p, ok := m.pick("access list of", anything); ok {
			n := m.node(p)
			defer n.Release()
			m.setACL(n)
		}
	case "attr":
		if p, ok := m.pick("attributes of", anything); ok {
			n := m.node(p)
			defer n.Release()
			m.ok(n.Setattr(root, p9.SetAttrMask{UID: true, ATime: true, ATimeNotSystemTime: true},
				p9.SetAttr{UID: p9.UID(m.n), ATimeSeconds: m.n, ATimeNanoSeconds: 5}, true))
		}
	case "evict":
		m.job(backend.JobArchive, "/")
		m.job(backend.JobEvict, "/")
	case "root":
		n := m.node("/")
		defer n.Release()
		m.ok(n.SetXattr(root, "user.n", content(m.n, 5), 0))
	}
}

// setACL sets an access control list, with a user of its own.
func (m *model) setACL(n vfs.Node) {
	a, err := n.Getattr(root)
	m.ok(err)
	name := acl.Access
	if a.Mode&p9.FileMode(modeType) == p9.ModeDirectory && m.n%2 == 0 {
		name = acl.Default
	}
	if a.Mode&p9.FileMode(modeType) == p9.ModeSymlink {
		return
	}
	v := []byte{2, 0, 0, 0}
	for _, e := range [][3]uint32{{1, 7, 1<<32 - 1}, {2, 5, uint32(m.n)}, {4, 0, 1<<32 - 1}, {16, 7, 1<<32 - 1}, {32, 1, 1<<32 - 1}} { // tag, permissions, id
		v = binary.LittleEndian.AppendUint16(v, uint16(e[0]))
		v = binary.LittleEndian.AppendUint16(v, uint16(e[1]))
		v = binary.LittleEndian.AppendUint32(v, e[2])
	}
	m.ok(n.SetXattr(root, name, v, 0))
}

// choose says which of the volumes in use are written from now on: the others count
// as full.
func (m *model) choose() {
	cat, err := catalog.Open(filepath.Join(m.dir, "catalog"), catalog.Options{Log: m.log})
	m.ok(err)
	var list []catalog.Volume
	m.ok(cat.Update(func(tx *catalog.Tx) error {
		list = nil
		return tx.Volumes(func(v catalog.Volume) bool { list = append(list, v); return true })
	}))
	for _, v := range list {
		if v.UUID == "" {
			continue
		}
		v.State = catalog.VolAppend
		if rapid.Bool().Draw(m.rt, "volume is full") {
			v.State = catalog.VolFull
		}
		m.ok(cat.Update(func(tx *catalog.Tx) error { return tx.PutVolume(&v) }))
	}
	m.ok(cat.Close())
}

func (m *model) regular(path string) bool {
	n := m.node(path)
	defer n.Release()
	a, err := n.Getattr(root)
	m.ok(err)
	return a.Mode&p9.FileMode(modeType) == modeFile
}

// TestAnyTree: whatever is done to a tree, with archivings to changing volumes in
// between, the tapes give it back, and again after changes to what they gave.
// SLIOD_REBUILD_TREES is how many trees.
func TestAnyTree(t *testing.T) {
	left := 12
	if s := os.Getenv("SLIOD_REBUILD_TREES"); s != "" {
		var err error
		if left, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		if left--; left < 0 && !t.Failed() {
			return
		}
		dir, err := os.MkdirTemp(shm(), "rebuild")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		r := newRig(rt, dir, func(c *virtual.Config) { c.Capacity, c.Slots = 96*mib, 5 })
		defer func() {
			if r.fs != nil {
				_ = r.fs.Close(t.Context())
			}
			_ = r.lib.Close()
		}()
		m := &model{rig: r, rt: rt, dirs: map[string]bool{"/first": true}}
		r.open()
		r.mkdir("/first")
		for range 2 {
			for range rapid.IntRange(1, 3).Draw(rt, "rounds") {
				if r.fs == nil {
					r.open()
				}
				for range rapid.IntRange(1, 12).Draw(rt, "steps") {
					m.step()
				}
				r.settle()
				m.choose()
			}
			want := r.snapshot()
			r.forget()
			rep := r.rebuild()
			got := r.snapshot()
			r.same(want, got)
			if rep.LostFiles+rep.LostFound+rep.Renamed+rep.Damaged+rep.Adopted+rep.Foreign != 0 {
				rt.Fatalf("%+v", rep)
			}
		}
	})
}

// shm is a folder in memory, if there is one.
func shm() string {
	if _, err := os.Stat("/dev/shm"); err == nil {
		return "/dev/shm"
	}
	return ""
}
