package config

import (
	"fmt"
	"path"
	"strings"
	"time"

	"sliod/export"
)

// TLS is section [tls]: the files of the server's certificate, and of the CA that signs
// those of its users. All are empty, or none.
type TLS struct {
	Cert, Key, ClientCA string
}

// exportSection is the name of the sections of exports.
const exportSection = "export"

// exportNamed returns the export of a name, made with its defaults if it is a new one.
func (c *Config) exportNamed(name string) *export.Export {
	for i := range c.Exports {
		if c.Exports[i].Name == name {
			return &c.Exports[i]
		}
	}
	e := export.Export{Name: name}
	for i := range exportKeys {
		if err := exportKeys[i].export(&e).setText(exportKeys[i].Default); err != nil {
			panic("config: the default of " + exportKeys[i].Name() + " is not allowed: " + err.Error())
		}
	}
	c.Exports = append(c.Exports, e)
	return &c.Exports[len(c.Exports)-1]
}

// exportKeys are the keys of [export.NAME].
var exportKeys = []Key{
	exportKey("path", "/", "path of the archive", "The directory whose files are exported. Nothing leads out of it. It may be made later.",
		func(e *export.Export) value { return &archivePath{&e.Path} }),
	exportKey("attach", "", "name", "The attach name by which clients ask for it: `-o aname=NAME` of `sliod mount`, and of the kernel's. Empty: the NAME of the section. "+
		"`\"/\"` makes it what clients from elsewhere get that give no name; a process of this machine gets the whole archive then.",
		func(e *export.Export) value { return &attachName{e} }),
	exportKey("read_only", "false", "true or false", "Whether every change is refused (EROFS), recall, archive and evict by attributes among them. Reading a file still recalls it.",
		func(e *export.Export) value { return &boolean{&e.ReadOnly} }),
	exportKey("networks", "", "networks", "From where peers are let in. `unix`: this machine's unix sockets. A CIDR or an IP address: over plain TCP, **where everybody is who he says**, "+
		"and over TLS. `tls`, `tls:CIDR`: with a certificate, over TLS only. `vsock`, `vsock:CID`: virtual machines. An empty list: local processes only, by the export's name.",
		func(e *export.Export) value { return &networks{&e.Networks} }),
	exportKey("users", "", "users", "Who may attach. Empty, with `certificates` empty: everybody who is let in. A user's name or number, or `host:NAME` for a machine's certificate. "+
		"Over plain TCP and vsock this is no protection: users are only claimed.",
		func(e *export.Export) value {
			return &texts{&e.Users, checkUser, "a list such as [\"alice\", \"1001\", \"host:builder\"]"}
		}),
	exportKey("certificates", "", "fingerprints", "Certificates that may attach, beside `users`, by the SHA-256 of the whole certificate.",
		func(e *export.Export) value {
			return &texts{&e.Certificates, checkFingerprint, "a list of \"sha256:\" and 64 hexadecimal digits each"}
		}),
	exportKey("map", "auto", "word", "Whom the server acts as. `as-is`: as the user who asks. `root-squash`: root becomes the anonymous user. `all-squash`: everybody does. "+
		"`ranges`: numbers are translated by `uids` and `gids`, and back in what the client sees; all others are anonymous. `auto`: `all-squash` over vsock, else `root-squash`.",
		func(e *export.Export) value {
			return &choice{(*string)(&e.Map), []string{"auto", "as-is", "root-squash", "all-squash", "ranges"}}
		}),
	exportKey("anon_uid", "65534", "user", "The number of the anonymous user.", func(e *export.Export) value { return &id{&e.AnonUID} }),
	exportKey("anon_gid", "65534", "group", "The number of the anonymous group.", func(e *export.Export) value { return &id{&e.AnonGID} }),
	exportKey("uids", "", "ranges", "With `map = \"ranges\"`: which users of the client are which ones here, as FIRST-LAST:FIRST_HERE.",
		func(e *export.Export) value { return &ranges{&e.UIDs} }),
	exportKey("gids", "", "ranges", "The same for groups.", func(e *export.Export) value { return &ranges{&e.GIDs} }),
	exportKey("insecure_root", "false", "true or false", "Lets root of a machine be root here over plain TCP or vsock, although nothing proves who it is. Needed for `map = \"as-is\"` there.",
		func(e *export.Export) value { return &boolean{&e.InsecureRoot} }),
	exportKey("admin", "false", "true or false", "Lets the users whose certificates the export lists administer the whole server: the control tree, by the commands with `--server tls:HOST:PORT`.",
		func(e *export.Export) value { return &boolean{&e.Admin} }),
	exportRecallKey("recall", "allow", "word", recallMeaning, func(r *export.Recall) value { return recallMode(r) }),
	exportRecallKey("recall_files", "0", "files", recallFiles, func(r *export.Recall) value { return &count{&r.Files, 0, 1e9} }),
	exportRecallKey("recall_bytes", "0B", "size", recallBytes, func(r *export.Recall) value { return &size{&r.Bytes, 16 * mib, 1024 * tib, true} }),
	exportRecallKey("recall_per", "1h", "time", recallPer, func(r *export.Recall) value { return &duration{&r.Per, time.Second, 31 * 24 * time.Hour} }),
	exportRecallKey("recall_users", "", "users", recallUsers, func(r *export.Recall) value { return recallExceptions(r) }),
	exportRecallKey("recall_error", "EAGAIN", "word", recallError, func(r *export.Recall) value { return &choice{&r.Error, export.RecallErrors} }),
}

