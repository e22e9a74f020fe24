package main

import (
	"context"
	stderrors "errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"sliod/client9p/relay"
)

// kernelOptions are what -o of "sliod mount --kernel" says: flags of mount(2), words of
// the relay, and the rest for v9fs.
type kernelOptions struct {
	mountOptions
	v9fs []string
	// accessSet says that access= was given.
	accessSet bool
}

// v9fsDefaults are set unless -o says otherwise.
var v9fsDefaults = []string{"version=9p2000.L", "msize=1048576", "access=user"}

func parseKernelOptions(lists []string) (kernelOptions, error) {
	o := kernelOptions{mountOptions: mountOptions{flags: unix.MS_NOSUID | unix.MS_NODEV}}
	for _, list := range lists {
		for word := range strings.SplitSeq(list, ",") {
			word = strings.TrimSpace(word)
			key, _, _ := strings.Cut(word, "=")
			switch key {
			case "trans", "rfdno", "wfdno", "port":
				return o, &usageError{fmt.Sprintf("-o %s: with --kernel the relay is v9fs' transport; the address says how the server is reached", word)}
			case "version", "msize", "access", "cache", "cachetag", "uname", "aname", "dfltuid", "dfltgid", "debug", "locktimeout", "noextend", "nodevmap", "posixacl", "afid":
				o.v9fs = append(o.v9fs, word)
				o.accessSet = o.accessSet || key == "access"
			case "allow_other", "noallow_other", "attr_timeout", "wait":
				return o, &usageError{fmt.Sprintf("-o %s: with --kernel there is no such option: it is for the FUSE bridge", word)}
			default:
				if err := o.add(word); err != nil {
					return o, &usageError{fmt.Sprintf("-o %s: there is no such mount option with --kernel; there are msize=BYTES, access=WHO, cache=MODE, aname=PATH, uname=NAME, dfltuid=UID, dfltgid=GID, "+
						"locktimeout=SECONDS, posixacl, noextend, debug=MASK, ro, log=FILE, tls_cert=FILE, tls_key=FILE, tls_ca=FILE, tls_name=NAME, and those of mount(8) (nosuid, noatime, _netdev, ...)", word)}
				}
			}
		}
	}
	for _, word := range v9fsDefaults {
		key, _, _ := strings.Cut(word, "=")
		if !slices.ContainsFunc(o.v9fs, func(w string) bool { return strings.HasPrefix(w, key+"=") }) {
			o.v9fs = append(o.v9fs, word)
		}
	}
	if o.readOnly {
		o.flags |= unix.MS_RDONLY
	}
	return o, nil
}

// mountKernel mounts by the kernel's own client, and relays until it is unmounted.
func (a *app) mountKernel(ctx context.Context, addr, dir string, o kernelOptions, log *logrus.Entry) error {
	if err := checkMountpoint(dir, log); err != nil {
		return err
	}
	a.dialing.Irreplaceable = true
	conn, err := a.dialConn(ctx, addr, "")
	if err != nil {
		return err
	}
	if a.dialing.AsUser(addr) && !o.accessSet {
		o.v9fs[slices.Index(o.v9fs, "access=user")] = "access=any" // the certificate says who
	}
	at := mountpointOf(dir)
	m, err := relay.Mount(conn, addr, dir, strings.Join(o.v9fs, ","), o.flags)
	switch {
	case stderrors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w; the kernel has no 9P: load its modules (modprobe 9p 9pnet_fd), or mount without --kernel, by FUSE", err)
	case stderrors.Is(err, unix.EPERM):
		return fmt.Errorf("%w; only root may mount by the kernel", err)
	case stderrors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w; the kernel does not take one of the options: its log (dmesg) may say which", err)
	case stderrors.Is(err, relay.ErrServer):
		return fmt.Errorf("%w while the kernel spoke with it: the server's log says why", err)
	case stderrors.Is(err, relay.ErrSilent):
		return fmt.Errorf("%w: is there a 9P server at %s?", err, addr)
	case err != nil:
		return err
	}
	at.mounted()
	log.WithField("dir", dir).Info("mounted")
	tellReady(log)
	select {
	case err = <-m.Ended():
	case <-ctx.Done():
		if err := unmountKernel(at, log); err != nil {
			m.Close()
			<-m.Ended()
			return err
		}
		err = <-m.Ended()
	}
	if err != nil {
		// In the background nobody is left to return it to.
		log.WithError(err).Errorf("the mount on %s is dead: unmount it (umount %s) and mount it again", dir, shellWord(dir))
		return errReported
	}
	log.Info("unmounted")
	return nil
}

// unmountKernel takes a mount away. What the kernel has not written yet goes to the
// server first, so the relay is still needed. A mount that is in use leaves the tree at
// once, and is relayed until the last program has left it.
func unmountKernel(at mountpoint, log *logrus.Entry) error {
	const until = "relayed until the last program has left it; a second signal ends it at once"
	if !at.ours() {
		log.Warnf("what was mounted on %s has been unmounted while programs were in it: it is "+until, at.dir)
		return nil
	}
	if err := unix.Unmount(at.dir, 0); err == nil {
		return nil
	}
	log.Warnf("%s is in use: it is detached, and "+until, at.dir)
	if err := unix.Unmount(at.dir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", at.dir, err)
	}
	return nil
}
