package tape

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestKeyIsNotShown prints a key in every way there is.
func TestKeyIsNotShown(t *testing.T) {
	k := EncryptionKey{ID: "2026-a", Key: [32]byte{0xC0, 0xFF, 0xEE, 0xC0, 0xFF, 0xEE}}
	type holder struct {
		Name string
		Key  *EncryptionKey
	}
	type hidden struct{ key *EncryptionKey } // fmt cannot call its methods
	var all strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t"} {
		for _, x := range []any{k, &k, []EncryptionKey{k}, map[string]EncryptionKey{"k": k}, holder{"h", &k}, &holder{"h", &k}} {
			fmt.Fprintf(&all, verb+"\n", x)
		}
	}
	fmt.Fprintf(&all, "%v %+v %#v", hidden{&k}, &hidden{&k}, hidden{&k})
	for _, x := range []any{k, &k, holder{"h", &k}} {
		b, err := json.Marshal(x)
		if err != nil || !strings.Contains(string(b), "2026-a") {
			t.Error(string(b), err)
		}
		all.Write(b)
	}
	for _, part := range []string{"c0ffee", "c0 ff ee", "192 255", "192,255", "0xc0, 0xff", "wP/u"} {
		if strings.Contains(strings.ToLower(all.String()), part) || strings.Contains(all.String(), part) {
			t.Errorf("the key is shown, as %q, in\n%s", part, all.String())
		}
	}
	if k.String() != `key "2026-a"` || (*EncryptionKey)(nil).String() != "no key" {
		t.Error(k.String())
	}
	for id, ok := range map[string]bool{"": false, "k": true, strings.Repeat("k", 32): true, strings.Repeat("k", 33): false} {
		if err := (&EncryptionKey{ID: id}).Check(); (err == nil) != ok {
			t.Errorf("id %q: %v", id, err)
		}
	}
}
