package config

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"sliod/export"
)

func TestParseExports(t *testing.T) {
	_, err := Parse("/etc/sliod/sliod.toml", []byte(`
[tls]
cert = "server.crt"
key = "/keys/server.key"
client_ca = "ca.crt"
[export.public]
read_only = true
networks = ["10.1.0.0/16", "tls"]
map = "all-squash"
[export.lab]
path = "/projects//lab/"
attach = "/lab/one"
networks = ["vsock:3"]
users = ["host:gate"]
map = "ranges"
uids = [
  "1000-1999:101000", # people
]
gids = ["100:200100"]
anon_uid = 1_000
export.dotted.path = "/d"
`))
	if err == nil || !strings.Contains(err.Error(), "there is no key export.dotted.path in [export.lab]") {
		t.Fatalf("a dotted key below another section: %v", err)
	}
	c, err := Parse("/etc/sliod/sliod.toml", []byte(`
export.dotted.path = "/d"
export.inline = {path = "/i", admin = true, networks = ["tls"], users = ["alice"]}
[tls]
cert = "server.crt"
key = "/keys/server.key"
client_ca = "ca.crt"
[export.public]
read_only = true
networks = ["10.1.0.0/16", "tls"]
map = "all-squash"
[export.lab]
path = "/projects//lab/"
attach = "/lab/one"
map = "ranges"
uids = ["1000-1999:101000"]
anon_uid = 1_000
[export.empty]
[export.root]
attach = "/"
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.TLS != (TLS{"/etc/sliod/server.crt", "/keys/server.key", "/etc/sliod/ca.crt"}) {
		t.Errorf("%+v", c.TLS)
	}
	base := export.Export{Path: "/", Map: export.Auto, AnonUID: 65534, AnonGID: 65534,
		Recall: export.Recall{Mode: export.RecallAllow, Per: time.Hour, Error: "EAGAIN"}}
	var names []string
	for _, e := range c.Exports {
		names = append(names, e.Name+"="+e.Attach+"="+e.Path)
	}
	if want := []string{"dotted=dotted=/d", "inline=inline=/i", "public=public=/", "lab=lab/one=/projects/lab", "empty=empty=/", "root==/"}; !reflect.DeepEqual(names, want) {
		t.Fatalf("%q, want %q", names, want)
	}
	base.Name, base.Attach = "empty", "empty"
	if !reflect.DeepEqual(c.Exports[4], base) {
		t.Errorf("the defaults are %+v", c.Exports[4])
	}
	if e := c.Exports[2]; !e.ReadOnly || len(e.Networks) != 2 || e.Map != export.AllSquash {
		t.Errorf("%+v", e)
	}
	if e := c.Exports[3]; e.Map != export.Ranges || e.AnonUID != 1000 || !reflect.DeepEqual(e.UIDs, []export.Range{{Client: 1000, Server: 101000, Count: 1000}}) {
		t.Errorf("%+v", e)
	}
}

func TestExportErrors(t *testing.T) {
	for _, x := range []struct{ text, want string }{
		{"[export]\npath = \"/\"\n", "f.toml:1: [export] needs a name of its own: write [export.NAME]"},
		{"export.path = \"/\"\n", "f.toml:1: [export] needs a name of its own: write [export.NAME], and its keys below"},
		{"[export.a.b]\n", "f.toml:1: there is no section [export.a.b]: write [export.NAME]"},
		{"[export.\"a/b\"]\n", "f.toml:1: \"a/b\" cannot be the name"},
		{"[[export.a]]\n", "f.toml:1: [[export.a]] makes a list"},
		{"[export.a]\nwhat = 1\n", "f.toml:2: there is no key export.a.what|there is no key what in [export.a]; its keys are path, attach"},
		{"[export.a]\npath = \"a\"\n", "f.toml:2: export.a.path: \"a\" cannot be used: it is not an absolute path of the archive"},
		{"[export.a]\npath = \"/x/../y\"\n", "it has .. in it"},
		{"[export.a]\nread_only = \"yes\"\n", "f.toml:2: export.a.read_only: true or false without quotes is needed"},
		{"[export.a]\nread_only = 1\n", "true or false without quotes is needed"},
		{"[export.a]\nnetworks = \"tls\"\n", "a list in brackets is needed"},
		{"[export.a]\nnetworks = [\"lan\"]\n", "f.toml:2: export.a.networks: network \"lan\": write unix, vsock"},
		{"[export.a]\nmap = \"all\"\n", "f.toml:2: export.a.map: \"all\" cannot be used: no such choice"},
		{"[export.a]\nuids = [\"1\"]\n", "range \"1\": write FIRST-LAST:SERVER"},
		{"[export.a]\nanon_uid = 0\n", "it is out of range (allowed: 1 to 4294967294; default: 65534)"},
		{"[export.a]\nusers = [\"\"]\n", "is no user"},
		{"[export.a]\ncertificates = [\"sha256:12\"]\n", "is not sha256: and 64"},
		{"[export.a]\nnetworks = [\"10.0.0.0/8\"]\nmap = \"as-is\"\n", "f.toml:3: map of [export.a] is \"as-is\""},
		{"[log]\nlevel = \"info\"\n[export.a]\nattach = \"b\"\n[export.b]\n", "f.toml:5: [export.a] and [export.b] have the same attach name"},
		{"[export.a]\nadmin = true\n", "f.toml:2: admin of [export.a] is set"},
		{"[tls]\nkey = \"k\"\n", "f.toml:1: tls.cert, tls.key and tls.client_ca belong together"},
	} {
		_, err := Parse("f.toml", []byte(x.text))
		ok := false
		for want := range strings.SplitSeq(x.want, "|") {
			ok = ok || err != nil && strings.Contains(err.Error(), want)
		}
		if !ok {
			t.Errorf("%q: %v", x.text, err)
		}
	}
}
