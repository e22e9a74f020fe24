package main

import (
	"strings"
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
