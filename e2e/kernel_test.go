package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sliod/backend/sliver"
	"sliod/guest"
	"sliod/server/wire"
)

// mountCase is one way to mount, and the tree that is taken through it.
type mountCase struct {
	options string
	entries int   // of the tree
	bytes   int64 // of file data
	ops     int   // random writes; 0: the tree is not changed
}

var mountCases = []mountCase{
	{"access=client,cache=none", 150, 12 << 20, 80},
	{"access=client,cache=mmap", 150, 12 << 20, 80},
	{"access=user,cache=none", 150, 12 << 20, 80},
	{"access=user,cache=mmap", 150, 12 << 20, 80},
}

// kernelTest is what the steps of TestKernelMount share.
type kernelTest struct {
	m        *guest.Machine
	s        *server
	ninetest string
	mark     time.Time
}

// lap logs how long a step took.
func (k *kernelTest) lap(t *testing.T, step string) {
	now := time.Now()
	t.Logf("%6.1f s  %s", now.Sub(k.mark).Seconds(), step)
	k.mark = now
}

// mount makes a new mount: what is read there comes from the server.
func (k *kernelTest) mount(t *testing.T, s *server, options string) {
	t.Helper()
	k.m.Mount9P(t, s.port(), options, "/mnt")
}

func (k *kernelTest) unmount(t *testing.T) {
	t.Helper()
	k.m.Must(t, "umount /mnt")
}

// host runs ninetest here.
func (k *kernelTest) host(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), k.ninetest, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ninetest %v: %v\n%s%s", args, err, out, &stderr)
	}
	return string(out)
}

// TestKernelMount has Linux' client use an archive: one guest, several mounts.
func TestKernelMount(t *testing.T) {
	testKernelMount(t, true, mountCases,
		[]string{"access=user,cache=none", "access=user,cache=mmap", "access=client,cache=none"},
		[]string{"access=client,cache=none", "access=client,cache=mmap", "access=user,cache=none"})
}

// TestKernelMountLarge is a tree of thousands of files.
func TestKernelMountLarge(t *testing.T) {
	testKernelMount(t, true, []mountCase{{"access=client,cache=none", 2400, 130 << 20, 0}}, nil, nil)
}

// TestKernelMountEmulated is one of each kind on an emulated machine, whose kernel has two
// processors.
func TestKernelMountEmulated(t *testing.T) {
	testKernelMount(t, false, []mountCase{{"access=client,cache=mmap", 60, 3 << 20, 30}}, []string{"access=user,cache=none"}, []string{"access=client,cache=none"})
}

func testKernelMount(t *testing.T, userMode bool, trees []mountCase, users, interrupts []string) {
	guest.Require(t, userMode)
	t.Parallel()
	if os.Geteuid() != 0 {
		guest.SkipOrFail(t, "owners of files and attaching as several users need root on this side too")
	}
	k := &kernelTest{ninetest: guest.Build(t, "sliod/guest/ninetest"), mark: time.Now()}
	k.s = start(t, stateDir(t), settings{cache: "512MiB"})
	k.m = guest.Boot(t, guest.Options{UserMode: userMode, Bins: []string{k.ninetest}, Output: new(bytes.Buffer)})
	k.lap(t, "boot")
	for i, c := range trees {
		t.Run(fmt.Sprintf("%s,%d entries", c.options, c.entries), func(t *testing.T) { k.tree(t, fmt.Sprintf("tree%d", i), uint64(i)+1, c) })
	}
	if len(users) > 0 {
		t.Run("users", func(t *testing.T) { k.users(t, users) })
		k.lap(t, "users")
	}
	k.s.stop()
	if len(interrupts) > 0 {
		t.Run("interrupt", func(t *testing.T) { k.interrupt(t, interrupts) })
		k.lap(t, "interrupt")
	}
}

