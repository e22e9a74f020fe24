package faults

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"sliod/tape/virtual"
)

// diskModel is the disk that the library's files are on: it knows what is in the kernel's memory
// and what is on the platter.
type diskModel struct {
	dir string // of the library

	mu     sync.Mutex
	names  map[string]*fileModel // by path below dir
	synced map[string]*fileModel // the names that are on the platter
}

// fileModel is the content of a file.
type fileModel struct{ now, synced []byte }

func newDisk(dir string) *diskModel {
	return &diskModel{dir: dir, names: map[string]*fileModel{}, synced: map[string]*fileModel{}}
}

// load takes over the files that are there, as synced.
func (d *diskModel) load() error {
	return filepath.WalkDir(d.dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		f := &fileModel{b, slices.Clone(b)}
		d.names[d.rel(name)], d.synced[d.rel(name)] = f, f
		return nil
	})
}

func (d *diskModel) rel(name string) string {
	rel, err := filepath.Rel(d.dir, name)
	if err != nil {
		panic(err)
	}
	return rel
}

// apply makes a change.
func (d *diskModel) apply(c virtual.Change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := d.rel(c.Name)
	f := d.names[name]
	switch c.Op {
	case virtual.CreateFile:
		if f == nil {
			f = &fileModel{}
			d.names[name] = f
		}
		f.now = nil
	case virtual.WriteFile:
		if need := int(c.Offset) + len(c.Data); need > len(f.now) {
			f.now = append(f.now, make([]byte, need-len(f.now))...)
		}
		copy(f.now[c.Offset:], c.Data)
	case virtual.TruncateFile:
		f.now = append(f.now[:min(len(f.now), int(c.Offset))], make([]byte, max(0, int(c.Offset)-len(f.now)))...)
	case virtual.RenameFile:
		d.names[d.rel(c.To)] = f
		delete(d.names, name)
	case virtual.RemoveFile:
		delete(d.names, name)
	case virtual.SyncFile:
		f.synced = slices.Clone(f.now)
	case virtual.SyncDir:
		for _, m := range []map[string]*fileModel{d.synced, d.names} {
			for n := range m {
				if filepath.Dir(n) == name {
					if g := d.names[n]; g != nil {
						d.synced[n] = g
					} else {
						delete(d.synced, n)
					}
				}
			}
		}
	}
}

// loss is what a loss of power leaves of changes that were not synced.
type loss int

const (
	keepAll  loss = iota // all have come to the platter
	keepTorn             // and a part of the one that was under way
	keepNone             // what was synced alone
	keepSome             // of some files all, of others what was synced
	losses
)

func (l loss) String() string {
	return [...]string{"all that was written", "the last write torn", "only what was synced", "some of what was written"}[l]
}

// image writes the files as a loss of power leaves them, before the change next.
func (d *diskModel) image(to string, l loss, next virtual.Change, r *rand.Rand) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := d.names
	if l == keepNone || l == keepSome && r.IntN(2) == 0 {
		names = d.synced
	}
	for name, f := range names {
		content := f.now
		if l == keepNone || l == keepSome && r.IntN(2) == 0 {
			content = f.synced
		}
		if l == keepTorn && next.Op == virtual.WriteFile && d.rel(next.Name) == name {
			content = torn(content, next, r)
		}
		path := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// torn is content with the first bytes of a write.
func torn(content []byte, w virtual.Change, r *rand.Rand) []byte {
	part := w.Data[:r.IntN(len(w.Data)+1)]
	content = slices.Clone(content)
	if need := int(w.Offset) + len(part); need > len(content) {
		content = append(content, make([]byte, need-len(content))...)
	}
	copy(content[w.Offset:], part)
	return content
}
