package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sliod/backend/catalog"
	"sliod/backend/config"
	"sliod/netaddr"
	"sliod/tape/virtual"
)

// What a server needs may be hidden: its library by a disk that is not mounted, and all of it by a mount of its own.

// checkLibraryThere refuses a virtual library that is not there though the catalog has data on its volumes. It
// would be made anew, with blank cartridges of the same barcodes.
func checkLibraryThere(cfg *config.Config, stateDir string) error {
	lib, cat := libraryDir(cfg, stateDir), filepath.Join(stateDir, "catalog")
	if cfg.Library.Kind == "scsi" || virtual.Exists(lib) {
		return nil
	}
	if _, err := os.Stat(cat); os.IsNotExist(err) {
		return nil
	}
	c, err := catalog.Open(cat, catalog.Options{})
	if err != nil {
		return err
	}
	var used []string
	err = c.View(func(tx *catalog.Tx) error {
		return tx.Volumes(func(v catalog.Volume) bool {
			if v.UUID != "" {
				used = append(used, string(v.Barcode))
			}
			return true
		})
	})
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	if err != nil || len(used) == 0 {
		return err
	}
	more := ""
	if len(used) > 3 {
		more, used = fmt.Sprintf(" and %d more", len(used)-3), used[:3]
	}
	return fmt.Errorf("there is no tape library in %s, and the catalog in %s has data on volumes of one (%s%s): see that its disk is mounted, that --config is given and library.dir is right; no other library was made in its place",
		lib, stateDir, strings.Join(used, ", "), more)
}

// checkMountHides refuses a mountpoint of the server's own that hides what it works with, or its sockets.
func checkMountHides(mount, stateDir string, cfg *config.Config, addrs []string) error {
	needed := []string{filepath.Join(stateDir, "catalog"), filepath.Join(stateDir, "cache")}
	if cfg.Library.Kind != "scsi" {
		needed = append(needed, libraryDir(cfg, stateDir))
	}
	for _, addr := range addrs {
		if at, err := netaddr.Parse(addr); err == nil && at.Kind == netaddr.Unix {
			needed = append(needed, at.Path)
		}
	}
	return checkHides(mount, needed)
}

// checkHides says whether a mount on dir hides one of the paths, or would itself be in one.
func checkHides(dir string, needed []string) error {
	at := resolve(dir)
	for _, name := range needed {
		real := resolve(name)
		if within(real, at) {
			return &usageError{fmt.Sprintf("--mount %s would hide %s, which the server needs: choose another directory", dir, name)}
		}
		if within(at, real) {
			return &usageError{fmt.Sprintf("--mount %s lies in %s, which is the server's own: choose another directory", dir, name)}
		}
	}
	return nil
}

// isState says whether dir looks like a state directory.
func isState(dir string) bool {
	for _, name := range []string{"lock", "catalog"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// within says whether a path is dir, or lies below it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// resolve makes a path absolute and follows links as far as it exists.
func resolve(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if real, err := filepath.EvalSymlinks(path); err == nil || path == "/" {
		return real
	}
	return filepath.Join(resolve(filepath.Dir(path)), filepath.Base(path))
}
