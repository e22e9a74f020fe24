package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"sliod/guest/child"
)

// How a mount begins and ends, on this machine.

// mounted says whether something is mounted on dir, with these words among its options.
func mounted(t *testing.T, dir string, words ...string) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if f[1] != dir {
			continue
		}
		for _, w := range words {
			if !strings.Contains(","+f[3]+",", ","+w+",") {
				return false
			}
		}
		return true
	}
	return false
}

// foreground is a running "sliod mount -f".
func foreground(t *testing.T, env []string, args ...string) (*child.Child, *output) {
	t.Helper()
	log := newOutput()
	cmd := exec.Command(program, append([]string{"mount", "-f"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	c, err := child.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	dir := args[len(args)-1]
	t.Cleanup(func() {
		_ = c.Kill()                           // judged by who ends it
		_ = unix.Unmount(dir, unix.MNT_DETACH) // it is not there, if all went well
		if t.Failed() {
			t.Logf("the mount said:\n%s", log)
		}
	})
	return c, log
}

// TestBridgeSystemdHere runs a mount as systemd does: it says when it is ready, and SIGTERM ends
// it, with everything that was written at the server.
func TestBridgeSystemdHere(t *testing.T) {
	requireFUSE(t)
	s := start(t, stateDir(t), settings{})
	dir := publicDir(t)
	name := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	m, _ := foreground(t, []string{"NOTIFY_SOCKET=" + name}, "unix:"+s.socket, dir)
	buf := make([]byte, 100)
	if n, err := l.Read(buf); err != nil || string(buf[:n]) != "READY=1" {
		t.Fatalf("systemd is told %q, %v", buf[:n], err)
	}
	if !mounted(t, dir) {
		t.Error("it is ready, and not mounted")
	}
	want := content(7, 3<<20+5)
	if err := os.WriteFile(dir+"/f", want, 0o644); err != nil {
		t.Fatal(err)
	}
	// The last change is in the kernel's pages only.
	f, err := os.OpenFile(dir+"/f", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := unix.Mmap(int(f.Fd()), 0, len(want), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	copy(p[1<<20:], "by the map")
	copy(want[1<<20:], "by the map")
	if err := errors.Wrap(firstError(unix.Munmap(p), f.Close()), "end the map"); err != nil {
		t.Fatal(err)
	}
	if polite, err := m.Stop(stopPatience); !polite || err != nil {
		t.Errorf("SIGTERM: %v, %v", polite, err)
	}
	if mounted(t, dir) {
		t.Error("mounted after the end")
	}
	if got, err := os.ReadFile(mountBridge(t, s, "") + "/f"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes that differ, %v", len(got), err)
	}
}

func firstError(list ...error) error {
	for _, err := range list {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestBridgeStaleHere kills the program of a mount. The next one on the same directory takes what
// is left away.
func TestBridgeStaleHere(t *testing.T) {
	requireFUSE(t)
	s := start(t, stateDir(t), settings{})
	dir := publicDir(t)
	m, log := foreground(t, nil, "unix:"+s.socket, dir)
	log.await(t, m, "mounted")
	if err := os.WriteFile(dir+"/f", []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	_ = m.Kill() // it says that it was killed
	if _, err := os.ReadDir(dir); !errors.Is(err, unix.ENOTCONN) {
		t.Fatalf("a mount without its program: %v", err)
	}
	again, log := foreground(t, nil, "unix:"+s.socket, dir)
	log.await(t, again, "mounted")
	if got, err := os.ReadFile(dir + "/f"); err != nil || string(got) != "content" {
		t.Errorf("%q, %v", got, err)
	}
	if polite, err := again.Stop(stopPatience); !polite || err != nil {
		t.Errorf("SIGTERM: %v, %v", polite, err)
	}
	if mounted(t, dir) {
		t.Error("the stale mount is below the new one, and there again")
	}
}

// await waits until a program has said something.
func (o *output) await(t *testing.T, c *child.Child, what string) {
	t.Helper()
	timer := time.NewTimer(startPatience)
	defer timer.Stop()
	for !strings.Contains(o.String(), what) {
		select {
		case <-o.written:
		case <-c.Done():
			t.Fatalf("it has ended: %v\n%s", c.Wait(), o)
		case <-timer.C:
			t.Fatalf("it does not say %q:\n%s", what, o)
		}
	}
}

// TestBridgeReadOnlyHere mounts with -o ro: everything can be read and nothing changed, by root
// either.
func TestBridgeReadOnlyHere(t *testing.T) {
	requireFUSE(t)
	s := start(t, stateDir(t), settings{})
	rw := mountBridge(t, s, "")
	if err := os.WriteFile(rw+"/f", []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(rw+"/d", 0o755); err != nil {
		t.Fatal(err)
	}
	dir := mountBridge(t, s, ",ro")
	if !mounted(t, dir, "ro", "nosuid", "nodev") {
		t.Error("the kernel does not know that it is read-only")
	}
	if got, err := os.ReadFile(dir + "/f"); err != nil || string(got) != "content" {
		t.Errorf("%q, %v", got, err)
	}
	if l, err := os.ReadDir(dir); err != nil || len(l) != 2 {
		t.Errorf("%v, %v", l, err)
	}
	f := dir + "/f"
	for what, err := range map[string]error{
		"open":     openFor(f, unix.O_WRONLY),
		"truncate": unix.Truncate(f, 1),
		"create":   openFor(dir+"/new", unix.O_WRONLY|unix.O_CREAT),
		"mkdir":    unix.Mkdir(dir+"/new", 0o755),
		"mknod":    unix.Mkfifo(dir+"/new", 0o644),
		"symlink":  unix.Symlink("f", dir+"/new"),
		"link":     unix.Link(f, dir+"/new"),
		"rename":   unix.Rename(f, dir+"/new"),
		"unlink":   unix.Unlink(f),
		"rmdir":    unix.Rmdir(dir + "/d"),
		"chmod":    unix.Chmod(f, 0o600),
		"chown":    unix.Chown(f, 1, 1),
		"utimes":   unix.UtimesNano(f, []unix.Timespec{{Sec: 1}, {Sec: 1}}),
		"setxattr": unix.Setxattr(f, "user.x", []byte("v"), 0),
	} {
		if err != unix.EROFS {
			t.Errorf("%s: %v", what, err)
		}
	}
	// What another mount changes is seen.
	if err := os.WriteFile(rw+"/f", []byte("other content"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(f); err != nil || string(got) != "other content" {
		t.Errorf("%q, %v", got, err)
	}
}

func openFor(name string, flags int) error {
	fd, err := unix.Open(name, flags|unix.O_CLOEXEC, 0o644)
	if err == nil {
		_ = unix.Close(fd) // nothing was written
	}
	return err
}

// inNamespace runs a script in mounts of its own, of which nothing is left when it ends: what it needs to
// change of this machine, it changes there. $SLIOD is the program, $SOCKET the server's, $DIR an empty
// directory that everybody may reach, in which it may mount on $DIR/mnt.
func inNamespace(t *testing.T, s *server, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dir := publicDir(t)
	if err := os.Mkdir(dir+"/mnt", 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "unshare", "-m", "sh", "-euc", `trap 'cd /; umount -l $DIR/mnt 2>/dev/null || true' EXIT
`+script)
	cmd.Env = append(os.Environ(), "SLIOD="+program, "SOCKET="+s.socket, "DIR="+dir, "GORACE=halt_on_error=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// TestBridgeFstabHere mounts by a line of fstab and mount(8), as root.
func TestBridgeFstabHere(t *testing.T) {
	requireFUSE(t)
	s := start(t, stateDir(t), settings{})
	for _, kind := range []string{"sliod", "fuse.sliod"} {
		t.Run(kind, func(t *testing.T) {
			out := inNamespace(t, s, `
				mount -t tmpfs -o mode=755 none /usr/sbin # where mount(8) looks for helpers
				ln -s $SLIOD /usr/sbin/mount.`+kind+`
				[ /sbin -ef /usr/sbin ]
				echo "unix:$SOCKET $DIR/mnt `+kind+` _netdev,nofail,noatime,x-systemd.automount,attr_timeout=2,log=$DIR/log 0 0" >$DIR/fstab
				mount -T $DIR/fstab $DIR/mnt
				grep " $DIR/mnt " /proc/mounts
				echo `+kind+` >$DIR/mnt/by-fstab; cat $DIR/mnt/by-fstab
				umount $DIR/mnt
				if grep " $DIR/mnt " /proc/mounts; then exit 1; fi
				# Of all lines, those of a kind; read-only, with another directory of the archive.
				mkdir -p $DIR/mnt; sed -i 's/noatime/ro,aname=\/dir/' $DIR/fstab
				mount -t `+kind+` unix:$SOCKET $DIR/mnt; mkdir -p $DIR/mnt/dir; umount $DIR/mnt
				mount -T $DIR/fstab -a -t `+kind+`
				touch $DIR/mnt/x 2>&1 | grep -q Read-only
				umount $DIR/mnt`)
			lines := strings.Split(out, "\n")
			if want := fmt.Sprintf("unix:%s ", s.socket); !strings.HasPrefix(lines[0], want) || !strings.Contains(lines[0], " fuse.sliod rw,nosuid,nodev,noatime,") || lines[1] != kind {
				t.Errorf("mount(8) gives\n%s", out)
			}
		})
	}
}

// TestBridgeRelativeHere ends a mount in the background that was given a name of the directory it was begun in.
func TestBridgeRelativeHere(t *testing.T) {
	requireFUSE(t)
	s := start(t, stateDir(t), settings{})
	out := inNamespace(t, s, `
		mkdir $DIR/tmp; cd $DIR # there is another /tmp
		$SLIOD mount -o log=$DIR/log unix:$SOCKET tmp; cd /
		grep -q " $DIR/tmp fuse.sliod " /proc/mounts
		for p in /proc/[0-9]*; do
			if tr '\0' ' ' <$p/cmdline 2>/dev/null | grep -q "mount -o log=$DIR/log"; then kill -TERM ${p#/proc/}; fi
		done
		while grep -q " $DIR/tmp " /proc/mounts; do sleep 0.05; done
		cat $DIR/log`)
	if strings.Contains(out, "in use") {
		t.Error(out)
	}
}

// TestBridgeInterruptedHere ends a mount in the background before its server has answered: nothing is
// left of it.
func TestBridgeInterruptedHere(t *testing.T) {
	requireFUSE(t)
	dir := publicDir(t)
	l, err := net.Listen("unix", dir+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var stderr bytes.Buffer
	cmd := exec.Command(program, "mount", "unix:"+dir+"/s", dir)
	cmd.Stderr = &stderr
	c, err := child.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Kill()
	conn, err := l.Accept() // of the program in the background
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if polite, err := c.Stop(patience); !polite || err == nil || !strings.Contains(stderr.String(), "interrupted: nothing is mounted") {
		t.Errorf("%v, %v, %s", polite, err, &stderr)
	}
	if mounted(t, dir) {
		t.Error("it is mounted")
	}
}

// TestBridgeUserHere mounts as an ordinary user, by fusermount3.
func TestBridgeUserHere(t *testing.T) {
	requireFUSE(t)
	s := start(t, stateDir(t), settings{})
	rw := mountBridge(t, s, "")
	if err := os.Mkdir(rw+"/open", 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(rw+"/open", 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(rw+"/secret", []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := inNamespace(t, s, `
		mount -t tmpfs -o dev,mode=755 none $DIR; mkdir $DIR/mnt; chown 65534:65534 $DIR/mnt
		# As udev has it.
		mknod $DIR/fuse c 10 229; chmod 666 $DIR/fuse; mount --bind $DIR/fuse /dev/fuse
		: >$DIR/fuse.conf; mount --bind $DIR/fuse.conf /etc/fuse.conf
		as() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
		cd $DIR; as $SLIOD mount unix:$SOCKET mnt; cd /
		grep -c " $DIR/mnt fuse.sliod .*user_id=65534" /proc/mounts
		as sh -euc 'cd $DIR/mnt/open; echo mine >f; cat f; stat -c "%u:%g" f; ls .. | tr "\n" " "; cat ../secret 2>&1 | sed "s/.*: //"; echo no 2>/dev/null >../new || echo refused'
		ls $DIR/mnt 2>&1 | sed 's/.*: //' # root is another user
		as fusermount3 -u $DIR/mnt
		! grep " $DIR/mnt " /proc/mounts
		# Others only if the administrator says so.
		as $SLIOD mount -o allow_other unix:$SOCKET $DIR/mnt 2>&1 | grep -o 'allow_other needs the line user_allow_other in /etc/fuse.conf'
		echo user_allow_other >$DIR/fuse.conf
		as $SLIOD mount -o allow_other,ro unix:$SOCKET $DIR/mnt
		cat $DIR/mnt/open/f
		umount $DIR/mnt`)
	want := "1\nmine\n65534:65534\nopen secret Permission denied\nrefused\nPermission denied\nallow_other needs the line user_allow_other in /etc/fuse.conf\nmine\n"
	if out != want {
		t.Errorf("a user's mount gives\n%swant\n%s", out, want)
	}
}

// TestBridgeNoSpaceHere fills the tapes and the cache through the bridge. The write that does not fit is told
// ENOSPC; what was written before is there, and what is removed makes room.
func TestBridgeNoSpaceHere(t *testing.T) {
	requireFUSE(t)
	local := filepath.Join(publicDir(t), "mnt")
	s := start(t, stateDir(t), settings{mount: local, cache: "32MiB", library: "capacity = \"16MiB\"\nslots = 2\n"})
	for name, dir := range map[string]string{"local": local, "remote": mountBridge(t, s, "")} {
		t.Run(name, func(t *testing.T) {
			const most = 200
			var written []int
			for i := 0; ; i++ {
				n, err := writeSome(fmt.Sprintf("%s/f%d", dir, i), content(byte(i), 1<<20))
				written = append(written, n)
				if errors.Is(err, unix.ENOSPC) {
					break
				}
				if err != nil || i == most {
					t.Fatalf("after %d MiB on 2 volumes of 16 MiB and a cache of 32: %v", i, err)
				}
			}
			t.Logf("ENOSPC after %d MiB", len(written)-1)
			remove := func(list []int) {
				for i := range list {
					if err := os.Remove(fmt.Sprintf("%s/f%d", dir, len(written)-1-i)); err != nil {
						t.Error(err)
					}
				}
				written = written[:len(written)-len(list)]
			}
			// What is on tape needs room in the cache to be read.
			remove(written[len(written)/2:])
			for i, n := range written {
				var got []byte
				until(t, "there is room to read", func() bool {
					var err error
					if got, err = os.ReadFile(fmt.Sprintf("%s/f%d", dir, i)); err != nil && !errors.Is(err, unix.ENOSPC) {
						t.Fatal(err)
					}
					return err == nil
				})
				if !bytes.Equal(got, content(byte(i), 1<<20)[:n]) {
					t.Errorf("f%d: %d bytes that differ from the %d written", i, len(got), n)
				}
			}
			remove(written)
			// The room is there when it is on disk that the files are gone.
			until(t, "there is room", func() bool {
				n, err := writeSome(dir+"/again", content(3, 8<<20))
				if err != nil && !errors.Is(err, unix.ENOSPC) {
					t.Fatal(err)
				}
				return n == 8<<20
			})
			if got, err := os.ReadFile(dir + "/again"); err != nil || !bytes.Equal(got, content(3, 8<<20)) {
				t.Errorf("%d bytes that differ, %v", len(got), err)
			}
			if err := os.Remove(dir + "/again"); err != nil {
				t.Error(err)
			}
		})
	}
	s.stop()
}

// writeSome writes a file until an error comes, and says how much was taken.
func writeSome(name string, p []byte) (n int, err error) {
	fd, err := unix.Open(name, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return 0, err
	}
	for n < len(p) && err == nil {
		var m int
		if m, err = unix.Write(fd, p[n:min(len(p), n+100_000)]); m > 0 {
			n += m
		}
	}
	return n, firstError(err, unix.Close(fd))
}
