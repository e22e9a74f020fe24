package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"sliod/guest"
)

// tapeTest is a guest with real tape devices, in which sliod runs.
type tapeTest struct {
	m     *guest.Machine
	tapes *guest.Tapes
	mark  time.Time
}

// TestTapeLibrary is the life of an archive on real SCSI devices: sliod, its state, the
// kernel's mount and the operator's tools are all in the guest. The devices are those of
// an old library, without LOCATE, READ POSITION, partitions and MAM.
func TestTapeLibrary(t *testing.T) {
	t.Parallel()
	k := &tapeTest{mark: time.Now()}
	for _, p := range []string{"/usr/sbin/mtx", "/usr/bin/mt-st"} {
		if _, err := os.Stat(p); err != nil {
			guest.SkipOrFail(t, "no "+p+": install the packages mtx and mt-st")
		}
	}
	k.tapes = guest.Library(t, guest.TapesOptions{})
	k.m = guest.Boot(t, guest.Options{QEMU: k.tapes.QEMU, Output: new(bytes.Buffer), MemoryMiB: 1536, Bins: []string{
		guest.Build(t, "sliod/cmd/sliod"), guest.Build(t, "sliod/guest/ninetest"), "/usr/sbin/mtx", "/usr/bin/mt-st"}})
	k.lap(t, "boot")
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"discover", k.discover}, {"archive and read back", k.archive}, {"format and label", k.format}, {"change and archive again", k.change},
		{"mtx meanwhile", k.mtx}, {"kill and restart", k.kill}, {"mt and dd", k.labels}, {"rebuild", k.rebuild},
	} {
		if !t.Run(step.name, step.run) {
			t.Logf("the server said:\n%s", k.m.Must(t, "tail -c 20000 /tmp/log"))
			t.Logf("the kernel said:\n%s", k.m.Must(t, "dmesg | tail -20"))
			return // each step needs the ones before
		}
		k.lap(t, step.name)
	}
}

func (k *tapeTest) lap(t *testing.T, step string) {
	now := time.Now()
	t.Logf("%6.1f s  %s", now.Sub(k.mark).Seconds(), step)
	k.mark = now
}

