package guest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pkg/errors"
)

// busybox is where Debian's busybox-static lies.
const busybox = "/usr/bin/busybox"

// initScript brings the guest up. CARD and SERVE are filled in with what kind says.
const initScript = `#!/bin/sh
export PATH=/bin:/sbin HOME=/tmp
mount -t devtmpfs none /dev; mount -t proc none /proc; mount -t sysfs none /sys; mount -t tmpfs -o mode=1777 none /tmp
for m in $(cat /lib/modules/order); do insmod /lib/modules/$m; done
ifconfig lo 127.0.0.1 up
ifconfig CARD 10.0.2.15 netmask 255.255.255.0 up && route add default gw 10.0.2.2
SERVE
`

// serveScript runs the scripts that come through the port, its standard input. MARK is filled
// in with the machine's.
const serveScript = `#!/bin/sh
exec 3<&0 </dev/null >/dev/console 2>&1
printf '\036MARK 0\n' >&3
while read -r line <&3; do
	echo "$line" | base64 -d >/.script
	sh /.script </dev/null >&3 2>&1 3>&-
	printf '\036MARK %d\n' $? >&3
done
poweroff -f
`

// makeRoot writes the guest's root file system to an unlinked temporary file. scripts are by their paths.
// The caller closes it.
func makeRoot(ctx context.Context, k *KernelImage, o Options, scripts map[string]string) (*os.File, error) {
	f, err := os.CreateTemp("", "sliod-guest-")
	if err != nil {
		return nil, errors.Wrap(err, "guest: make a temporary file for the root file system")
	}
	os.Remove(f.Name())
	w := bufio.NewWriterSize(f, 1<<20)
	if err = writeRoot(ctx, w, k, o, scripts); err == nil {
		err = errors.Wrap(w.Flush(), "guest: write the root file system")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func writeRoot(ctx context.Context, w io.Writer, k *KernelImage, o Options, scripts map[string]string) error {
	c := newCpioWriter(w)
	for _, dir := range []string{"bin", "sbin", "dev", "proc", "sys", "mnt", "tmp", "etc", "lib/modules"} {
		c.Dir(dir)
	}
	for name, script := range scripts {
		c.File(name, int64(len(script)), strings.NewReader(script))
	}
	passwd := "root::0:0:root:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n"
	c.File("etc/passwd", int64(len(passwd)), strings.NewReader(passwd))

	files := map[string]string{}
	var order bytes.Buffer
	for _, m := range k.Modules {
		files["lib/modules/"+filepath.Base(m)] = m
		fmt.Fprintln(&order, filepath.Base(m))
	}
	c.File("lib/modules/order", int64(order.Len()), &order)
	for _, bin := range append([]string{busybox}, o.Bins...) {
		files["bin/"+filepath.Base(bin)] = bin
		for _, lib := range sharedLibraries(ctx, bin) {
			files[cpioName(lib)] = lib
		}
	}
	for name, from := range o.Files {
		files[cpioName(name)] = from
	}
	list, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return errors.Wrapf(err, "guest: ask %s for its commands", busybox)
	}
	for applet := range strings.FieldsSeq(string(list)) {
		if _, taken := files["bin/"+applet]; !taken {
			c.Symlink("bin/"+applet, "busybox")
		}
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := addFile(c, name, files[name]); err != nil {
			return err
		}
	}
	return c.Close()
}

func addFile(c *cpioWriter, name, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return errors.Wrapf(err, "guest: put %s into the root file system", name)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return errors.Wrapf(err, "guest: put %s into the root file system", name)
	}
	if !st.Mode().IsRegular() {
		return errors.Errorf("guest: %s is no regular file and cannot be put into the root file system", from)
	}
	c.File(name, st.Size(), f)
	return c.err
}

// sharedLibraries lists what a dynamic program needs. ldd fails for a static
// one, which needs nothing.
func sharedLibraries(ctx context.Context, bin string) []string {
	out, err := exec.CommandContext(ctx, "ldd", bin).Output()
	if err != nil {
		return nil
	}
	var libs []string
	for word := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(word, "/") {
			libs = append(libs, word)
		}
	}
	return libs
}
