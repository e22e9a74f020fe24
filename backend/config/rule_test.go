package config

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"sliod/backend/policy"
)

func TestRules(t *testing.T) {
	c, err := Parse("f.toml", []byte(`
[archive]
idle = "2m"

[pool.scratch]
volumes = ["S*"]
[pool.near]
[pool.far]
volumes = ["F*"]

[rule.tmp]
path = ["*.tmp", "/scratch"]
never = true

[rule.gold]
owner = ["0", "1234567"]
group = ["7"]
min_size = "1MiB"
max_size = "1GiB"
min_age = "24h"
xattr = ["user.keep", "user.class=gold"]
copies = ["near", "far", "near"]
idle = "1h"
dirty = "80%"
hours = "22:00-06:00"
collocate = "owner"

[rule.rest]
pool = "near"
copies = 2
`))
	if err != nil {
		t.Fatal(err)
	}
	yes, hour, share := true, time.Hour, 0.8
	want := []*policy.Rule{
		{Name: "tmp", Paths: []string{"*.tmp", "/scratch"}, Settings: policy.Settings{Number: 1, Never: &yes, Collocate: "directory"}},
		{Name: "gold", Owners: []uint32{0, 1234567}, Groups: []uint32{7}, MinSize: 1 << 20, MaxSize: 1 << 30, MinAge: 24 * time.Hour, Xattrs: []string{"user.keep", "user.class=gold"},
			Settings: policy.Settings{Copies: []string{"near", "far", "near"}, Idle: &hour, Dirty: &share, Hours: &policy.Hours{From: 22 * 60, To: 6 * 60}, Collocate: "owner"}},
		{Name: "rest", Settings: policy.Settings{Pool: "near", Number: 2, Collocate: "directory"}},
	}
	if !reflect.DeepEqual(c.Rules, want) {
		for i, r := range c.Rules {
			t.Errorf("%+v, want\n%+v", *r, *want[i])
		}
	}
	p := c.Policy()
	if got := strings.Join(p.Pools, " "); got != "default near far" {
		t.Errorf("pools %s", got)
	}
	d := p.Decide(&policy.File{Path: "/x", Xattr: func(string) ([]byte, bool) { return nil, false }})
	if d.Rule != "rest" || strings.Join(d.Copies, " ") != "near near" || d.Idle != 2*time.Minute || d.Dirty != 0.3 {
		t.Errorf("%+v", d)
	}
}

func TestRuleErrors(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"unknown key", "[rule.x]\nsize = 3\n", "f.toml:2: there is no key size in [rule.x]; its keys are path, owner, "},
		{"pool", "[rule.x]\n\npool = \"far\"\n", "f.toml:3: [rule.x]: there is no pool \"far\" that files could go to: there are default; [pool.NAME] makes one"},
		{"scratch", "[pool.scratch]\nvolumes = [\"S*\"]\n[rule.x]\npool = \"scratch\"\n", "f.toml:4: [rule.x]: there is no pool \"scratch\""},
		{"pools", "[rule.x]\ncopies = [\"default\", \"far\"]\n", "f.toml:2: [rule.x]: there is no pool \"far\""},
		{"both", "[pool.a]\nvolumes = [\"A*\"]\n[rule.x]\npool = \"a\"\ncopies = [\"a\"]\n", "f.toml:5: [rule.x]: pool and a list of pools as copies exclude"},
		{"copies", "[rule.x]\ncopies = 0\n", "f.toml:2: rule.x.copies: 0 cannot be used: there can be 1 to 8 copies (allowed: 1 to 8, or a list"},
		{"no copies", "[rule.x]\ncopies = []\n", "f.toml:2: rule.x.copies: there can be 1 to 8 copies"},
		{"text", "[rule.x]\ncopies = \"two\"\n", "f.toml:2: rule.x.copies: a number without quotes is needed, or a list in brackets"},
		{"path", "[rule.x]\npath = [\"a/b\"]\n", "f.toml:2: rule.x.path: \"a/b\": it has a slash and does not begin with one"},
		{"owner", "[rule.x]\nowner = [\"no such user\"]\n", "f.toml:2: rule.x.owner: this machine knows no user \"no such user\""},
		{"group", "[rule.x]\ngroup = [\"no such group\"]\n", "f.toml:2: rule.x.group: this machine knows no group"},
		{"xattr", "[rule.x]\nxattr = [\"keep\"]\n", "f.toml:2: rule.x.xattr: \"keep\" is no extended attribute"},
		{"sizes", "[rule.x]\nmin_size = 5\nmax_size = 4\n", "f.toml:3: [rule.x]: it is less than min_size"},
		{"hours", "[rule.x]\nhours = \"22-6\"\n", "f.toml:2: rule.x.hours: \"22-6\" cannot be used: it is no part of the day (allowed: hours and minutes"},
		{"never", "[rule.x]\nnever = \"yes\"\n", "f.toml:2: rule.x.never: true or false without quotes is needed"},
		{"collocate", "[rule.x]\ncollocate = \"colour\"\n", "f.toml:2: rule.x.collocate: \"colour\" cannot be used: no such choice"},
		{"scratch encrypted", "[pool.scratch]\nvolumes = [\"S*\"]\nencryption = \"on\"\nkey_id = \"k\"\nkey_file = \"k\"\n", "f.toml:3: [pool.scratch]: no data are written in the pool scratch"},
		{"scratch without volumes", "[pool.scratch]\n", "f.toml:1: [pool.scratch]: no volume belongs to it"},
	} {
		_, err := Parse("f.toml", []byte(tc.text))
		if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: %v\nwant %s", tc.name, err, tc.want)
		}
	}
}
