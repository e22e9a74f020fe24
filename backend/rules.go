package backend

import (
	stderrors "errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/backend/policy"
	"sliod/backend/sliver"
)

// policyXattr is the attribute by which a directory says how what is below it is archived, see
// policy.Rules.Check. It is on tape like any other, and not listed, as all with its prefix.
const policyXattr = ownXattr + "policy"

// maxDirs is how many directories' settings are kept in memory.
const maxDirs = 10_000

// rules is package policy over the catalog.
type rules struct {
	*policy.Rules

	mu    sync.Mutex
	epoch uint64 // grows when a setting or the name of a directory changes: what was decided may be wrong
	dirs  map[sliver.FileID]*dirRules
}

// dirRules is what the directories down to one of them say, itself among them.
type dirRules struct {
	path     string // "" for the root
	settings []policy.Setting
}

// verdict is how a file is archived, as decided when the rules had the epoch.
type verdict struct {
	policy.Decision
	place mover.Place
	epoch uint64
	at    time.Time
}

// withPolicy completes the rules of the options.
func (o *Options) withPolicy() *policy.Rules {
	r := policy.Rules{Pools: []string{catalog.DefaultPool}}
	if o.Policy != nil {
		r = *o.Policy
	}
	if len(r.Default.Copies) == 0 {
		r.Default.Copies = []string{catalog.DefaultPool}
	}
	if r.Default.Collocate == "" {
		r.Default.Collocate = policy.ByDirectory
	}
	r.Default.Idle, r.Default.Dirty = o.ArchiveIdle, o.ArchiveDirty
	return &r
}

// changed says that what was decided may be wrong now.
func (r *rules) changed() {
	r.mu.Lock()
	r.epoch++
	r.dirs = nil
	r.mu.Unlock()
}

