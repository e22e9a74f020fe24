package guest

import (
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// hostAddr is the host, as a guest sees it.
const hostAddr = "10.0.2.2"

// A kind is a way to run a guest's kernel.
type kind struct {
	name   string // of what runs it
	kernel source
	card   string // the network card's name in the guest
	serve  string // shell commands: run /serve with the guest's port as standard input
	// missing says what the kind lacks on this machine, but for the kernel.
	missing func() error
	// command runs the kernel. Descriptor 3 is the root file system, 4 the guest's port, or the
	// network card of user mode, where scripts come by the network. dir is for what it leaves behind.
	command func(k *KernelImage, o Options, dir string) *exec.Cmd
}

func kindOf(userMode bool) kind {
	if userMode {
		return kind{"the kernel in user mode", userKernel, "vec0", fmt.Sprintf("exec nc %s %d -e /serve", hostAddr, scriptPort), userModeMissing, userModeCommand}
	}
	return kind{"QEMU", machineKernel, "eth0", `port=; until [ -e "$port" ]; do usleep 5000; port=$(echo /dev/vport*p1); done; exec /serve <>$port`, qemuMissing, qemuCommand}
}

func memoryMiB(o Options) int {
	if o.MemoryMiB == 0 {
		return 1024
	}
	return o.MemoryMiB
}

// qemu is the emulator's command.
const qemu = "qemu-system-x86_64"

func qemuMissing() error {
	if _, err := exec.LookPath(qemu); err != nil {
		return errors.Errorf("guest: no %s: install the package qemu-system-x86", qemu)
	}
	return nil
}

// qemuCommand emulates a PC.
func qemuCommand(k *KernelImage, o Options, _ string) *exec.Cmd {
	return exec.Command(qemu, append([]string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", strconv.Itoa(memoryMiB(o)),
		"-kernel", k.Image, "-initrd", "/dev/fd/3",
		// A host that pauses for some seconds would look like a lockup to the watchdog.
		"-append", "console=ttyS0 loglevel=4 panic=-1 mitigations=off nokaslr nowatchdog",
		"-serial", "stdio",
		"-device", "virtio-serial-pci", "-chardev", "socket,id=port,fd=4", "-device", "virtserialport,chardev=port,nr=1",
		"-nic", "user,model=virtio-net-pci",
	}, o.QEMU...)...)
}

func userModeMissing() error {
	if os.Geteuid() != 0 {
		return errors.New("guest: a guest in user mode has namespaces of its own for its network and its processes, which only root can make")
	}
	if _, err := os.Stat(tunDevice); err != nil {
		return errors.Errorf("guest: no %s: load the module tun, or give the container the device", tunDevice)
	}
	// A guest that finds no room there is killed by SIGBUS.
	var fs unix.Statfs_t
	if err := unix.Statfs(userModeMemory, &fs); err != nil {
		return errors.Wrapf(err, "guest: look for room in %s", userModeMemory)
	}
	if free := int64(fs.Bavail) * fs.Bsize >> 20; free < userModeMiB {
		return errors.Errorf("guest: a guest in user mode has its memory in %s, where %d MiB are free; %d are needed", userModeMemory, free, userModeMiB)
	}
	return nil
}

// userModeMemory is where the kernel in user mode has its memory, userModeMiB what tests take of it.
const (
	userModeMemory = "/dev/shm"
	userModeMiB    = 2048
)

// userModeCommand runs Linux as a program. Each process of the guest is one of the host,
// traced by the kernel's, and all are in a PID namespace: with its first process, a shell that waits,
// they end. The kernel itself cannot be the first: it would not die when it panics.
//
// All run on one processor, as the guest has no more: at each system call of the guest a process
// wakes another, which takes much longer across processors, virtual ones most of all. Five programs at a
// time on v9fs took half the time with it.
func userModeCommand(k *KernelImage, o Options, dir string) *exec.Cmd {
	cmd := exec.Command(busybox, "taskset", oneProcessor(), busybox, "sh", "-c", `"$@"; exit $?`, "sh", k.Image, fmt.Sprintf("mem=%dM", memoryMiB(o)), "initrd=/proc/self/fd/3",
		"con=null", "con0=null,fd:1", "ssl=null",
		fmt.Sprintf("vec0:transport=fd,fd=4,vec=0,mtu=%d", cardMTU),
		"uml_dir="+dir, "loglevel=4", "panic=-1",
		// A periodic tick: a kernel in user mode drops an alarm that comes while it handles one (unblock_signals in
		// arch/um/os-Linux/signal.c). If that was a one-shot timer's there is no other, and the guest sleeps for ever, as one did
		// under load.
		"nohz=off", "highres=off")
	cmd.Env = append(os.Environ(), "TMPDIR="+userModeMemory)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	return cmd
}

// turn is which of the processors the next guest in user mode gets.
var turn atomic.Uint32

// oneProcessor is a mask (taskset(1)) of one of the processors that this process may use: another one each time, and
// the first one by chance, so that guests of several test processes are spread too.
func oneProcessor() string {
	turn.CompareAndSwap(0, uint32(os.Getpid()))
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil || may.Count() == 0 {
		return "ffffffff" // any
	}
	n := int(turn.Add(1)) % may.Count()
	for cpu := 0; ; cpu++ {
		if !may.IsSet(cpu) {
			continue
		}
		if n == 0 {
			return new(big.Int).Lsh(big.NewInt(1), uint(cpu)).Text(16)
		}
		n--
	}
}
