package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sliod/guest"
	"sliod/guest/child"
)

// waysTest is a guest that has every way to the archive.
type waysTest struct {
	m        *guest.Machine
	s        *server
	ninetest string
	fs       *virtiofsServer
	qmp      string // QEMU's own socket
	mark     time.Time
}

// way is one of them. Each mounts on /mnt.
type way struct {
	name  string
	mount string
	again string // for reading it back; "": as mount
	// relay: a program in the guest serves the mount, and ends with it.
	relay bool
}

const (
	portNumber = 2 // of the virtio-serial port
	fsTag      = "archive"
)

// TestWays has one guest reach the archive in every way that leads into a virtual machine.
// Each writes a tree, has it taken to tape and dropped from the cache, and reads it back.
func TestWays(t *testing.T) {
	guest.Require(t, false)
	t.Parallel()
	if os.Geteuid() != 0 {
		guest.SkipOrFail(t, "owners of files and attaching as several users need root on this side too")
	}
	w := &waysTest{mark: time.Now(), ninetest: guest.Build(t, "sliod/guest/ninetest"), qmp: filepath.Join(t.TempDir(), "qmp")}
	withTLS, files := guestTLS(t)
	w.s = start(t, stateDir(t), withTLS)
	w.fs = startVirtiofs(t, w.s)
	w.m = guest.Boot(t, guest.Options{
		Bins: []string{guest.Build(t, "sliod/cmd/sliod"), w.ninetest}, Files: files, Output: new(bytes.Buffer),
		QEMU: []string{
			"-object", "memory-backend-memfd,id=mem,size=1024M,share=on", "-numa", "node,memdev=mem",
			"-chardev", "socket,id=fs,path=" + w.fs.socket, "-device", "vhost-user-fs-pci,chardev=fs,tag=" + fsTag,
			"-chardev", "socket,id=archive,reconnect=1,path=" + w.s.socket,
			"-qmp", "unix:" + w.qmp + ",server=on,wait=off",
			"-device", fmt.Sprintf("virtserialport,chardev=archive,nr=%d,name=sliod", portNumber),
		},
	})
	// What udev does elsewhere.
	w.m.Must(t, fmt.Sprintf("mkdir -p /mnt /dev/virtio-ports && ln -s $(echo /dev/vport*p%d) /dev/virtio-ports/sliod", portNumber))
	w.lap(t, "boot")
	tcp := fmt.Sprintf("tcp:10.0.2.2:%d", w.s.port())
	for _, way := range []way{
		{name: "kernel-tcp", mount: "sliod mount --kernel " + tcp + " /mnt", relay: true},
		{name: "kernel-tls", mount: fmt.Sprintf("sliod mount --kernel -o aname=guest,tls_cert=/tls/host-guest.crt,tls_ca=/tls/ca.crt tls:10.0.2.2:%d /mnt", w.s.tlsPort()), relay: true},
		{name: "kernel-port", mount: "sliod mount --kernel -o cache=mmap port:/dev/virtio-ports/sliod /mnt", again: "sliod mount port:/dev/virtio-ports/sliod /mnt", relay: true},
		{name: "fuse-tcp", mount: "sliod mount " + tcp + " /mnt", relay: true},
		{name: "virtiofs", mount: "mount -t virtiofs " + fsTag + " /mnt"},
	} {
		t.Run(way.name, func(t *testing.T) { w.tree(t, way) })
	}
	t.Run("vsock", w.vsock)
	t.Run("virtiofs paused", w.paused)
	t.Run("options", w.options)
	t.Run("ends", w.gone)
	if w.s.proc.Process().Signal(syscall.Signal(0)) == nil { // else stopped by the one before
		w.s.stop()
	}
	w.s = start(t, w.s.dir, settings{speed: "0.02"})
	t.Run("virtiofs with the machine switched off", w.off)
}

