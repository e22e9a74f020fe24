package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestPools(t *testing.T) {
	c, err := Parse("/etc/sliod/sliod.toml", []byte(`
pool.quoted.volumes = ["Q*"]
pool."dotted.name" = { volumes = ["D*"] }

[pool.secret]
volumes = ["A0*", "B?0001L9"]
encryption = "on"
key_id = "2026-a"
key_file = "keys/2026-a"
old_keys = "/var/keys"

[pool.default]
encryption = "on"
key_id = "d1"
key_command = ["tape-key", "--archive", ""]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []*Pool{
		{Name: "quoted", Volumes: []string{"Q*"}, Encryption: "off"},
		{Name: "dotted.name", Volumes: []string{"D*"}, Encryption: "off"},
		{Name: "secret", Volumes: []string{"A0*", "B?0001L9"}, Encryption: "on", KeyID: "2026-a", KeyFile: "/etc/sliod/keys/2026-a", OldKeys: "/var/keys"},
		{Name: "default", Encryption: "on", KeyID: "d1", KeyCommand: []string{"tape-key", "--archive", ""}},
	}
	if !reflect.DeepEqual(c.Pools, want) {
		for _, p := range c.Pools {
			t.Errorf("%+v", *p)
		}
	}
	if len(Default().Pools) != 0 {
		t.Error("there is a pool by default")
	}
}

func TestPoolErrors(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"no name", "[pool]\nvolumes = [\"A*\"]\n", "f.toml:1: "},
		{"bad name", "[pool.\"a b\"]\nvolumes = [\"A*\"]\n", "f.toml:1: "},
		{"unknown key", "[pool.x]\nvolumes = [\"A*\"]\nkeyfile = \"k\"\n", "f.toml:3: there is no key keyfile in [pool.x]; its keys are volumes, encryption, key_id, key_file, key_command, old_keys"},
		{"no volumes", "\n[pool.x]\nencryption = \"off\"\n", "f.toml:2: [pool.x]: no volume belongs to it"},
		{"empty", "\n[pool.x]\n", "f.toml:2: [pool.x]: no volume belongs to it"},
		{"default's volumes", "[pool.default]\nvolumes = [\"A*\"]\n", "f.toml:2: [pool.default]: the default pool has the volumes that no other"},
		{"pattern", "[pool.x]\nvolumes = [\"A[\"]\n", "f.toml:2: pool.x.volumes: \"A[\" is no pattern"},
		{"word", "[pool.default]\nencryption = \"yes\"\n", `f.toml:2: pool.default.encryption: "yes" cannot be used: no such choice (allowed: "on", "off"`},
		{"no key", "[pool.default]\nencryption = \"on\"\nkey_id = \"k\"\n", "f.toml:2: [pool.default]: with encryption = \"on\" a key is needed"},
		{"no id", "[pool.default]\nencryption = \"on\"\nkey_file = \"k\"\n", "f.toml:1: [pool.default]: the key needs an id"},
		{"bad id", "[pool.default]\nkey_id = \"../k\"\n", `f.toml:2: pool.default.key_id: "../k" cannot be used: it is no id of a key`},
		{"long id", "[pool.default]\nkey_id = \"" + strings.Repeat("k", 33) + "\"\n", `f.toml:2: pool.default.key_id: "kkk`},
		{"two sources", "[pool.default]\nkey_id = \"k\"\nkey_file = \"k\"\nkey_command = [\"k\"]\n", "f.toml:4: [pool.default]: the key comes from key_file or from key_command"},
		{"command", "[pool.default]\nkey_id = \"k\"\nkey_command = \"k\"\n", "f.toml:3: pool.default.key_command: a list in brackets is needed"},
		{"no command", "[pool.default]\nkey_id = \"k\"\nkey_command = [\"\"]\n", "f.toml:3: [pool.default]: the first entry is the program"},
		{"list", "[[pool.x]]\nvolumes = [\"A*\"]\n", "f.toml:1: [[pool.x]] makes a list"},
	} {
		_, err := Parse("f.toml", []byte(tc.text))
		if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: %v\nwant %s", tc.name, err, tc.want)
		}
	}
}
