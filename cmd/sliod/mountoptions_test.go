package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMountOptions(t *testing.T) {
	const std = unix.MS_NOSUID | unix.MS_NODEV
	for _, tc := range []struct {
		lists string // separated by blanks
		root  bool
		want  mountOptions
		err   string
	}{
		{"", true, mountOptions{allowOther: true, flags: std}, ""},
		{"defaults,_netdev,x-systemd.requires=a.service,nofail", false, mountOptions{flags: std}, ""},
		{"ro noatime,suid", true, mountOptions{readOnly: true, allowOther: true, flags: unix.MS_NODEV | unix.MS_NOATIME}, ""},
		{"noallow_other,aname=/a/b,uname=x", true, mountOptions{flags: std, aname: "/a/b", uname: "x"}, ""},
		{"attr_timeout=0,wait=1.5", false, mountOptions{flags: std, attrTime: -1, wait: 1500 * time.Millisecond}, ""},
		{"attr_timeout=2,log=/tmp/l,debug", false, mountOptions{flags: std, attrTime: 2 * time.Second, logFile: "/tmp/l", debug: true}, ""},
		{"attr_timeout=x", false, mountOptions{}, `"x" is not a number of seconds`},
		{"wait=-1", false, mountOptions{}, `"-1" is not a number of seconds`},
		{"wait=NaN", false, mountOptions{}, "not a number"},
		{"speed=fast", false, mountOptions{}, "-o speed=fast: there is no such mount option; there are ro,"},
	} {
		got, err := parseMountOptions(strings.Fields(tc.lists), tc.root)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%q: %v, want %s", tc.lists, err, tc.err)
			}
			continue
		}
		if err != nil || got.readOnly != tc.want.readOnly || got.allowOther != tc.want.allowOther || got.aname != tc.want.aname ||
			got.uname != tc.want.uname || got.attrTime != tc.want.attrTime || got.wait != tc.want.wait || got.logFile != tc.want.logFile ||
			got.debug != tc.want.debug || got.flags != tc.want.flags {
			t.Errorf("%q: %+v, %v; want %+v", tc.lists, got, err, tc.want)
		}
	}
}

// TestOurMount: what somebody has mounted on the directory of a mount is told from that.
func TestOurMount(t *testing.T) {
	dir := t.TempDir()
	st, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	dev := st.Sys().(*syscall.Stat_t).Dev
	for _, c := range []struct {
		m    fuseMount
		want bool
	}{
		{fuseMount{dir: dir, dev: dev}, false}, // the number is the same, and it is not FUSE's
		{fuseMount{dir: dir, dev: dev + 1}, false},
		{fuseMount{dir: dir}, true}, // it could not be asked at first
		{fuseMount{dir: dir + "/none", dev: dev}, true},
	} {
		if got := c.m.ours(); got != c.want {
			t.Errorf("%+v: %v", c.m, got)
		}
	}
}
