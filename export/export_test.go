package export

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func nets(t testing.TB, words ...string) (list []Network) {
	t.Helper()
	for _, w := range words {
		n, err := ParseNetwork(w)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, n)
	}
	return list
}

// TestAdmits is the table of each kind of peer against each kind of entry.
func TestAdmits(t *testing.T) {
	ip := netip.MustParseAddr
	peers := []struct {
		name string
		p    Peer
	}{
		{"unix", Peer{}},
		{"loop", Peer{IP: ip("127.0.0.1")}},
		{"loop6", Peer{IP: ip("::1")}},
		{"lan", Peer{Kind: TCP, IP: ip("192.168.1.7")}},
		{"lan46", Peer{Kind: TCP, IP: ip("::ffff:192.168.1.7")}},
		{"lan6", Peer{Kind: TCP, IP: ip("fd00::7")}},
		{"other", Peer{Kind: TCP, IP: ip("203.0.113.9")}},
		{"vm3", Peer{Kind: Vsock, CID: 3}},
		{"vm4", Peer{Kind: Vsock, CID: 4}},
		{"user", Peer{Kind: TLSUser, IP: ip("192.168.1.7"), Name: "alice"}},
		{"host", Peer{Kind: TLSHost, IP: ip("203.0.113.9"), Name: "host:b"}},
		{"userloop", Peer{Kind: TLSUser, IP: ip("127.0.0.1"), Name: "alice"}},
	}
	for _, x := range []struct{ networks, in string }{
		{"", "unix loop loop6"},
		{"unix", "unix"},
		{"127.0.0.0/8", "loop userloop"},
		{"::1", "loop6"},
		{"192.168.1.0/24", "lan lan46 user"},
		{"192.168.1.7", "lan lan46 user"},
		{"fd00::/8", "lan6"},
		{"0.0.0.0/0", "loop lan lan46 other user host userloop"},
		{"vsock", "vm3 vm4"},
		{"vsock:3", "vm3"},
		{"tls", "user host userloop"},
		{"tls:192.168.0.0/16", "user"},
		{"vsock:4 unix tls:203.0.113.0/24", "vm4 unix host"},
	} {
		e := Export{Networks: nets(t, strings.Fields(x.networks)...)}
		var got []string
		for _, p := range peers {
			if e.Admits(&p.p) {
				got = append(got, p.name)
			}
		}
		want := make(map[string]bool)
		for _, n := range strings.Fields(x.in) {
			want[n] = true
		}
		if len(got) != len(want) {
			t.Errorf("%q lets in %v, want %s", x.networks, got, x.in)
			continue
		}
		for _, n := range got {
			if !want[n] {
				t.Errorf("%q lets in %s", x.networks, n)
			}
		}
	}
}

func TestParseNetworkErrors(t *testing.T) {
	for _, s := range []string{"", "lan", "unix:3", "vsock:", "vsock:x", "tls:", "tls:tls", "10.0.0.1/8", "::ffff:10.0.0.0/104", "fe80::1%eth0", "10.0.0.0/33"} {
		if n, err := ParseNetwork(s); err == nil {
			t.Errorf("%q is %+v", s, n)
		}
	}
}

func TestListed(t *testing.T) {
	tls := Peer{Kind: TLSUser, Name: "alice", Fingerprint: "sha256:ab"}
	e := Export{Networks: nets(t, "tls", "unix", "10.0.0.0/8")}
	if !e.Listed(&tls) || !e.Listed(&Peer{}, "0", "root") {
		t.Error("without lists everybody is in them")
	}
	e.Users = []string{"bob", "1001"}
	tcp := Peer{Kind: TCP, IP: netip.MustParseAddr("10.0.0.1")}
	if e.Listed(&tls, "bob") || e.Listed(&Peer{}, "0", "root") || !e.Listed(&Peer{}, "1001", "carol") || !e.Listed(&tcp, "2", "bob") || e.Listed(&tcp) {
		t.Error("users")
	}
	e.Certificates = []string{"sha256:AB"}
	if !e.Listed(&tls) || e.Listed(&Peer{Fingerprint: "sha256:ab"}) {
		t.Error("certificates")
	}
	if e.Listed(&Peer{Kind: Vsock}, "bob") {
		t.Error("a peer of no network")
	}
}

