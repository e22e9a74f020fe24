package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sliod/guest"
)

// aclScript does with access control lists what administrators do, and shows what came of it.
const aclScript = `umask 027
mkdir tree; cd tree
setfacl -m u:65001:rwx,g:65003:r-x,d:u:65001:rwx,d:g:65003:r-x .
echo one >one; mkdir sub; echo two >sub/two; mkfifo sub/pipe; ln -s two sub/link
cp one copy; cp -a one copy-a; install -m 640 one installed; mv one sub/moved
setfacl -m m::r-x sub/two; chmod g+w sub/two
setfacl -x g:65003 sub; setfacl -k sub; mkdir sub/plain; echo three >sub/plain/three
setfacl -R -m u:65002:rX sub; setfacl -b copy-a; setfacl -n -m u:65001:rwx copy
cp -a sub sub2; rm -f sub2/pipe
setfacl --test -m u:65001:rw one 2>&1 || true
find . | sort | while read -r f; do stat -c '%A %n' "$f"; getfacl -n -p "$f" 2>&1; done`

// TestBridgeACLHere has setfacl, getfacl, cp and others work on the bridges and on this machine's own
// file system: all show the same. The suite of package posix looks at the single rules.
func TestBridgeACLHere(t *testing.T) {
	requireFUSE(t)
	for _, program := range []string{"setfacl", "getfacl"} {
		if _, err := exec.LookPath(program); err != nil {
			guest.SkipOrFail(t, "no "+program+": install the package acl")
		}
	}
	local := filepath.Join(publicDir(t), "mnt")
	s := start(t, stateDir(t), settings{mount: local})
	remote := mountBridge(t, s, "")
	if err := os.Mkdir(local+"/local", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(local+"/remote", 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(dir, script string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", "-euc", script)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	own := t.TempDir()
	want := run(own, aclScript)
	if !strings.Contains(want, "user:65001:rwx") {
		t.Fatalf("this machine's own file system has no lists:\n%s", want)
	}
	for _, dir := range []string{local + "/local", remote + "/remote"} {
		if got := run(dir, aclScript); got != want {
			t.Errorf("%s: %s", dir, difference(got, want))
		}
	}
	// From tape, to a file system of another kind and back.
	s.toTape("/local")
	show := `find . -mindepth 1 | sort | while read -r f; do stat -c '%A %n' "$f"; getfacl -n -p "$f"; done`
	wantCopy := run(own+"/tree", show)
	run(own, "cp -a "+remote+"/local/tree copy && cp -a copy "+remote+"/back")
	for _, dir := range []string{own + "/copy", remote + "/back", local + "/back"} {
		if got := run(dir, show); got != wantCopy {
			t.Errorf("%s: %s", dir, difference(got, wantCopy))
		}
	}
	s.stop()
}