// guestTLS makes certificates for a server and for the guest, as a machine whose users are the server's, and
// returns what the server is told of them and the guest's files.
func guestTLS(t *testing.T) (settings, map[string]string) {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca")
	for _, args := range [][]string{{"init", ca}, {"server", ca, "10.0.2.2"}, {"host", ca, "guest"}} {
		if r := sliod(t, nil, append([]string{"cert"}, args...)...); r.status != 0 {
			t.Fatalf("sliod cert %v: %+v", args, r)
		}
	}
	files := map[string]string{}
	for _, name := range []string{"ca.crt", "host-guest.crt", "host-guest.key"} {
		files["/tls/"+name] = filepath.Join(ca, name)
	}
	more := fmt.Sprintf("[tls]\ncert = %q\nkey = %q\nclient_ca = %q\n", ca+"/server-10.0.2.2.crt", ca+"/server-10.0.2.2.key", ca+"/ca.crt") +
		"[export.guest]\npath = \"/\"\nnetworks = [\"tls\"]\nusers = [\"host:guest\"]\nmap = \"as-is\"\n"
	return settings{more: more, listen: []string{"tls:127.0.0.1:0"}}, files
}

func (w *waysTest) lap(t *testing.T, step string) {
	now := time.Now()
	t.Logf("%6.1f s  %s", now.Sub(w.mark).Seconds(), step)
	w.mark = now
}

// tree takes a tree to tape and back.
func (w *waysTest) tree(t *testing.T, way way) {
	const total, plan = "3000000", "7 60"
	dir := "/mnt/" + way.name
	w.m.Must(t, way.mount)
	w.m.Must(t, fmt.Sprintf("ninetest make-tree -seconds -total %s %s %s", total, dir, plan))
	w.unmount(t, way)
	ref := filepath.Join(t.TempDir(), way.name)
	if out, err := exec.CommandContext(t.Context(), w.ninetest, append([]string{"make-tree", "-seconds", "-total", total, ref}, strings.Fields(plan)...)...).CombinedOutput(); err != nil {
		t.Fatalf("ninetest make-tree: %v\n%s", err, out)
	}
	want, err := exec.CommandContext(t.Context(), w.ninetest, "sum", ref).Output()
	if err != nil {
		t.Fatal(err)
	}
	w.s.toTape("/" + way.name)
	w.m.Must(t, cmp.Or(way.again, way.mount))
	if got := w.m.Must(t, "ninetest sum "+dir); got != string(want) {
		t.Errorf("the tree from tape: %s", difference(got, string(want)))
	}
	w.m.Must(t, "cd "+dir+" && echo more >new && mv new newer && rm newer && df . >/dev/null")
	w.unmount(t, way)
	w.lap(t, way.name)
}

// unmount unmounts and sees the program in the guest end by that.
func (w *waysTest) unmount(t *testing.T, way way) {
	t.Helper()
	w.m.Must(t, "umount /mnt")
	if way.relay {
		w.noRelay(t)
	}
}

// noRelay waits until no program of sliod is left in the guest.
func (w *waysTest) noRelay(t *testing.T) {
	t.Helper()
	w.m.Must(t, "i=0; while pidof sliod >/dev/null; do i=$((i+1)); [ $i -lt 15000 ] || { ps; exit 1; }; usleep 20000; done")
}

// virtiofsServer is a running sliod virtiofs.
type virtiofsServer struct {
	socket string
	proc   *child.Child
	log    *output
}

// startVirtiofs serves a virtual machine until the test ends.
func startVirtiofs(t *testing.T, s *server) *virtiofsServer {
	t.Helper()
	v := &virtiofsServer{socket: filepath.Join(t.TempDir(), "fs.sock"), log: newOutput()}
	cmd := exec.Command(program, "virtiofs", "--socket", v.socket, "unix:"+s.socket)
	cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1")
	cmd.Stdout, cmd.Stderr = v.log, v.log
	var err error
	if v.proc, err = child.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if polite, err := v.proc.Stop(stopPatience); !polite || err != nil {
			t.Errorf("sliod virtiofs did not end by SIGTERM: %v, %v", polite, err)
		}
		if log := v.log.String(); t.Failed() || strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic:") {
			t.Errorf("sliod virtiofs said:\n%s", log)
		}
	})
	v.await(t, "waiting for a virtual machine")
	return v
}