func exportKey(field, def, unit, meaning string, v func(*export.Export) value) Key {
	return Key{Section: exportSection, Field: field, Default: def, Unit: unit, Meaning: meaning, export: v}
}

// archivePath is a path of the archive, kept clean.
type archivePath struct{ p *string }

func (v *archivePath) setText(s string) error {
	if !strings.HasPrefix(s, "/") || strings.ContainsRune(s, 0) {
		return fmt.Errorf("it is not an absolute path of the archive")
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "." || part == ".." {
			return fmt.Errorf("it has %s in it", part)
		}
	}
	*v.p = path.Clean(s)
	return nil
}

func (v *archivePath) allowed() string           { return "a path of the archive that begins with /" }
func (v *archivePath) takes() (number, str bool) { return false, true }

// attachName is an attach name without its leading slash. The empty text stands for
// the export's own name.
type attachName struct{ e *export.Export }

func (v *attachName) setText(s string) error {
	if strings.ContainsRune(s, 0) {
		return fmt.Errorf("it has a zero byte")
	}
	if s == "" {
		s = v.e.Name
	}
	v.e.Attach = strings.Trim(s, "/")
	return nil
}

func (v *attachName) allowed() string           { return "a name, or \"/\"" }
func (v *attachName) takes() (number, str bool) { return false, true }

// networks is a list of networks.
type networks struct{ p *[]export.Network }

func (v *networks) setText(string) error { *v.p = nil; return nil } // the default: none

func (v *networks) setList(list []string) error {
	var parsed []export.Network
	for _, s := range list {
		n, err := export.ParseNetwork(s)
		if err != nil {
			return err
		}
		parsed = append(parsed, n)
	}
	*v.p = parsed
	return nil
}

func (v *networks) allowed() string           { return `a list such as ["tls", "192.168.1.0/24", "vsock:3"]` }
func (v *networks) takes() (number, str bool) { return false, false }

// ranges is a list of ranges of numbers.
type ranges struct{ p *[]export.Range }

func (v *ranges) setText(string) error { *v.p = nil; return nil }

func (v *ranges) setList(list []string) error {
	var parsed []export.Range
	for _, s := range list {
		r, err := export.ParseRange(s)
		if err != nil {
			return err
		}
		parsed = append(parsed, r)
	}
	*v.p = parsed
	return nil
}

func (v *ranges) allowed() string           { return `a list such as ["1000-1999:101000"]` }
func (v *ranges) takes() (number, str bool) { return false, false }

func checkUser(s string) error {
	if s == "" || strings.ContainsAny(s, "\x00\n") {
		return fmt.Errorf("%q is no user", s)
	}
	return nil
}

func checkFingerprint(s string) error {
	hex, ok := strings.CutPrefix(s, "sha256:")
	if !ok || len(hex) != 64 || strings.Trim(hex, "0123456789abcdefABCDEF") != "" {
		return fmt.Errorf("%q is not sha256: and 64 hexadecimal digits", s)
	}
	return nil
}
