package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	stderrors "errors"
)

// Names of pools that mean something.
const (
	DefaultPool = "default" // of the volumes that no other pool takes
	ScratchPool = "scratch" // of volumes that come into any pool
)

// Pool is a section [pool.NAME]: volumes that are kept alike.
type Pool struct {
	Name string
	// Volumes are patterns (path.Match) of barcodes.
	Volumes []string
	// Encryption is "on" or "off": whether new volumes are encrypted.
	Encryption string
	// KeyID is the id of the key that volumes are written with; it comes from KeyFile or
	// KeyCommand, of which one is set if Encryption is on.
	KeyID      string
	KeyFile    string
	KeyCommand []string // program and arguments
	// OldKeys is a folder of files with other keys, named by their ids. Empty: none.
	OldKeys string
}

// poolSection is the name of the sections of pools.
const poolSection = "pool"

var (
	nameOK  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`) // of a section
	keyIDOK = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$`)
)

// KeyIDAllowed says whether s can be the id of a key: it is the name of a file, too.
func KeyIDAllowed(s string) bool { return keyIDOK.MatchString(s) }

var poolKeys = []Key{
	{
		Section: poolSection, Field: "volumes", Default: "", Unit: "patterns",
		Meaning: "The barcodes of the pool's volumes, with `*`, `?` and `[...]` as in a shell. A volume belongs to the first pool of the file that takes it; " +
			"what none takes belongs to the pool `default`, which must not have this key. The scratch volumes of a pool called `scratch` come, one at a time, into any pool that has no volume with room; a pool may be without this key if there is such a one.",
		pool: func(p *Pool) value { return &texts{&p.Volumes, checkPattern, "a list such as [\"A0*\"]"} },
	},
	{
		Section: poolSection, Field: "encryption", Default: "off", Unit: "word",
		Meaning: "Whether the pool's volumes are encrypted by the drive, with AES-256-GCM. A volume that is not as this says is read, and not written any longer. `\"on\"` is refused for the pool `scratch`. See docs/encryption.md.",
		pool:    func(p *Pool) value { return &choice{&p.Encryption, []string{"on", "off"}} },
	},
	{
		Section: poolSection, Field: "key_id", Default: "", Unit: "id",
		Meaning: "The name of the key that volumes are written with. It is no secret: it stands in the medium's memory and on tape. Give every key another one, for ever.",
		pool: func(p *Pool) value {
			return &keyID{text{&p.KeyID, "1 to 32 of A-Z, a-z, 0-9, `.`, `_` and `-`, the first a letter or digit"}}
		},
	},
	{
		Section: poolSection, Field: "key_file", Default: "", Unit: "path",
		Meaning: "The file that has the key: 64 hex digits, or 32 bytes as they are. Nobody but its owner may have access to it. A relative path starts at the folder of the configuration file.",
		pool:    func(p *Pool) value { return &text{&p.KeyFile, "a path"} },
	},
	{
		Section: poolSection, Field: "key_command", Default: "", Unit: "program and arguments",
		Meaning: "Instead of `key_file`: a program that prints the key as 64 hex digits, with its arguments. No shell is involved. The id of the key that is wanted is in its " +
			"environment as `SLIOD_KEY_ID`: it is asked for older keys, too. It has 30 seconds.",
		pool: func(p *Pool) value {
			return &texts{&p.KeyCommand, checkArgument, "a list such as [\"/usr/local/bin/tape-key\", \"--archive\"]"}
		},
	},
	{
		Section: poolSection, Field: "old_keys", Default: "", Unit: "path",
		Meaning: "A folder of keys with which volumes were written earlier, to read them: files as for `key_file`, each named by the key's id. It is looked at when a volume needs such a key.",
		pool:    func(p *Pool) value { return &text{&p.OldKeys, "a path"} },
	},
}

// keyID is the id of a key, or empty.
type keyID struct{ text }

func (v *keyID) setText(s string) error {
	if s != "" && !KeyIDAllowed(s) {
		return stderrors.New("it is no id of a key")
	}
	return v.text.setText(s)
}

func checkArgument(s string) error {
	if strings.ContainsRune(s, 0) {
		return stderrors.New("it has a zero byte")
	}
	return nil
}

// poolNamed returns the pool with a name, which is made with its defaults if there is none.
func (c *Config) poolNamed(name string) *Pool {
	i := slices.IndexFunc(c.Pools, func(p *Pool) bool { return p.Name == name })
	if i < 0 {
		p := &Pool{Name: name}
		for i := range poolKeys {
			if err := poolKeys[i].pool(p).setText(poolKeys[i].Default); err != nil {
				panic("config: the default of " + poolKeys[i].Name() + " is not allowed: " + err.Error())
			}
		}
		i, c.Pools = len(c.Pools), append(c.Pools, p)
	}
	return c.Pools[i]
}

// checkPools finds what is wrong within the sections of pools. Paths become absolute.
func (r *reader) checkPools() {
	scratch := slices.ContainsFunc(r.cfg.Pools, func(p *Pool) bool { return p.Name == ScratchPool })
	for _, p := range r.cfg.Pools {
		section := poolSection + "." + p.Name
		blame := func(field, format string, args ...any) {
			line := r.lines[section+"."+field]
			if line == 0 {
				line = r.lines[section]
			}
			r.fail(line, section+"."+field, "[%s]: %s", section, fmt.Sprintf(format, args...))
		}
		switch {
		case p.Name == DefaultPool && len(p.Volumes) > 0:
			blame("volumes", "the default pool has the volumes that no other pool takes: take the key out")
		case p.Name == ScratchPool && p.Encryption == "on":
			blame("encryption", "no data are written in the pool scratch: its volumes are encrypted as the pool says into which they come")
		case p.Name != DefaultPool && len(p.Volumes) == 0 && !r.failed(section+".volumes") && (p.Name == ScratchPool || !scratch):
			blame("volumes", "no volume belongs to it: give it volumes, such as [\"A0*\"]")
		}
		file, command := p.KeyFile != "", len(p.KeyCommand) > 0
		switch on := p.Encryption == "on"; {
		case file && command:
			blame("key_command", "the key comes from key_file or from key_command: take one of them out")
		case on && !file && !command && !r.failed(section+".key_file") && !r.failed(section+".key_command"):
			blame("encryption", "with encryption = \"on\" a key is needed: give key_file or key_command, and key_id")
		case (on || file) && p.KeyID == "" && !r.failed(section+".key_id"):
			blame("key_id", "the key needs an id: give key_id, such as \"%s-1\"", p.Name)
		case command && p.KeyCommand[0] == "":
			blame("key_command", "the first entry is the program; it is empty")
		}
		for _, path := range []*string{&p.KeyFile, &p.OldKeys} {
			if *path != "" && !filepath.IsAbs(*path) {
				*path = filepath.Join(filepath.Dir(r.file), *path)
			}
		}
	}
}
