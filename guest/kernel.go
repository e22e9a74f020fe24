package guest

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// A source is a package of Debian that has a kernel for guests.
type source struct {
	// suffix ends the names of its directories in the cache.
	suffix string
	// find asks apt for the package's name.
	find func(context.Context) (string, error)
	// image matches the kernel's path in the package.
	image string
	// modules are loaded at boot in this order, each after those it depends on.
	modules []string
}

const userSuffix = "-um"

var (
	// machineKernel is the newest kernel that Debian has for amd64.
	machineKernel = source{"-amd64", newestKernel, "boot/vmlinuz-*", []string{
		"virtio_pci", "virtio_net", "virtio_console",
		"9p", "9pnet_fd",
		"virtio_scsi", "sg", "st", "ch",
		"fuse", "virtiofs",
		"vsock", "vsock_loopback",
	}}
	// userKernel is Linux as a program.
	userKernel = source{userSuffix, userKernelPackage, "usr/bin/linux.uml", []string{"9p", "9pnet_fd", "fuse"}}
)

// A KernelImage is a kernel with the modules that a guest loads.
type KernelImage struct {
	Version string   // as in `uname -r`
	Image   string   // the path of the kernel
	Modules []string // the paths of the modules, in the order of loading
}

// Kernels returns the cached kernels, of emulated machines and of user mode, or downloads
// Debian's with apt-get and caches them (about 110 MB to fetch, 25 MB kept). It needs apt
// package lists then, and root only where those are too old. Two processes may call it at once.
func Kernels(ctx context.Context) ([]*KernelImage, error) {
	var all []*KernelImage
	for _, s := range []source{machineKernel, userKernel} {
		k, err := s.get(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	return all, nil
}

// get returns the kernel out of the cache, and puts it there before if need be.
func (s source) get(ctx context.Context) (*KernelImage, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return nil, errors.Wrap(err, "guest: find the cache directory: set HOME or XDG_CACHE_HOME")
	}
	// Another list of modules is another directory.
	list := crc32.ChecksumIEEE([]byte(strings.Join(s.modules, " ")))
	dir := filepath.Join(base, "sliod", "guest", fmt.Sprintf("%08x", list))
	if k := s.cached(dir); k != nil {
		return k, nil
	}
	if runtime.GOARCH != "amd64" {
		return nil, errors.Errorf("guest: a guest needs an amd64 host for its busybox and its programs; this is %s", runtime.GOARCH)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, errors.Wrap(err, "guest: make the cache directory")
	}
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, errors.Wrap(err, "guest: lock the cache directory")
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Wrapf(err, "guest: lock %s", lock.Name())
	}
	if k := s.cached(dir); k != nil { // another process was faster
		return k, nil
	}
	if err := s.fetch(ctx, dir); err != nil {
		return nil, err
	}
	k := s.cached(dir)
	if k == nil {
		return nil, errors.Errorf("guest: %s holds no complete kernel after the download; remove it and try again", dir)
	}
	return k, nil
}

// cached finds a kernel below dir. A directory gets its name only when it
// is complete, and "order" lists its modules.
func (s source) cached(dir string) *KernelImage {
	orders, _ := filepath.Glob(filepath.Join(dir, "*"+s.suffix, "order"))
	if len(orders) == 0 {
		return nil
	}
	kdir := filepath.Dir(slices.Max(orders))
	order, err := os.ReadFile(filepath.Join(kdir, "order"))
	if err != nil {
		return nil
	}
	k := &KernelImage{Version: strings.TrimSuffix(filepath.Base(kdir), userSuffix), Image: filepath.Join(kdir, "vmlinuz")}
	for name := range strings.FieldsSeq(string(order)) {
		k.Modules = append(k.Modules, filepath.Join(kdir, name))
	}
	return k
}

// newestKernel is what Debian's package linux-image-amd64 depends on.
func newestKernel(ctx context.Context) (string, error) {
	const latest = "linux-image-amd64"
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", latest).Output()
	if err != nil {
		return "", errors.Wrapf(err, "guest: ask apt-cache for the kernel that %s depends on", latest)
	}
	_, name, _ := strings.Cut(string(out), "Depends: linux-image-")
	version, _, _ := strings.Cut(name, "\n")
	if version = strings.TrimSpace(version); !strings.HasSuffix(version, "-amd64") {
		return "", errors.Errorf("guest: apt knows no package %s: run `apt-get update` on a Debian machine", latest)
	}
	return "linux-image-" + version, nil
}

func userKernelPackage(context.Context) (string, error) { return "user-mode-linux", nil }

