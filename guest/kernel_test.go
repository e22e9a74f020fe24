package guest

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestOldPackageLists: apt's lists name a version of the kernel that its archive has no more. They are read anew, once.
func TestOldPackageLists(t *testing.T) {
	const (
		download = `case "$*" in
*update*) touch %/updated ;;
*) [ -e %/updated ] || { echo 404 Not Found; exit 100; }; touch kernel.deb ;;
esac
`
		unpack = `mkdir -p "$3/usr/bin" "$3/lib/modules/6.1.7/kernel"; echo kernel >"$3/usr/bin/linux.uml"
`
		sudo = `shift; exec "$@"
`
	)
	if runtime.GOARCH != "amd64" {
		t.Skip("guests need an amd64 host")
	}
	s := source{userSuffix, userKernelPackage, "usr/bin/linux.uml", nil}
	for _, c := range []struct{ name, update, want string }{
		{name: "they can be read"},
		{name: "they cannot", update: "*update*) echo no network; exit 100 ;;\n", want: "run `apt-get update` as root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bin, cache := t.TempDir(), t.TempDir()
			for name, script := range map[string]string{"apt-get": strings.Replace(download, "in\n", "in\n"+c.update, 1), "dpkg": unpack, "sudo": sudo} {
				script = "#!/bin/sh\n" + strings.ReplaceAll(script, "%", bin)
				if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			t.Setenv("XDG_CACHE_HOME", cache)
			k, err := s.get(context.Background())
			switch {
			case c.want != "":
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "404") || !strings.Contains(err.Error(), "no network") {
					t.Errorf("%v, want an error that says: %s", err, c.want)
				}
			case err != nil:
				t.Error(err)
			case k.Version != "6.1.7":
				t.Errorf("version %q", k.Version)
			}
		})
	}
}
