package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"

	"sliod/guest"
)

const stubBytes = 60 << 10

// picture is what `file` takes for one of 640 by 480, and more than two slivers long.
func picture(seed byte) []byte {
	return append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x02\x80\x00\x00\x01\xe0\x08\x02\x00\x00\x00"), content(seed, 2<<20+1000)...)
}

const pictureIs = "PNG image data, 640 x 480"

// stubsHere is a server with stubs, and two mounts of it; below each is a file for each of names that its kernel has
// not seen the pages of, and that is on tape but for its head.
func stubsHere(t *testing.T, more string, names ...string) (s *server, dirs []string) {
	t.Helper()
	requireFUSE(t)
	local := filepath.Join(publicDir(t), "mnt")
	s = start(t, stateDir(t), settings{cache: "256MiB", mount: local, stub: "60KiB", more: more})
	dirs = []string{local, mountBridge(t, s, "")}
	for i, dir := range dirs {
		for j, name := range names {
			if err := os.WriteFile(filepath.Join(dirs[1-i], name+filepath.Base(dir)), picture(byte(j)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.toTape("/")
	return s, dirs
}

func here(dir, name string) string { return filepath.Join(dir, name+filepath.Base(dir)) }

// recalled says how many slivers came from tape, or are on their way.
func (s *server) recalled() int64 {
	st := s.status()
	return st.FaultsDone + st.Faults
}

// TestStubHere looks at files on tape as programs do, through both bridges of this machine and by a plain 9P client: nothing
// comes from tape for what lies in the head, with what the kernel reads ahead. Then all is read and compared: where the
// head ends, the rest follows.
func TestStubHere(t *testing.T) {
	s, dirs := stubsHere(t, "", "head", "dd", "file", "lines", "plain")
	for _, dir := range dirs {
		for _, x := range []struct {
			want string
			args []string
		}{
			{"IHDR", []string{"head", "-c", "512", here(dir, "head")}},
			{"IHDR", []string{"dd", "status=none", "bs=12k", "count=1", "if=" + here(dir, "dd")}},
			{pictureIs, []string{"file", "-P", "bytes=8192", here(dir, "file")}},
			{"PNG", []string{"head", "-n", "1", here(dir, "lines")}},
		} {
			out, err := exec.CommandContext(t.Context(), x.args[0], x.args[1:]...).CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte(x.want)) {
				t.Errorf("%v: %v, %.100q", x.args, err, out)
			}
			if n := s.recalled(); n != 0 {
				t.Fatalf("%v: %d slivers were recalled", x.args, n)
			}
		}
	}
	root := p9root(t, s)
	_, f, err := root.Walk([]string{"plain" + filepath.Base(dirs[0])})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Open(p9.ReadOnly); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100<<10)
	want := picture(4)
	if n, err := f.ReadAt(buf, 0); n != stubBytes || err != nil || !bytes.Equal(buf[:n], want[:n]) {
		t.Errorf("plain client: %d bytes, %v", n, err)
	}
	if n := s.recalled(); n != 0 {
		t.Errorf("plain client: %d slivers were recalled", n)
	}
	for _, dir := range dirs {
		for j, name := range []string{"head", "dd", "file", "lines", "plain"} {
			got, err := os.ReadFile(here(dir, name))
			if err != nil || !bytes.Equal(got, picture(byte(j))) {
				t.Errorf("%s: %d bytes, or they differ: %v", here(dir, name), len(got), err)
			}
		}
	}
	if n, err := f.ReadAt(buf, stubBytes); n != len(buf) || err != nil || !bytes.Equal(buf, want[stubBytes:][:n]) {
		t.Errorf("plain client, behind the head: %d bytes, %v", n, err)
	}
	s.stop()
}

// TestStubWhereRecallsAreDeniedHere has `file` see what files on tape are, though it asks for 7 MiB, and a copy fail.
func TestStubWhereRecallsAreDeniedHere(t *testing.T) {
	program, err := exec.LookPath("file")
	if err != nil {
		guest.SkipOrFail(t, "no file(1): install the package file")
	}
	s, dirs := stubsHere(t, "[recall]\nclients = \"deny\"\n", "file", "copy", "map")
	for _, dir := range dirs {
		out, err := exec.CommandContext(t.Context(), program, here(dir, "file")).CombinedOutput()
		if err != nil || !strings.Contains(string(out), pictureIs) {
			t.Errorf("file: %v, %s", err, out)
		}
		cmd := exec.CommandContext(t.Context(), "cat", here(dir, "copy"))
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err = cmd.Run()
		if err == nil || !strings.Contains(stderr.String(), "Resource temporarily unavailable") {
			t.Errorf("cat: %v, %s", err, &stderr)
		}
		if !slices.Equal(stdout.Bytes(), picture(1)[:stdout.Len()]) || stdout.Len() > stubBytes {
			t.Errorf("cat: %d bytes came before the error, or they differ", stdout.Len())
		}
		t.Logf("%d bytes came before the error", stdout.Len())
		if got := mappedPage(t, here(dir, "map")); !bytes.Equal(got, picture(2)[:4096]) {
			t.Error("the first page of a mapped file differs")
		}
	}
	if n := s.recalled(); n != 0 {
		t.Errorf("%d slivers were recalled", n)
	}
	s.stop()
}

// mappedPage maps the first page of a file, and returns what is in it.
func mappedPage(t *testing.T, name string) []byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	p := bytes.Clone(m)
	if err := unix.Munmap(m); err != nil {
		t.Error(err)
	}
	return p
}

// TestStub does the same with Linux' own client, in a guest, where recalls are allowed and where they are not.
func TestStub(t *testing.T) {
	guest.Require(t, true)
	t.Parallel()
	if os.Geteuid() != 0 {
		guest.SkipOrFail(t, "attaching as root needs root on this side too")
	}
	m := guest.Boot(t, guest.Options{UserMode: true, Output: new(bytes.Buffer)})
	for _, clients := range []string{"allow", "deny"} {
		s := start(t, stateDir(t), settings{stub: "60KiB", more: "[recall]\nclients = \"" + clients + "\"\n"})
		ways := []string{"cache=none", "cache=mmap"}
		mount := func(way string) {
			m.Mount9P(t, s.port(), "access=client,uname=root,"+way, "/mnt")
		}
		mount(ways[0])
		for i, way := range ways {
			m.Must(t, fmt.Sprintf("dd if=/dev/urandom of=/tmp/%[1]s bs=1000 count=%[2]d && cp /tmp/%[1]s /mnt/", way, 2000+i))
		}
		m.Must(t, "umount /mnt")
		s.toTape("/")
		for _, way := range ways {
			mount(way)
			m.Must(t, fmt.Sprintf("for n in 512 4096 12288; do dd bs=$n count=1 if=/mnt/%[1]s 2>/dev/null | cmp -n $n - /tmp/%[1]s || exit 1; done", way))
			if n := s.recalled(); n != 0 {
				t.Fatalf("%s: %d slivers were recalled", way, n)
			}
			m.Must(t, "umount /mnt")
		}
		for _, way := range ways {
			mount(way)
			if clients == "allow" {
				m.Must(t, fmt.Sprintf("cmp /mnt/%[1]s /tmp/%[1]s", way))
			} else {
				// A read past the head gives the head, the next one the error.
				m.Must(t, fmt.Sprintf("! dd bs=1M if=/mnt/%[1]s of=/tmp/got && test -s /tmp/got && cmp -n $(stat -c %%s /tmp/got) /tmp/got /tmp/%[1]s", way))
				if n := s.recalled(); n != 0 {
					t.Errorf("%s: %d slivers were recalled", way, n)
				}
			}
			m.Must(t, "umount /mnt")
		}
		s.stop()
	}
}