// TestMapping is the table of whom the server acts as.
func TestMapping(t *testing.T) {
	const anon = 77
	ranges := []Range{{1000, 101000, 10}, {0, 100000, 1}}
	for _, x := range []struct {
		m    Mapping
		k    Kind
		id   uint32
		want uint32
		root bool // InsecureRoot
	}{
		{m: Auto, k: Local, id: 5, want: 5},
		{m: Auto, k: Local, id: 0, want: anon},
		{m: Auto, k: TCP, id: 0, want: anon},
		{m: Auto, k: TCP, id: 5, want: 5},
		{m: Auto, k: Vsock, id: 5, want: anon},
		{m: AsIs, k: Local, id: 0, want: 0},
		{m: AsIs, k: TLSHost, id: 0, want: 0},
		{m: AsIs, k: TCP, id: 0, want: anon}, // Check refuses it, and so does this
		{m: AsIs, k: TCP, id: 0, want: 0, root: true},
		{m: AsIs, k: Vsock, id: 0, want: anon},
		{m: AsIs, k: TCP, id: 5, want: 5},
		{m: AsIs, k: TCP, id: noID, want: anon},
		{m: RootSquash, k: TLSHost, id: 0, want: anon},
		{m: RootSquash, k: Vsock, id: 5, want: 5},
		{m: AllSquash, k: Local, id: 5, want: anon},
		{m: Ranges, k: TCP, id: 1000, want: 101000},
		{m: Ranges, k: TCP, id: 1009, want: 101009},
		{m: Ranges, k: TCP, id: 1010, want: anon},
		{m: Ranges, k: TCP, id: 0, want: 100000},
		{m: Ranges, k: TCP, id: noID, want: anon},
	} {
		e := Export{Map: x.m, AnonUID: anon, AnonGID: anon, UIDs: ranges, GIDs: ranges, InsecureRoot: x.root}
		uid, isAnon := e.UID(x.k, x.id)
		if uid != x.want || isAnon != (x.want == anon) || e.GID(x.k, x.id) != x.want {
			t.Errorf("%s over %v: user %d is %d %v, want %d", x.m, x.k, x.id, uid, isAnon, x.want)
		}
	}
	e := Export{Map: Ranges, UIDs: ranges, GIDs: ranges[:1]}
	if u, g := e.Shown(101003, 100000); u != 1003 || g != nobody {
		t.Error(u, g)
	}
	if e.Squash(TLSUser, 5) != true || e.Squash(TLSUser, 101000) {
		t.Error("a certificate's user is not translated, and squashed if it is in no range")
	}
}

// TestRangesRoundTrip: what is translated comes back as it was.
func TestRangesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []Range
		for range rapid.IntRange(1, 4).Draw(t, "n") {
			r := Range{rapid.Uint32Max(5000).Draw(t, "c"), rapid.Uint32Max(5000).Draw(t, "s"), rapid.Uint32Range(1, 300).Draw(t, "k")}
			if checkRanges(append(list, r)) == nil {
				list = append(list, r)
			}
		}
		id := rapid.Uint32Max(6000).Draw(t, "id")
		if there, ok := toServer(list, id); ok {
			if back, ok := toClient(list, there); !ok || back != id {
				t.Fatalf("%d -> %d -> %d %v by %v", id, there, back, ok, list)
			}
		}
	})
}

