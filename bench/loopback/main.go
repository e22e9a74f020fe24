// Loopback is go-fuse's loopback file system: it mounts a directory on another one by
// FUSE. It is what the bridge is compared with.
//
//	loopback [--passthrough] DIR MOUNTPOINT
//
// Without --passthrough every read and write goes through this process, as it does in
// any file system that has no file of the same content below it. With it the kernel
// reads and writes the files of DIR itself, and this process is only asked to open
// them. SIGTERM ends it.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// maxWrite is the largest read or write, as the bridge has it.
const maxWrite = 1 << 20

func main() {
	passthrough := flag.Bool("passthrough", false, "let the kernel read and write the files itself")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: loopback [--passthrough] DIR MOUNTPOINT")
		os.Exit(2)
	}
	if err := serve(flag.Arg(0), flag.Arg(1), *passthrough); err != nil {
		fmt.Fprintln(os.Stderr, "loopback:", err)
		os.Exit(1)
	}
}

func serve(dir, mountpoint string, passthrough bool) error {
	root, err := fs.NewLoopbackRoot(dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	keep := time.Second // as the bridge and libfuse
	o := &fs.Options{AttrTimeout: &keep, EntryTimeout: &keep, NullPermissions: true, Logger: log.New(os.Stderr, "", 0)}
	o.MountOptions = fuse.MountOptions{FsName: dir, Name: "loopback", AllowOther: true, Options: []string{"default_permissions"},
		DirectMount: true, MaxWrite: maxWrite, MaxReadAhead: maxWrite}
	if !passthrough {
		o.MountOptions.DisabledCapabilities = fuse.CAP_PASSTHROUGH
	}
	s, err := fs.Mount(mountpoint, root, o)
	if err != nil {
		return fmt.Errorf("mount on %s: %w", mountpoint, err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		for range stop {
			if err := s.Unmount(); err != nil {
				fmt.Fprintf(os.Stderr, "loopback: unmount %s: %v\n", mountpoint, err)
			}
		}
	}()
	s.Wait()
	return nil
}