// discover finds the devices, and makes the configuration of what is printed.
func (k *tapeTest) discover(t *testing.T) {
	out := k.m.Must(t, "sliod discover")
	for _, want := range []string{
		`/dev/sg0 +drive +IBM +ULT3580-TD5 +0001 +DRIVE001 +element 500 of /dev/sg2\n`,
		`/dev/sg1 +drive +IBM +ULT3580-TD5 +0001 +DRIVE002 +element 501 of /dev/sg2\n`,
		`/dev/sg2 +changer +STK +L700 +0001 +LIB001 +2 drives, 8 slots, 0 mail slots, 4 cartridges\n`,
		`(?m)^kind = "scsi"$`, `(?m)^changer = "serial:LIB001" # /dev/sg2$`, `(?m)^  "serial:DRIVE002", # /dev/sg1, element 501$`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	var found struct {
		Changers []struct{ Serial string }
		Drives   []struct {
			Serial  string
			Element int
		}
	}
	if err := json.Unmarshal([]byte(k.m.Must(t, "sliod discover --json")), &found); err != nil || len(found.Changers) != 1 || len(found.Drives) != 2 || found.Drives[1].Element != 501 {
		t.Errorf("--json: %v, %+v", err, found)
	}
	k.m.Must(t, `set -e
		sliod discover | sed -n '/^\[library\]/,$p' >/tmp/conf
		# Another program has written on the second cartridge.
		mtx -f /dev/sg2 load 2 0 >/dev/null
		mt-st -f /dev/nst0 setblk 0
		echo 'not a label' | dd of=/dev/nst0 bs=1k count=1 conv=sync 2>/dev/null
		mt-st -f /dev/nst0 offline
		mtx -f /dev/sg2 unload 2 0 >/dev/null
		printf '[cache]\nsize = "64MiB"\n[archive]\nidle = "10h"\ndirty = 0.9\n[index]\nbytes = "64MiB"\n' >>/tmp/conf`)
}

// start starts the server in the guest and mounts it at /mnt.
func (k *tapeTest) start(t *testing.T) {
	t.Helper()
	k.m.Must(t, `rm -f /tmp/out # what the one before said
		sliod serve --config /tmp/conf --state /tmp/state --listen unix:/tmp/state/sliod.sock >/tmp/out 2>>/tmp/log & echo $! >/tmp/pid
		while ! grep -q 'mount -t 9p' /tmp/out; do kill -0 $(cat /tmp/pid) || { cat /tmp/out; tail -20 /tmp/log; exit 1; }; usleep 50000; done
		mount -t 9p -o trans=unix,version=9p2000.L,msize=262144,access=client,cache=none /tmp/state/sliod.sock /mnt`)
}

// sliod runs a command against the server.
func (k *tapeTest) sliod(t *testing.T, args string) string {
	t.Helper()
	return k.m.Must(t, "sliod --state /tmp/state "+args)
}

// toTape archives and evicts everything, and checks that nothing of it is left in the
// cache.
func (k *tapeTest) toTape(t *testing.T) {
	t.Helper()
	k.sliod(t, "archive --wait /")
	k.sliod(t, "evict /")
	for line := range strings.Lines(k.sliod(t, "ls -R /")) {
		if !onTapeOnly(line) {
			t.Errorf("after archive and evict: %s", strings.TrimSpace(line))
		}
	}
}

// same checks that what is read through the mount is what is in /tmp/ref.
func (k *tapeTest) same(t *testing.T, when string) {
	t.Helper()
	if out := k.m.Must(t, "ninetest sum -no-xattrs /tmp/ref >/tmp/want && ninetest sum -no-xattrs /mnt/tree >/tmp/got && diff /tmp/want /tmp/got; true"); out != "" {
		t.Errorf("%s:\n%s", when, out)
	}
}

// archive takes a tree to tape and back.
func (k *tapeTest) archive(t *testing.T) {
	k.start(t)
	// Who comes second is told who is there.
	r, err := k.m.Sh(t.Context(), "sliod serve --config /tmp/conf --state /tmp/other --listen unix:/tmp/other/s 2>&1")
	if err != nil || r.Status != 1 || !strings.Contains(r.Output, "/dev/sg2 is in use by sliod (process ") {
		t.Errorf("a second server: status %d, %v\n%s", r.Status, err, r.Output)
	}
	if out := k.m.Must(t, "sliod discover"); strings.Count(out, "in use by another process") != 2 {
		t.Errorf("discover beside a server:\n%s", out)
	}
	k.m.Must(t, `set -e
		ninetest make-tree -no-xattrs -seconds -total 4000000 /tmp/ref 7 60
		ninetest make-tree -no-xattrs -seconds -total 4000000 /mnt/tree 7 60`)
	k.same(t, "as written")
	k.toTape(t)
	k.same(t, "from tape")
	if out := k.sliod(t, "volumes"); !strings.Contains(out, "A00001L5") || !strings.Contains(out, "append") {
		t.Errorf("volumes:\n%s", out)
	}
}

// format makes volumes of cartridges by hand, and names them.
func (k *tapeTest) format(t *testing.T) {
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"format A00003L5", 0, "format: done"},
		{`label A00003L5 'top shelf'`, 0, ""},
		{"label A00003L5", 0, "top shelf"},
		{"format A00003L5", 0, "format: done"}, // it is ours, and empty
		{"format A00002L5", 1, "to lose that, use --force"},
		{"label A00002L5 foreign", 1, "has no name"},
		{"format --force A00002L5", 2, "give the barcode once more"},
		{"format --force --confirm A00003L5 A00002L5", 1, "nothing was done"},
		{"format --force --confirm A00002L5 A00002L5", 0, "format: done"},
		{"label A00002L5 second", 0, ""},
		{"label A00002L5", 0, "second"},
		{"format --force --confirm A00001L5 A00001L5", 1, "not even by force"},
		{"format A00009L5", 1, "A00009L5"},
	} {
		r, err := k.m.Sh(t.Context(), "sliod --state /tmp/state "+c.args+" 2>&1")
		if err != nil {
			t.Fatal(err)
		}
		if r.Status != c.status || !strings.Contains(r.Output, c.want) {
			t.Errorf("sliod %s: status %d, want %d and %q:\n%s", c.args, r.Status, c.status, c.want, r.Output)
		}
	}
	if out := k.sliod(t, "volumes"); !regexp.MustCompile(`A00002L5 +append`).MatchString(out) || !regexp.MustCompile(`A00003L5 +append`).MatchString(out) {
		t.Errorf("volumes after format:\n%s", out)
	}
	k.sliod(t, "evict /")
	k.same(t, "after format")
}

// change changes the tree while it is on tape only, and archives it again.
func (k *tapeTest) change(t *testing.T) {
	k.sliod(t, "evict /")
	k.m.Must(t, `set -e
		for top in /tmp/ref /mnt/tree; do
			cd $top
			head -c 3000000 /dev/zero | tr '\0' 'x' >new
			mkdir -p sub/deeper; echo one >sub/deeper/one
			for f in $(find . -type f -size +200k | sort | head -3); do printf 'changed' | dd of=$f bs=1 seek=70001 conv=notrunc 2>/dev/null; done
			rm -f $(find . -type f -links 1 -size -8k ! -path './sub/*' | sort | head -3)
			mv new sub/renamed
			cd /
			find $top -exec touch -h -d '2020-01-02 03:04:05' {} +
		done`)
	k.same(t, "changed")
	k.toTape(t)
	k.same(t, "changed, from tape")
}