// await waits until the program has said something.
func (v *virtiofsServer) await(t *testing.T, what string) {
	t.Helper()
	timer := time.NewTimer(startPatience)
	defer timer.Stop()
	for !strings.Contains(v.log.String(), what) {
		select {
		case <-v.log.written:
		case <-v.proc.Done():
			t.Fatalf("sliod virtiofs has ended: %v\n%s", v.proc.Wait(), v.log)
		case <-timer.C:
			t.Fatalf("sliod virtiofs does not say %q:\n%s", what, v.log)
		}
	}
}

// vsock has a server in the guest, and mounts by its own vsock: no host of a test has one.
func (w *waysTest) vsock(t *testing.T) {
	w.m.Must(t, `set -e
		printf '[cache]\nsize = "64MiB"\n[library]\ncapacity = "1GiB"\n[archive]\nidle = "10h"\n[export.guest]\npath = "/"\nnetworks = ["vsock"]\nmap = "as-is"\ninsecure_root = true\n' >/tmp/conf
		sliod serve --config /tmp/conf --state /tmp/state --listen unix:/tmp/state/sliod.sock --listen vsock:5640 >/tmp/out 2>/tmp/log & echo $! >/tmp/pid
		while ! grep -q 'Ctrl-C stops' /tmp/out; do kill -0 $(cat /tmp/pid) || { cat /tmp/out /tmp/log; exit 1; }; usleep 50000; done`)
	// Written by the kernel, read by the bridge.
	w.m.Must(t, `set -e
		sliod mount --kernel -o aname=guest vsock:1:5640 /mnt
		ninetest make-tree -seconds -total 1000000 /mnt/tree 9 30
		ninetest sum /mnt/tree >/tmp/want; umount /mnt
		sliod --state /tmp/state archive --wait / >/dev/null; sliod --state /tmp/state evict / >/dev/null
		if sliod --state /tmp/state ls -R /tree | grep -v -e ^migrated -e ^- -e ' 0 B '; then exit 1; fi
		sliod mount -o aname=guest vsock:1:5640 /mnt
		ninetest sum /mnt/tree >/tmp/got; umount /mnt
		cmp /tmp/want /tmp/got`)
	if out := w.m.Must(t, "! sliod mount --kernel vsock:1:5641 /mnt 2>&1"); !strings.Contains(out, "no server answers at vsock:1:5641") {
		t.Errorf("without a server it says %q", out)
	}
	w.m.Must(t, "kill $(cat /tmp/pid); while pidof sliod >/dev/null; do usleep 20000; done; rm -rf /tmp/state")
	w.lap(t, "vsock")
}

