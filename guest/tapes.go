package guest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"

	"sliod/guest/child"
)

// Programs of Debian's package tgt. They lie in /usr/sbin, which not every user has
// in PATH.
const (
	tgtd    = "/usr/sbin/tgtd"
	tgtadm  = "/usr/sbin/tgtadm"
	tgtimg  = "/usr/sbin/tgtimg"
	tgtName = "iqn.2026-11.local:library"
)

// Element addresses of a Tapes' changer.
const (
	tapesArm    = 1
	tapesSlots  = 400
	tapesDrives = 500
)

// tapesStart is how long tgtd may take to come up.
const tapesStart = 2 * time.Minute

// TapesOptions say what library to make. Zero values stand for two drives, eight
// slots, four cartridges of 2000 MiB.
type TapesOptions struct {
	Drives, Slots, Cartridges int
	MiB                       int // of a cartridge
}

// Tapes is a SCSI tape library that a guest sees as real devices: Debian's tgtd,
// which emulates drives and a changer, on a loopback port, and QEMU, which
// passes its devices through. Its drives are old ones: no LOCATE, no READ POSITION that can be used, no
// partitions, no MAM. A cartridge's content outlives guests, not the Tapes.
type Tapes struct {
	// QEMU are the Options.QEMU that give a guest the devices, drives first.
	QEMU []string
	// Barcodes name the cartridges, in slot order.
	Barcodes []string
	// Serials are the drives' serial numbers, in element order.
	Serials []string

	dir  string
	proc *child.Child
	log  *bytes.Buffer // belongs to proc until it has ended
}

// StartTapes starts tgtd with its files in dir, which must be empty. It needs root, as
// tgtd does. Close must be called; ctx bounds the start only.
func StartTapes(ctx context.Context, dir string, o TapesOptions) (*Tapes, error) {
	for _, d := range []struct {
		p        *int
		byitself int
	}{{&o.Drives, 2}, {&o.Slots, 8}, {&o.Cartridges, 4}, {&o.MiB, 2000}} {
		if *d.p == 0 {
			*d.p = d.byitself
		}
	}
	addr, err := FreeAddr()
	if err != nil {
		return nil, err
	}
	t := &Tapes{dir: dir, log: new(bytes.Buffer)}
	cmd := exec.Command(tgtd, "-f", "--iscsi", "portal="+addr)
	cmd.Env = t.env()
	cmd.Stdout, cmd.Stderr = t.log, t.log
	if t.proc, err = child.Start(cmd); err != nil {
		return nil, errors.WithMessage(err, "guest: a tape library")
	}
	if err := t.up(ctx, o); err != nil {
		t.Close()
		return nil, errors.WithMessagef(err, "guest: a tape library (tgtd said: %s)", bytes.TrimSpace(t.log.Bytes()))
	}
	t.QEMU = []string{"-device", "virtio-scsi-pci"}
	for lun := 1; lun <= o.Drives+1; lun++ {
		t.QEMU = append(t.QEMU, "-drive", fmt.Sprintf("file=iscsi://%s/%s/%d,if=none,id=tape%d,format=raw", addr, tgtName, lun, lun),
			"-device", fmt.Sprintf("scsi-generic,drive=tape%d", lun))
	}
	return t, nil
}

// env has tgtd and tgtadm meet at a socket of this library.
func (t *Tapes) env() []string {
	return append(os.Environ(), "TGT_IPC_SOCKET="+filepath.Join(t.dir, "ipc"))
}