// tree takes a tree to tape and back, then changes it on tape.
func (k *kernelTest) tree(t *testing.T, name string, seed uint64, c mountCase) {
	k.mark = time.Now()
	plan := fmt.Sprintf("%d %d", seed, c.entries)
	total := fmt.Sprint(c.bytes)
	dir, ref := "/mnt/"+name, "/tmp/"+name
	k.mount(t, k.s, c.options)
	k.m.Must(t, fmt.Sprintf("ninetest make-tree -total %s %s %s", total, dir, plan))
	k.lap(t, "make-tree")
	k.unmount(t)

	// The same tree on the host's own file system says what it has to look like.
	want := filepath.Join(t.TempDir(), name)
	k.host(t, append([]string{"make-tree", "-seconds", "-total", total, want}, strings.Fields(plan)...)...)
	wantSum := k.host(t, "sum", want)
	k.lap(t, "make-tree and sum on the host")
	same := func(when, got, want string) {
		t.Helper()
		if got != want {
			t.Fatalf("%s: %s", when, difference(got, want))
		}
	}
	k.s.toTape("/" + name)
	k.lap(t, "archive, evict")
	if st := k.s.status(); st.Cache.DirtyBytes != 0 {
		t.Errorf("after archive and evict %d bytes are dirty", st.Cache.DirtyBytes)
	}
	k.mount(t, k.s, c.options)
	same("the tree from tape", k.m.Must(t, "ninetest sum "+dir), wantSum)
	k.lap(t, "sum from tape")

	if c.ops == 0 {
		k.unmount(t)
		return
	}
	// Writes to what is on tape only; nothing is read before it is written.
	k.s.toTape("/" + name)
	k.m.Must(t, fmt.Sprintf("ninetest make-tree -no-xattrs -total %s %s %s >/dev/null", total, ref, plan))
	k.lap(t, "evict again, make-tree in the guest's memory")
	k.m.Must(t, fmt.Sprintf("ninetest random-writes -truncate -ops %d -files 40 -ref %s %s %d", c.ops, ref, dir, seed))
	k.lap(t, "random writes")
	k.unmount(t)
	wantSum = k.m.Must(t, "ninetest sum -no-times -no-xattrs "+ref+"; rm -rf "+ref)
	k.s.toTape("/" + name)
	k.lap(t, "sum of the copies, archive, evict")
	k.mount(t, k.s, c.options)
	same("the changed tree from tape", k.m.Must(t, "ninetest sum -no-times -no-xattrs "+dir), wantSum)
	k.unmount(t)
	k.lap(t, "sum of the changed tree")
}

// difference shows the first line that differs.
func difference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "got\n" + g[i] + "\nwant\n" + w[i]
		}
	}
	return fmt.Sprintf("got %d lines, want %d", len(g), len(w))
}