// paused stops and continues the machine under load. A second machine is turned away
// meanwhile.
func (w *waysTest) paused(t *testing.T) {
	w.m.Must(t, "mount -t virtiofs "+fsTag+" /mnt")
	done := make(chan string, 1)
	go func() {
		r, err := w.m.Sh(t.Context(), "ninetest make-tree -seconds -total 3000000 /mnt/paused 7 60 >/dev/null && ninetest sum /mnt/paused >/tmp/sum && umount /mnt && echo done")
		done <- fmt.Sprintf("%s%d, %v", r.Output, r.Status, err)
	}()
	q := dialQMP(t, w.qmp)
	for range 10 {
		q.run("stop")
		q.run("cont")
	}
	conn, err := net.Dial("unix", w.fs.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || os.IsTimeout(err) {
		t.Errorf("a second machine was not turned away: %d bytes, %v", n, err)
	}
	w.fs.await(t, "a second virtual machine is turned away")
	if out := <-done; out != "done\n0, <nil>" {
		t.Errorf("the load: %s", out)
	}
	w.lap(t, "stop and continue")
}

// qmp speaks with QEMU.
type qmp struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func dialQMP(t *testing.T, path string) *qmp {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	q := &qmp{t, c, bufio.NewReader(c)}
	q.run("qmp_capabilities")
	return q
}

// run has QEMU do something, and waits until it has.
func (q *qmp) run(command string) {
	q.t.Helper()
	if _, err := fmt.Fprintf(q.c, "{\"execute\": %q}\n", command); err != nil {
		q.t.Fatal(err)
	}
	for {
		line, err := q.r.ReadString('\n')
		if err != nil {
			q.t.Fatalf("QEMU does not do %s: %v", command, err)
		}
		if strings.HasPrefix(line, `{"return"`) {
			return
		}
		if strings.HasPrefix(line, `{"error"`) {
			q.t.Fatalf("QEMU refuses %s: %s", command, line)
		}
	}
}

// options are what v9fs is told, and what is refused with a message that helps.
func (w *waysTest) options(t *testing.T) {
	tcp := fmt.Sprintf("tcp:10.0.2.2:%d", w.s.port())
	out := w.m.Must(t, fmt.Sprintf(`set -e
		sliod mount --kernel -o ro,noexec,cache=loose,aname=/virtiofs %[1]s /mnt
		grep '^%[1]s /mnt 9p ro,.*nosuid,nodev,noexec,.*aname=/virtiofs,.*loose' /proc/mounts >/dev/null
		touch /mnt/x 2>&1 | grep 'Read-only' >/dev/null
		umount /mnt`, tcp))
	if out != "" {
		t.Errorf("mount with options: %s", out)
	}
	for _, c := range []struct{ args, want string }{
		{"-o trans=tcp " + tcp + " /mnt", "the relay is v9fs' transport"},
		{"-o allow_other " + tcp + " /mnt", "it is for the FUSE bridge"},
		{"-o cache=wild " + tcp + " /mnt", "does not take one of the options"},
		{"-o aname=/nothing " + tcp + " /mnt", "no such file or directory"},
		{"tcp:10.0.2.2:1 /mnt", "no server answers at tcp:10.0.2.2:1"},
		{"port:/dev/virtio-ports/none /mnt", "there is no serial port /dev/virtio-ports/none"},
		{"port:/etc/passwd /mnt", "/etc/passwd"},
		{tcp + " /nowhere", "mkdir -p /nowhere"},
	} {
		if out := w.m.Must(t, "! sliod mount --kernel "+c.args+" 2>&1"); !strings.Contains(out, c.want) {
			t.Errorf("sliod mount --kernel %s says %q, not %q", c.args, out, c.want)
		}
	}
	if out := w.m.Must(t, `! su nobody -s /bin/sh -c "sliod mount --kernel `+tcp+` /mnt" 2>&1`); !strings.Contains(out, "only root") {
		t.Errorf("a user who mounts is told %q", out)
	}
	w.noRelay(t)
}

// gone ends mounts from both sides: by SIGTERM, which writes what the kernel has not
// written yet, and by the end of the server.
func (w *waysTest) gone(t *testing.T) {
	tcp := fmt.Sprintf("tcp:10.0.2.2:%d", w.s.port())
	w.m.Must(t, fmt.Sprintf(`set -e
		sliod mount --kernel -f -o cache=mmap %s /mnt >/tmp/relay 2>&1 & pid=$!
		until grep -q mounted /tmp/relay; do kill -0 $pid; usleep 20000; done
		head -c 3000000 /dev/urandom >/tmp/dirty; cp /tmp/dirty /mnt/dirty
		kill -TERM $pid; wait $pid
		if grep ' /mnt ' /proc/mounts; then exit 1; fi
		sliod mount --kernel %[1]s /mnt; cmp /mnt/dirty /tmp/dirty
		cd /mnt; pid=$(pidof sliod); kill -TERM $pid
		while grep -q ' /mnt ' /proc/mounts; do usleep 20000; done
		cmp dirty /tmp/dirty; kill -0 $pid # in use: detached, and served until it is left
		cd /`, tcp))
	w.noRelay(t)
	// What is on the directory now is another's: of a name in another directory, and of a mount that was detached.
	w.m.Must(t, fmt.Sprintf(`set -e
		mkdir -p /tmp/at/mnt; cd /tmp/at
		sliod mount --kernel %s mnt; cd /
		mount -t tmpfs none /mnt
		kill -TERM $(pidof sliod)
		while grep -q ' /tmp/at/mnt ' /proc/mounts; do usleep 20000; done
		grep -q ' /mnt tmpfs ' /proc/mounts; umount /mnt`, tcp))
	w.noRelay(t)
	w.m.Must(t, fmt.Sprintf(`set -e
		rm -f /tmp/relay; sliod mount --kernel -o log=/tmp/relay %s /mnt; cd /mnt; pid=$(pidof sliod)
		umount -l /mnt; mount -t tmpfs none /mnt
		kill -TERM $pid; until grep -q 'unmounted while programs were in it' /tmp/relay; do kill -0 $pid; usleep 20000; done
		cmp dirty /tmp/dirty; grep -q ' /mnt tmpfs ' /proc/mounts
		umount /mnt; cd /`, tcp))
	w.noRelay(t)
	// A relay that is killed leaves answers behind in a serial port, for the next one.
	w.m.Must(t, `set -e
		sliod mount --kernel port:/dev/virtio-ports/sliod /mnt
		rm -f /tmp/read; (while cat /mnt/dirty >/dev/null; do touch /tmp/read; done) 2>/dev/null & reader=$!
		until [ -e /tmp/read ]; do kill -0 $reader; usleep 20000; done
		kill -9 $(pidof sliod); wait $reader || true
		umount /mnt
		sliod mount --kernel port:/dev/virtio-ports/sliod /mnt
		cmp /mnt/dirty /tmp/dirty; umount /mnt`)
	w.noRelay(t)
	w.m.Must(t, fmt.Sprintf("sliod mount --kernel -o log=/tmp/relay %s /mnt", tcp))
	w.s.stop()
	w.noRelay(t)
	out := w.m.Must(t, "cat /tmp/relay; ls /mnt 2>&1; umount /mnt; ! grep ' /mnt ' /proc/mounts")
	for _, want := range []string{"the connection to the server ended", "is dead: unmount it (umount /mnt) and mount it again", "ls: /mnt: "} {
		if !strings.Contains(out, want) {
			t.Errorf("a relay whose server has gone says\n%s\nwithout %q", out, want)
		}
	}
}

// off switches the machine off while a read waits for a tape that takes many minutes.
// Its monitor must be able to end, and the next one may come.
func (w *waysTest) off(t *testing.T) {
	w.s.must("evict", "/virtiofs")
	w.m.Must(t, `set -e
		mount -t virtiofs `+fsTag+` /mnt
		f=$(find /mnt/virtiofs -type f -size +100k | head -n 1); test -n "$f"
		cat "$f" >/dev/null 2>&1 &`)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(patience); w.s.status().Parked == 0; <-tick.C {
		if time.Now().After(limit) {
			t.Fatal("no read is parked")
		}
	}
	if _, err := w.m.Sh(t.Context(), "ls -lR /mnt >/dev/null && echo on >/mnt/on && cat /mnt/on >/dev/null && poweroff -f"); err == nil || !strings.Contains(err.Error(), "QEMU has ended") {
		t.Errorf("the machine is not off: %v", err)
	}
	w.fs.await(t, "the virtual machine has ended")
	until(t, "nothing is parked", func() bool { return w.s.status().Parked == 0 })
}
