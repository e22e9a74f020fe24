package pool

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	stderrors "errors"

	"github.com/pkg/errors"

	"sliod/backend/config"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// Pools are the pools of a configuration. nil has none: every volume is in pool "", and
// there are no keys.
type Pools struct {
	list []*pool

	patience time.Duration // with commands

	mu    sync.Mutex
	known map[answer]*tape.EncryptionKey // by commands
}

// answer names what a command was asked.
type answer struct{ pool, id string }

// pool is one of them. It does not change.
type pool struct {
	*config.Pool
	current *tape.EncryptionKey // of KeyFile; nil if there is none
}

// New makes the pools of a configuration, and reads their key files.
func New(list []*config.Pool) (*Pools, error) {
	ps := &Pools{patience: commandTime, known: map[answer]*tape.EncryptionKey{}}
	for _, c := range list {
		p := &pool{Pool: c}
		if c.KeyFile != "" {
			k, err := readKey(c.KeyFile, c.KeyID)
			if err != nil {
				return nil, errors.WithMessagef(err, "pool %s: key_file", c.Name)
			}
			p.current = k
		}
		if c.OldKeys != "" {
			if st, err := os.Stat(c.OldKeys); err != nil || !st.IsDir() {
				return nil, errors.Errorf("pool %s: old_keys: %s is no folder that can be looked at: make it, or take the key out", c.Name, c.OldKeys)
			}
		}
		ps.list = append(ps.list, p)
	}
	return ps, nil
}

// Of returns the pool of a volume.
func (ps *Pools) Of(b tape.Barcode) string {
	if ps == nil {
		return ""
	}
	for _, p := range ps.list {
		if slices.ContainsFunc(p.Volumes, func(pattern string) bool { ok, _ := path.Match(pattern, string(b)); return ok }) {
			return p.Name
		}
	}
	return config.DefaultPool
}

// Source returns the keys of a pool's volumes: to write with, that of the pool; to read, those
// of all pools. nil: there are no pools.
func (ps *Pools) Source(name string) ltfs.KeySource {
	if ps == nil {
		return nil
	}
	return func(id string) (*tape.EncryptionKey, error) {
		if id == "" {
			return ps.current(name)
		}
		return ps.find(name, id)
	}
}

func (ps *Pools) named(name string) *pool {
	i := slices.IndexFunc(ps.list, func(p *pool) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return ps.list[i]
}

// current is the key that a pool writes with, nil if it does so in clear.
func (ps *Pools) current(name string) (*tape.EncryptionKey, error) {
	p := ps.named(name)
	if p == nil || p.Encryption != "on" {
		return nil, nil // only the default pool needs no section
	}
	if p.current != nil {
		return p.current, nil
	}
	k, err := ps.ask(p, p.KeyID)
	return k, errors.WithMessagef(err, "pool %s", name)
}

// find looks for a key, in the volume's own pool first. Cartridges change pools.
func (ps *Pools) find(name, id string) (*tape.EncryptionKey, error) {
	order := slices.Clone(ps.list)
	slices.SortStableFunc(order, func(a, b *pool) int {
		switch {
		case a.Name == name:
			return -1
		case b.Name == name:
			return 1
		}
		return 0
	})
	var errs []string
	for _, p := range order {
		k, err := ps.lookup(p, id)
		if err == nil && k != nil {
			return k, nil
		}
		if err != nil {
			errs = append(errs, "pool "+p.Name+": "+err.Error())
		}
	}
	if len(errs) > 0 {
		return nil, errors.Errorf("key %q: %s", id, strings.Join(errs, "; "))
	}
	return nil, errors.Errorf("no pool has key %q: put it into a file of that name in the folder of old_keys of [pool.%s]", id, name)
}

// lookup finds a key of p by its id; nil if p has none.
func (ps *Pools) lookup(p *pool, id string) (*tape.EncryptionKey, error) {
	if p.current != nil && id == p.KeyID {
		return p.current, nil
	}
	// Ids come from tape: one that is no plain name must not lead elsewhere.
	if p.OldKeys != "" && config.KeyIDAllowed(id) {
		k, err := readKey(filepath.Join(p.OldKeys, id), id)
		if err == nil || !stderrors.Is(err, os.ErrNotExist) {
			return k, err
		}
	}
	if len(p.KeyCommand) > 0 && config.KeyIDAllowed(id) {
		return ps.ask(p, id)
	}
	return nil, nil
}

// ask has p's command give a key, unless it has before.
func (ps *Pools) ask(p *pool, id string) (*tape.EncryptionKey, error) {
	a := answer{p.Name, id}
	ps.mu.Lock()
	k := ps.known[a]
	ps.mu.Unlock()
	if k != nil {
		return k, nil
	}
	k, err := runCommand(p.Pool, id, ps.patience)
	if err != nil {
		return nil, err
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if first := ps.known[a]; first != nil {
		return first, nil
	}
	ps.known[a] = k
	return k, nil
}