// users has root and another user of the guest work on one mount. The server sees
// the connection of a process of root, QEMU or this one, which may attach as anyone.
func (k *kernelTest) users(t *testing.T, mounts []string) {
	for _, options := range mounts {
		t.Run(options, func(t *testing.T) {
			k.mount(t, k.s, options)
			k.m.Must(t, `set -e
				mkdir /mnt/users; cd /mnt/users
				mkdir -m 1777 open; mkdir -m 700 closed
				echo secret >private; chmod 600 private
				echo all >public; chmod 644 public
				echo theirs >open/theirs; chmod 666 open/theirs
				echo x >closed/x; chmod 666 closed/x
				mkdir -m 2777 group; chgrp 4242 group`)
			k.s.toTape("/users")
			script := `cd /mnt/users || echo no-cd
				no() { "$@" >/tmp/err-nobody 2>&1 && echo "allowed: $*"; grep -q -e "ermission denied" -e "not permitted" /tmp/err-nobody || { echo "wrong error: $*"; cat /tmp/err-nobody; }; }
				yes() { "$@" >/dev/null 2>/tmp/err-nobody || { echo "refused: $*"; cat /tmp/err-nobody; }; }
				yes cat public
				no cat private
				no sh -c "echo y >>public"
				no cat closed/x
				no ls closed
				no touch new
				no mkdir newdir
				yes sh -c "echo more >>open/theirs"
				yes sh -c "echo mine >open/mine"
				yes mkdir open/sub
				no rm -f open/theirs
				no mv open/theirs open/sub/
				no chmod 777 public
				no chown nobody public
				no chown root open/mine
				yes chmod 640 open/mine
				yes mv open/mine open/renamed
				yes touch group/file
				yes ln -s renamed open/link
				yes cat open/theirs open/link
				rm open/link`
			if out := k.m.Must(t, "su nobody -s /bin/sh -c '"+script+"'"); out != "" {
				t.Errorf("a user of the guest:\n%s", out)
			}
			want := "65534:65534 640 open/renamed\n65534:65534 755 open/sub\n65534:4242 644 group/file\n0:0 600 private\n0:0 666 open/theirs\n"
			if out := k.m.Must(t, "cd /mnt/users; stat -c '%u:%g %a %n' open/renamed open/sub group/file private open/theirs"); out != want {
				t.Errorf("owners:\n%swant\n%s", out, want)
			}
			k.unmount(t)
			// What root sees here is what has been written.
			c := dial(t, k.s)
			c.open(fidSpare, 0, "users", "open", "theirs")
			if got := string(c.readAll(fidSpare)); got != "theirs\nmore\n" {
				t.Errorf("open/theirs is %q", got)
			}
			k.mount(t, k.s, "access=user")
			k.m.Must(t, "rm -rf /mnt/users")
			k.unmount(t)
		})
	}
}

// interrupt presses Ctrl-C while a read waits for a tape that takes many minutes.
func (k *kernelTest) interrupt(t *testing.T, mounts []string) {
	dir := stateDir(t)
	s := start(t, dir, settings{})
	c := dial(t, s)
	for i, name := range []string{"one", "two", "three"} {
		c.ok(&wire.MsgTmkdir{Dir: fidRoot, Name: []byte(name), Mode: 0o755})
		c.walk(fidRoot, fidDir, name)
		c.create(fidSpare, fidDir, "file", 0o644)
		c.writeAt(fidSpare, 0, content(byte(i), 2*sliver.Size+100))
		c.clunk(fidSpare)
		c.clunk(fidDir)
	}
	s.toTape("/")
	s.stop()
	s = start(t, dir, settings{speed: "0.02"})
	for _, options := range mounts {
		t.Run(options, func(t *testing.T) {
			k.mount(t, s, options)
			for _, file := range []string{"one", "two", "one"} {
				out := k.m.Must(t, "ninetest interrupt -max 60s /mnt/"+file+"/file")
				ms := regexp.MustCompile(`ended after (\d+) ms`).FindStringSubmatch(out)
				if ms == nil {
					t.Fatalf("ninetest interrupt said %q", out)
				}
				t.Logf("Ctrl-C of a read of %s/file: %s ms", file, ms[1])
				// The mount works on, beside a reader that waits and after it.
				out = k.m.Must(t, `set -e
					cat /mnt/three/file >/tmp/three & pid=$!
					ls -l /mnt /mnt/one >/dev/null; stat /mnt/one/file >/dev/null
					echo works >/mnt/two/new; cat /mnt/two/new; mv /mnt/two/new /mnt/two/old; rm /mnt/two/old
					sync
					kill -0 $pid; kill -9 $pid; wait $pid || true
					test ! -s /tmp/three; df /mnt >/dev/null`)
				if strings.TrimSuffix(out, "Killed\n") != "works\n" { // the shell tells the end of its child, mostly
					t.Errorf("after Ctrl-C: %q", out)
				}
			}
			k.unmount(t)
			until(t, "nothing is parked", func() bool { return s.status().Parked == 0 })
		})
	}
	if err := s.proc.Kill(); err == nil {
		t.Error("the server ended before it was killed")
	}
}