// up waits for tgtd and describes the library to it.
func (t *Tapes) up(ctx context.Context, o TapesOptions) error {
	ctx, cancel := context.WithTimeout(ctx, tapesStart)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for t.adm(ctx, "--mode", "target", "--op", "show") != nil {
		select {
		case <-tick.C:
		case <-t.proc.Done():
			return errors.Errorf("tgtd has ended: %v", t.proc.Wait())
		case <-ctx.Done():
			return errors.Wrap(ctx.Err(), "tgtd does not answer")
		}
	}
	// A drive begins with a cartridge that is not in the library.
	if err := t.cartridge(ctx, "EMPTY000", o.MiB); err != nil {
		return err
	}
	changer := filepath.Join(t.dir, "changer")
	if err := os.WriteFile(changer, make([]byte, 1<<20), 0o600); err != nil {
		return errors.Wrap(err, "make the changer's file")
	}
	run := [][]string{{"--mode", "target", "--op", "new", "--tid", "1", "--targetname", tgtName}}
	for i := range o.Drives {
		lun := strconv.Itoa(i + 1)
		t.Serials = append(t.Serials, fmt.Sprintf("DRIVE%03d", i+1))
		run = append(run, []string{"--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", lun, "--bstype", "ssc",
			"-b", filepath.Join(t.dir, "EMPTY000"), "--device-type", "tape"},
			[]string{"--mode", "logicalunit", "--op", "update", "--tid", "1", "--lun", lun,
				"--params", "vendor_id=IBM,product_id=ULT3580-TD5,product_rev=0001,removable=1,scsi_sn=" + t.Serials[i]})
	}
	lun := strconv.Itoa(o.Drives + 1)
	params := []string{"media_home=" + t.dir, "vendor_id=STK,product_id=L700,product_rev=0001,scsi_sn=LIB001,removable=1",
		fmt.Sprintf("element_type=1,start_address=%d,quantity=1", tapesArm),
		fmt.Sprintf("element_type=2,start_address=%d,quantity=%d", tapesSlots, o.Slots),
		fmt.Sprintf("element_type=4,start_address=%d,quantity=%d", tapesDrives, o.Drives)}
	for i := range o.Drives {
		params = append(params, fmt.Sprintf("element_type=4,address=%d,tid=1,lun=%d", tapesDrives+i, i+1))
	}
	for i := range o.Cartridges {
		barcode := fmt.Sprintf("A%05dL5", i+1)
		if err := t.cartridge(ctx, barcode, o.MiB); err != nil {
			return err
		}
		t.Barcodes = append(t.Barcodes, barcode)
		params = append(params, fmt.Sprintf("element_type=2,address=%d,barcode=%s,sides=1", tapesSlots+i, barcode))
	}
	run = append(run, []string{"--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", lun, "--device-type", "changer", "-b", changer})
	for _, p := range params {
		run = append(run, []string{"--mode", "logicalunit", "--op", "update", "--tid", "1", "--lun", lun, "--params", p})
	}
	for i := range o.Drives { // empty: without this a drive has its first cartridge loaded, and the changer does not know
		run = append(run, []string{"--mode", "logicalunit", "--op", "update", "--tid", "1", "--lun", strconv.Itoa(i + 1), "--params", "online=0"})
	}
	run = append(run, []string{"--mode", "target", "--op", "bind", "--tid", "1", "-I", "ALL"})
	for _, args := range run {
		if err := t.adm(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tapes) adm(ctx context.Context, args ...string) error {
	return t.tool(ctx, tgtadm, append([]string{"--lld", "iscsi"}, args...)...)
}

func (t *Tapes) cartridge(ctx context.Context, barcode string, mib int) error {
	return t.tool(ctx, tgtimg, "--op", "new", "--device-type", "tape", "--barcode="+barcode, "--size="+strconv.Itoa(mib),
		"--type=data", "--file="+filepath.Join(t.dir, barcode), "--thin-provisioning")
}

func (t *Tapes) tool(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = t.env()
	out, err := cmd.CombinedOutput()
	return errors.Wrapf(err, "%s %s: %s", filepath.Base(program), strings.Join(args, " "), bytes.TrimSpace(out))
}

// Close ends tgtd and waits for it. Guests that use it must have ended. tgtd does not end at SIGTERM
// while it has targets, so it is killed.
func (t *Tapes) Close() { _ = t.proc.Kill() }

// Library starts a tape library for a test, which ends with it.
func Library(t testing.TB, o TapesOptions) *Tapes {
	t.Helper()
	for _, p := range []string{tgtd, tgtadm, tgtimg} {
		if _, err := os.Stat(p); err != nil {
			SkipOrFail(t, "no "+p+": install the package tgt")
		}
	}
	if modules, _ := filepath.Glob("/usr/lib/*/qemu/block-iscsi.so"); len(modules) == 0 {
		SkipOrFail(t, "no iSCSI in QEMU: install the package qemu-block-extra")
	}
	if os.Geteuid() != 0 {
		SkipOrFail(t, "tgtd runs as root only")
	}
	tapes, err := StartTapes(t.Context(), t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tapes.Close)
	return tapes
}

// FreeAddr finds a loopback address that nobody listens on, for a server that cannot choose one
// itself. The port is below those that the kernel gives to whoever asks for any (32768 and more,
// if nobody has changed ip_local_port_range): so hardly anybody takes it before the server does.
func FreeAddr() (string, error) {
	var err error
	for range 100 {
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))); err == nil {
			defer l.Close()
			return l.Addr().String(), nil
		}
	}
	return "", errors.Wrap(err, "guest: find a free port")
}
