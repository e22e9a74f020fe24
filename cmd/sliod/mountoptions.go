package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sliod/client9p/dial"
)

// mountOptions are what -o of "sliod mount" says, as mount(8) passes it.
type mountOptions struct {
	readOnly   bool
	allowOther bool
	aname      string
	uname      string
	attrTime   time.Duration // 0: the default, negative: none
	wait       time.Duration // for a server that is away; 0: without end
	logFile    string
	debug      bool
	tls        dial.Options // what -o says of TLS
	others     bool         // allow_other was asked for
	flags      uintptr      // MS_ flags of mount(2) beside MS_RDONLY
	words      []string     // that set them, for fusermount
}

// kernelFlags are the words of mount(8) that are flags of mount(2).
var kernelFlags = map[string]struct {
	flag uintptr
	on   bool
}{
	"suid": {unix.MS_NOSUID, false}, "nosuid": {unix.MS_NOSUID, true},
	"dev": {unix.MS_NODEV, false}, "nodev": {unix.MS_NODEV, true},
	"exec": {unix.MS_NOEXEC, false}, "noexec": {unix.MS_NOEXEC, true},
	"atime": {unix.MS_NOATIME, false}, "noatime": {unix.MS_NOATIME, true},
	"diratime": {unix.MS_NODIRATIME, false}, "nodiratime": {unix.MS_NODIRATIME, true},
	"relatime": {unix.MS_RELATIME, true}, "norelatime": {unix.MS_RELATIME, false}, "strictatime": {unix.MS_STRICTATIME, true},
	"sync": {unix.MS_SYNCHRONOUS, true}, "async": {unix.MS_SYNCHRONOUS, false}, "dirsync": {unix.MS_DIRSYNC, true},
}

// foreignWords are the words of fstab that mean something to others only.
var foreignWords = []string{"defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "_netdev", "nofail", "rw", "loud", "silent"}

// parseMountOptions reads option lists. asRoot sets the defaults of root: others may
// use the mount, as the kernel asks them for the files' permissions.
func parseMountOptions(lists []string, asRoot bool) (mountOptions, error) {
	o := mountOptions{allowOther: asRoot, flags: unix.MS_NOSUID | unix.MS_NODEV}
	for _, list := range lists {
		for word := range strings.SplitSeq(list, ",") {
			if err := o.add(strings.TrimSpace(word)); err != nil {
				return o, err
			}
		}
	}
	return o, nil
}

func (o *mountOptions) add(word string) error {
	key, value, hasValue := strings.Cut(word, "=")
	if f, ok := kernelFlags[word]; ok {
		o.words = append(o.words, word)
		if f.on {
			o.flags |= f.flag
		} else {
			o.flags &^= f.flag
		}
		return nil
	}
	switch {
	case word == "", slices.Contains(foreignWords, word), strings.HasPrefix(word, "x-"), strings.HasPrefix(word, "comment="), strings.HasPrefix(word, "user="):
	case word == "ro":
		o.readOnly = true
	case word == "allow_other":
		o.allowOther, o.others = true, true
	case word == "noallow_other":
		o.allowOther = false
	case word == "debug":
		o.debug = true
	case key == "aname" && hasValue:
		o.aname = value
	case key == "uname" && hasValue:
		o.uname = value
	case key == "log" && value != "":
		o.logFile = value
	case key == "tls_cert" && value != "":
		o.tls.TLS.Cert = value
	case key == "tls_key" && value != "":
		o.tls.TLS.Key = value
	case key == "tls_ca" && value != "":
		o.tls.TLS.CA = value
	case key == "tls_name" && value != "":
		o.tls.ServerName = value
	case key == "attr_timeout" && hasValue:
		d, err := seconds(key, value)
		if err != nil {
			return err
		}
		if o.attrTime = d; d == 0 {
			o.attrTime = -1
		}
	case key == "wait" && hasValue:
		d, err := seconds(key, value)
		if err != nil {
			return err
		}
		o.wait = d
	default:
		return &usageError{fmt.Sprintf("-o %s: there is no such mount option; there are ro, allow_other, noallow_other, aname=PATH, uname=NAME, "+
			"attr_timeout=SECONDS, wait=SECONDS, log=FILE, debug, tls_cert=FILE, tls_key=FILE, tls_ca=FILE, tls_name=NAME, and those of mount(8) (nosuid, noatime, _netdev, ...)", word)}
	}
	return nil
}

func seconds(key, value string) (time.Duration, error) {
	const max = 1e8 // about three years
	n, err := strconv.ParseFloat(value, 64)
	if err != nil || !(n >= 0) || n > max {
		return 0, &usageError{fmt.Sprintf("-o %s=%s: %q is not a number of seconds", key, value, value)}
	}
	return time.Duration(n * float64(time.Second)), nil
}