// holds says whether a verdict need not be asked for again.
func (r *rules) holds(v *verdict, now time.Time) bool {
	if v == nil || r.Timed() && now.Sub(v.at) > time.Minute {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return v.epoch == r.epoch
}

// verdict says how a file is archived. One that is gone is treated as one without a name: what
// is left of it is its removal.
func (fs *FS) verdict(id sliver.FileID) (*verdict, error) {
	fs.rules.mu.Lock()
	v := &verdict{epoch: fs.rules.epoch, at: time.Now()}
	fs.rules.mu.Unlock()
	f := &policy.File{Xattr: func(string) ([]byte, bool) { return nil, false }}
	dir := noFile
	ino, err := fs.get(id)
	if err == nil {
		a := ino.attr()
		ino.release()
		f, dir, err = fs.factsOf(&a)
	} else if stderrors.Is(err, linux.ENOENT) {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	v.Decision = fs.rules.Decide(f)
	v.place.Pool = v.Copies[0]
	switch {
	case f.Path == "":
	case v.Collocate == policy.ByDirectory:
		v.place.Group = fmt.Sprintf("directory %d", dir)
	case v.Collocate == policy.ByOwner:
		v.place.Group = fmt.Sprintf("owner %d", f.UID)
	}
	return v, nil
}

// factsOf gathers what the rules want to know of a file, and its directory.
func (fs *FS) factsOf(a *catalog.Inode) (f *policy.File, dir sliver.FileID, err error) {
	f = &policy.File{UID: a.UID, GID: a.GID, Size: a.Size, Age: time.Since(time.Unix(a.Mtime.Sec, int64(a.Mtime.Nsec)))}
	f.Xattr = func(name string) ([]byte, bool) {
		v, ok, xerr := fs.plainXattr(a.ID, name)
		if err == nil {
			err = xerr
		}
		return v, ok
	}
	if a.ID == sliver.RootID {
		d, err := fs.dirRules(a.ID)
		if err == nil {
			f.Path, f.Settings = "/", d.settings
		}
		return f, a.ID, err
	}
	// The first of its names counts, as in the index.
	names, err := fs.names(a.ID)
	if err != nil || len(names) == 0 {
		return f, noFile, err
	}
	first := names[0]
	dir = first.above[len(first.above)-1]
	d, err := fs.dirRules(dir)
	if err != nil {
		return f, dir, err
	}
	f.Path = "/" + first.path
	f.Settings = d.settings
	own, ok, err := fs.plainXattr(a.ID, policyXattr)
	if ok {
		f.Settings = append(slices.Clone(f.Settings), policy.Setting{Path: f.Path, Text: string(own)})
	}
	return f, dir, err
}

func (fs *FS) plainXattr(id sliver.FileID, name string) (v []byte, ok bool, err error) {
	err = fs.cat.View(func(tx *catalog.Tx) (err error) {
		v, err = tx.Xattr(id, name)
		return err
	})
	if stderrors.Is(err, catalog.ErrNotFound) {
		return nil, false, nil
	}
	return v, err == nil, err
}

// dirRules returns what the directories on the way to id say, and id itself.
func (fs *FS) dirRules(id sliver.FileID) (*dirRules, error) {
	r := &fs.rules
	r.mu.Lock()
	d, epoch := r.dirs[id], r.epoch
	r.mu.Unlock()
	if d != nil {
		return d, nil
	}
	d = &dirRules{}
	if id != sliver.RootID {
		up, name := noFile, ""
		err := fs.cat.View(func(tx *catalog.Tx) error {
			return tx.Names(id, func(dir sliver.FileID, n string) bool { up, name = dir, n; return false })
		})
		if err != nil {
			return nil, err
		}
		if up == noFile {
			return d, nil // removed just now
		}
		above, err := fs.dirRules(up)
		if err != nil {
			return nil, err
		}
		d.path, d.settings = above.path+"/"+name, above.settings
	}
	text, ok, err := fs.plainXattr(id, policyXattr)
	if err != nil {
		return nil, err
	}
	if ok {
		path := d.path
		if path == "" {
			path = "/"
		}
		d.settings = append(slices.Clone(d.settings), policy.Setting{Path: path, Text: string(text)})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.epoch == epoch {
		if r.dirs == nil || len(r.dirs) >= maxDirs {
			r.dirs = make(map[sliver.FileID]*dirRules)
		}
		r.dirs[id] = d
	}
	return d, nil
}

// checkPolicy says whether the setting of a directory makes sense.
func (fs *FS) checkPolicy(value []byte) error {
	if err := fs.rules.Check(string(value)); err != nil {
		fs.log.WithError(err).Warnf("the attribute %s is refused: its value is %q", policyXattr, value)
		return fmt.Errorf("%s: %w: %w", policyXattr, err, linux.EINVAL)
	}
	return nil
}

// PolicyInfo says how a file is archived, as `sliod policy --json` prints it.
type PolicyInfo struct {
	Rule        string    `json:"rule,omitempty"`    // the section that fits; none: the defaults hold
	From        string    `json:"from,omitempty"`    // whose attribute user.sliod.policy has changed it
	Problem     string    `json:"problem,omitempty"` // with such an attribute, which does not count
	Never       bool      `json:"never"`
	Pools       []string  `json:"pools"` // of the copies, one for each
	IdleSeconds float64   `json:"idle_seconds"`
	Dirty       float64   `json:"dirty"`
	Hours       string    `json:"hours,omitempty"`
	Collocate   string    `json:"collocate"`
	Pending     bool      `json:"pending"`         // something of it is not on tape as often as it should be
	Due         time.Time `json:"due,omitzero"`    // when that is archived, if the cache does not need it sooner
	Volumes     []string  `json:"volumes"`         // that have something of it
	Missing     int       `json:"missing_slivers"` // of those that are on tape, slivers with fewer copies than pools says
}

// policyInfo tells how a file is archived.
func (ino *inode) policyInfo() (*PolicyInfo, error) {
	fs := ino.fs
	v, err := fs.verdict(ino.id)
	if err != nil {
		return nil, err
	}
	p := &PolicyInfo{Rule: v.Rule, From: v.From, Problem: v.Problem, Never: v.Never, Pools: v.Copies, IdleSeconds: max(v.Idle, 0).Seconds(), Dirty: v.Dirty,
		Collocate: v.Collocate, Volumes: []string{}}
	if v.Hours != nil {
		p.Hours = v.Hours.String()
	}
	if changed, ok := fs.pending.since(ino.id); ok {
		p.Pending = true
		if at, ok := v.DueAt(changed, time.Now()); ok {
			p.Due = at
		}
	}
	r := ino.attr()
	if !isFile(&r) {
		return p, nil
	}
	c, err := ino.census()
	if err != nil {
		return nil, err
	}
	p.Volumes = append(p.Volumes, fs.barcodes(c.volumes)...)
	pools, n := v.ByPool()
	missing := map[sliver.No]bool{}
	for _, pool := range pools {
		lacks, err := fs.lacking(ino.id, mover.CopyOptions{Pool: pool, Copies: n[pool]})
		if err != nil {
			return nil, err
		}
		for _, l := range lacks {
			missing[l.No] = true
		}
	}
	p.Missing = len(missing)
	return p, nil
}