func TestParseRange(t *testing.T) {
	for in, want := range map[string]Range{
		"1000-1999:101000": {1000, 101000, 1000}, "0:5": {0, 5, 1}, "0-4294967294:0": {0, 0, noID},
		"": {}, "1": {}, "2-1:3": {}, "1-2": {}, "a-b:c": {}, "0-4294967295:0": {}, "1-2:4294967294": {}, "-1:3": {},
	} {
		if r, err := ParseRange(in); r != want || (err == nil) != (want != Range{}) {
			t.Errorf("%q: %+v, %v", in, r, err)
		}
	}
}

func TestCheck(t *testing.T) {
	ok := func() *Export { return &Export{Name: "x", Attach: "x", Path: "/", Map: Auto} }
	for _, x := range []struct {
		change func(e *Export)
		want   string
	}{
		{func(e *Export) {}, ""},
		{func(e *Export) { e.Path = "a" }, "absolute path"},
		{func(e *Export) { e.Path = "/a/../b" }, "absolute path"},
		{func(e *Export) { e.Attach = "ctl" }, "mean something else"},
		{func(e *Export) { e.Attach = "id:4" }, "mean something else"},
		{func(e *Export) { e.Attach = "a/../b" }, "mean something else"},
		{func(e *Export) { e.Map = AsIs }, ""},
		{func(e *Export) { e.Map, e.Networks = AsIs, nets(t, "127.0.0.0/8", "::1") }, ""},
		{func(e *Export) { e.Map, e.Networks = AsIs, nets(t, "tls") }, ""},
		{func(e *Export) { e.Map, e.Networks = AsIs, nets(t, "10.0.0.0/8") }, "insecure_root = true if you trust"},
		{func(e *Export) { e.Map, e.Networks = AsIs, nets(t, "0.0.0.0/0") }, "insecure_root = true if you trust"},
		{func(e *Export) { e.Map, e.Networks = AsIs, nets(t, "vsock:3") }, "insecure_root = true if you trust"},
		{func(e *Export) { e.Map, e.InsecureRoot, e.Networks = AsIs, true, nets(t, "10.0.0.0/8") }, ""},
		{func(e *Export) { e.InsecureRoot = true }, "makes nobody root"},
		{func(e *Export) { e.Admin = true }, `put "tls" into networks`},
		{func(e *Export) { e.Admin, e.Networks = true, nets(t, "tls") }, `write users = ["alice"]`},
		{func(e *Export) { e.Admin, e.Networks = true, nets(t, "127.0.0.0/8", "tls:10.0.0.0/8") }, `write users = ["alice"]`},
		{func(e *Export) { e.Admin, e.Networks, e.Users = true, nets(t, "tls"), []string{"alice"} }, ""},
		{func(e *Export) { e.Admin, e.Networks, e.Certificates = true, nets(t, "tls"), []string{"sha256:00"} }, ""},
		{func(e *Export) { e.Map = Ranges }, "there are no uids"},
		{func(e *Export) { e.UIDs = []Range{{1, 2, 3}} }, "uids and gids are for"},
		{func(e *Export) { e.Map, e.UIDs = Ranges, []Range{{1, 100, 10}, {10, 200, 5}} }, "overlap"},
		{func(e *Export) { e.Map, e.UIDs = Ranges, []Range{{1, 100, 10}, {50, 109, 5}} }, "overlap"},
		{func(e *Export) { e.Map, e.UIDs, e.Networks = Ranges, []Range{{0, 0, 10}}, nets(t, "10.0.0.0/8") }, "root here"},
		{func(e *Export) { e.Map, e.UIDs, e.Networks = Ranges, []Range{{0, 0, 10}}, nets(t, "tls") }, ""},
	} {
		e := ok()
		x.change(e)
		if key, msg := e.Check(); (msg == "") != (x.want == "") || !strings.Contains(msg, x.want) || (key == "") != (msg == "") {
			t.Errorf("%+v: %s: %q, want %q", e, key, msg, x.want)
		}
	}
	a, b := *ok(), *ok()
	b.Name = "y"
	if e, key, msg := CheckAll([]Export{a, b}); e == nil || key != "attach" || !strings.Contains(msg, "same attach name") {
		t.Error(e, key, msg)
	}
}