// mtx has the operator move a cartridge that the server knows.
func (k *tapeTest) mtx(t *testing.T) {
	k.m.Must(t, "mtx -f /dev/sg2 transfer 4 8")
	k.sliod(t, "evict /")
	k.same(t, "after mtx has moved another cartridge")
	k.m.Must(t, "echo more >/mnt/tree/more; cp /mnt/tree/more /tmp/ref/more; touch -d '2020-01-02 03:04:05' /mnt/tree/more /tmp/ref/more /mnt/tree /tmp/ref")
	k.toTape(t)
	k.same(t, "after mtx")
}

// kill kills the server while it archives, and starts it again.
func (k *tapeTest) kill(t *testing.T) {
	k.m.Must(t, `set -e
		for top in /tmp/ref /mnt/tree; do
			head -c 6000000 /dev/zero | tr '\0' 'y' >$top/late; touch -d '2020-01-02 03:04:05' $top/late $top
		done
		dd if=/dev/null of=/mnt/tree/late conv=notrunc,fsync 2>/dev/null
		sliod --state /tmp/state archive /
		kill -9 $(cat /tmp/pid); while kill -0 $(cat /tmp/pid) 2>/dev/null; do usleep 20000; done
		umount -f /mnt || umount -l /mnt`)
	k.start(t)
	k.same(t, "after kill -9")
	k.toTape(t)
	k.same(t, "after kill -9, from tape")
	if out := k.sliod(t, "volumes"); !regexp.MustCompile(`A00004L5.*slot 8`).MatchString(out) {
		t.Errorf("the cartridge that mtx moved is not seen in slot 8:\n%s", out)
	}
	k.stop(t)
}

// stop ends the server as an operator does: cartridges go home.
func (k *tapeTest) stop(t *testing.T) {
	t.Helper()
	k.m.Must(t, `umount /mnt; kill $(cat /tmp/pid); while kill -0 $(cat /tmp/pid) 2>/dev/null; do usleep 50000; done; tail -1 /tmp/log | grep -q stopped`)
	if out := k.m.Must(t, "mtx -f /dev/sg2 status"); strings.Count(out, "Data Transfer Element 0:Empty")+strings.Count(out, "Data Transfer Element 1:Empty") != 2 {
		t.Errorf("cartridges are left in drives:\n%s", out)
	}
}

// labels reads what is on tape with the kernel's own tape driver.
func (k *tapeTest) labels(t *testing.T) {
	out := k.m.Must(t, `set -e
		mtx -f /dev/sg2 load 1 0 >/dev/null
		mt-st -f /dev/nst0 setblk 0
		mt-st -f /dev/nst0 rewind
		dd if=/dev/nst0 of=/tmp/vol1 bs=1M count=1 2>/dev/null
		mt-st -f /dev/nst0 fsf 1
		dd if=/dev/nst0 of=/tmp/label bs=1M count=1 2>/dev/null
		mt-st -f /dev/nst0 rewind
		mt-st -f /dev/nst0 offline
		mtx -f /dev/sg2 unload 1 0 >/dev/null
		wc -c </tmp/vol1; cat /tmp/vol1; echo; cat /tmp/label`)
	length, rest, _ := strings.Cut(out, "\n")
	vol1, label, _ := strings.Cut(rest, "\n")
	if length != "80" || !strings.HasPrefix(vol1, "VOL1A00001") || len(vol1) != 80 || vol1[24:28] != "LTFS" || vol1[79] != '4' {
		t.Errorf("the first record has %s bytes: %q", length, vol1)
	}
	for _, want := range []string{"<?xml", "<ltfslabel", "<volumeuuid>", "<blocksize>", "<location>"} {
		if !strings.Contains(label, want) {
			t.Errorf("no %s in the label\n%s", want, label)
		}
	}
}

// rebuild makes the archive anew from the cartridges alone.
func (k *tapeTest) rebuild(t *testing.T) {
	k.m.Must(t, "rm -rf /tmp/state; sliod --state /tmp/state rebuild --config /tmp/conf >/tmp/rebuild 2>&1 || { cat /tmp/rebuild; exit 1; }")
	k.start(t)
	k.same(t, "after rebuild")
	k.stop(t)
}