// fetch downloads the package and keeps what a guest needs.
func (s source) fetch(ctx context.Context, dir string) error {
	tmp, err := os.MkdirTemp(dir, "new-")
	if err != nil {
		return errors.Wrap(err, "guest: make a directory for the download")
	}
	defer os.RemoveAll(tmp)
	if err := s.download(ctx, tmp); err != nil {
		// Old lists name package versions that are gone.
		if update := updateLists(ctx); update != nil {
			return errors.WithMessagef(err, "guest: the package lists may be old, and could not be read anew (%v): run `apt-get update` as root", update)
		}
		if err := s.download(ctx, tmp); err != nil {
			return errors.WithMessage(err, "guest: with new package lists")
		}
	}
	root := filepath.Join(tmp, "root")
	deb, err := only(filepath.Join(tmp, "*.deb"))
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "dpkg", "-x", deb, root).CombinedOutput(); err != nil {
		return errors.Wrapf(err, "guest: unpack %s: %s", deb, bytes.TrimSpace(out))
	}
	image, err := only(filepath.Join(root, s.image))
	if err != nil {
		return err
	}
	// Modules lie in /lib/modules/VERSION/kernel, or deeper.
	kernel, err := only(filepath.Join(root, "lib/modules/*/kernel"), filepath.Join(root, "usr/lib/modules/*/kernel"), filepath.Join(root, "usr/lib/uml/modules/*/kernel"))
	if err != nil {
		return err
	}
	keep := filepath.Join(tmp, "keep")
	if err := os.Mkdir(keep, 0o755); err != nil {
		return errors.Wrap(err, "guest: make a directory for the kernel")
	}
	if err := os.Rename(image, filepath.Join(keep, "vmlinuz")); err != nil {
		return errors.Wrap(err, "guest: take the kernel out of its package")
	}
	if err := s.keepModules(ctx, kernel, keep); err != nil {
		return err
	}
	version := strings.TrimSuffix(filepath.Base(filepath.Dir(kernel)), s.suffix) + s.suffix
	return errors.Wrap(os.Rename(keep, filepath.Join(dir, version)), "guest: put the kernel into the cache")
}

// download gets the package that apt knows now.
func (s source) download(ctx context.Context, dir string) error {
	name, err := s.find(ctx)
	if err != nil {
		return err
	}
	// The sandbox user cannot write into a private directory, and apt warns.
	cmd := exec.CommandContext(ctx, "apt-get", "-o", "APT::Sandbox::User=root", "download", "-qq", name)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return errors.Wrapf(err, "guest: download %s: %s", name, bytes.TrimSpace(out))
}

// updateLists has apt read its package lists anew, which needs root, or sudo that asks nothing.
func updateLists(ctx context.Context) error {
	args := []string{"apt-get", "update", "-qq"}
	if os.Getuid() != 0 {
		args = append([]string{"sudo", "-n"}, args...)
	}
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	return errors.Wrapf(err, "guest: %s: %s", strings.Join(args, " "), bytes.TrimSpace(out))
}

// only is the one file that matches one of the patterns.
func only(patterns ...string) (string, error) {
	var found []string
	for _, p := range patterns {
		match, _ := filepath.Glob(p)
		found = append(found, match...)
	}
	if len(found) != 1 {
		return "", errors.Errorf("guest: a kernel's package should have one %s, and has %d", strings.Join(patterns, " or "), len(found))
	}
	return found[0], nil
}

// keepModules copies the modules and what they depend on from an unpacked
// package, uncompressed, and writes the order of loading.
func (s source) keepModules(ctx context.Context, root, keep string) error {
	found := map[string]string{} // module name -> file
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if name, _, ok := strings.Cut(d.Name(), ".ko"); err == nil && ok {
			found[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	if err != nil {
		return errors.Wrap(err, "guest: look through the kernel package")
	}
	var order []string
	done := map[string]bool{}
	var keepOne func(name string) error
	keepOne = func(name string) error {
		path, ok := found[name]
		if done[name] || !ok {
			return nil // a module that is not there is built into the kernel
		}
		done[name] = true
		data, err := readModule(ctx, path)
		if err != nil {
			return err
		}
		for _, dep := range moduleDepends(data) {
			if err := keepOne(dep); err != nil {
				return err
			}
		}
		order = append(order, name+".ko")
		return errors.Wrap(os.WriteFile(filepath.Join(keep, name+".ko"), data, 0o644), "guest: keep a module")
	}
	for _, name := range s.modules {
		if err := keepOne(name); err != nil {
			return err
		}
	}
	return errors.Wrap(os.WriteFile(filepath.Join(keep, "order"), []byte(strings.Join(order, "\n")+"\n"), 0o644), "guest: write the order of modules")
}

// readModule reads a module file; newer Debian releases compress them.
func readModule(ctx context.Context, path string) ([]byte, error) {
	if strings.HasSuffix(path, ".xz") {
		data, err := exec.CommandContext(ctx, "xz", "-dc", path).Output()
		return data, errors.Wrapf(err, "guest: uncompress %s", path)
	}
	data, err := os.ReadFile(path)
	return data, errors.Wrap(err, "guest: read a module")
}

// moduleDepends reads the "depends=a,b" string of a module's .modinfo section.
func moduleDepends(module []byte) []string {
	_, rest, ok := bytes.Cut(module, []byte("\x00depends="))
	if !ok {
		return nil
	}
	list, _, _ := bytes.Cut(rest, []byte{0})
	return strings.FieldsFunc(strings.ReplaceAll(string(list), "-", "_"), func(r rune) bool { return r == ',' })
}
