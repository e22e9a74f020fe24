package guest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"sliod/guest/child"
)

// markByte begins the line that ends a script's output.
const markByte = 0x1e

// bootTime is how long a boot may take: 4 s at most on an idle machine, minutes on one with a load of 50.
const bootTime = 5 * time.Minute

// consoleMax is how much of the console's end is kept, in bytes.
const consoleMax = 64 << 10

// Options say what a guest is made of. The zero value is a bare busybox guest.
type Options struct {
	// Bins are programs of the host, put into /bin with the shared libraries
	// that they need.
	Bins []string
	// Files are further files: path in the guest -> path on the host.
	Files map[string]string
	// MemoryMiB is the guest's memory; 0 means 1024.
	MemoryMiB int
	// UserMode has the kernel run as a process of the host instead of on an emulated
	// machine: many times faster, with one processor, and without devices.
	UserMode bool
	// QEMU are further options of QEMU, for devices. There is no QEMU with UserMode.
	QEMU []string
	// Output gets all output of scripts as it comes. May be nil.
	Output io.Writer
}

// A Result is what a script left behind.
type Result struct {
	Output string // standard output and standard error, in the order written
	Status int    // exit status
}

// Machine is a running guest. Sh may be called from several goroutines, one
// script runs at a time. The others may be called at any time.
type Machine struct {
	mark   string
	port   *os.File // our end of the guest's port
	output io.Writer

	kind kind
	dir  string         // removed by Close
	net  *network       // of a guest in user mode; nil: QEMU has one of its own
	proc *child.Child   // QEMU, or the kernel in user mode
	wg   sync.WaitGroup // the two readers

	results chan Result   // from the reader to Sh
	turn    chan struct{} // holds one token: who has it may use the port

	mu          sync.Mutex
	console     []byte        // the end of the kernel's console
	consoleRead chan struct{} // closed when it was read to its end
}

// Start boots a guest and returns when it is ready for scripts, after about
// four seconds, or half a second in user mode. Close must be called. ctx bounds the boot only.
func Start(ctx context.Context, o Options) (*Machine, error) {
	if o.UserMode && len(o.QEMU) > 0 {
		return nil, errors.New("guest: QEMU's devices were asked for in user mode, where there is no QEMU")
	}
	kind := kindOf(o.UserMode)
	k, err := kind.kernel.get(ctx)
	if err != nil {
		return nil, err
	}
	word := make([]byte, 8)
	rand.Read(word)
	m := &Machine{
		mark: hex.EncodeToString(word), output: o.Output, kind: kind,
		results: make(chan Result, 1), turn: make(chan struct{}, 1), consoleRead: make(chan struct{}),
	}
	root, err := makeRoot(ctx, k, o, map[string]string{
		"init":  strings.NewReplacer("CARD", kind.card, "SERVE", kind.serve).Replace(initScript),
		"serve": strings.ReplaceAll(serveScript, "MARK", m.mark),
	})
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := m.launch(k, o, root); err != nil {
		m.cleanUp()
		return nil, err
	}
	boot, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	_, err = m.wait(boot)
	if err == nil {
		err = ctx.Err() // both may have come
	}
	if err != nil {
		err = errors.WithMessage(err, "guest: boot")
		m.Close()
		return nil, err
	}
	m.turn <- struct{}{}
	return m, nil
}

// launch starts the guest's process and the goroutines that belong to it. After an error
// cleanUp is the caller's.
func (m *Machine) launch(k *KernelImage, o Options, root *os.File) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return errors.Wrap(err, "guest: make a socket pair for the port")
	}
	// Our end goes to the runtime's poller, so that Close ends a Read of it.
	unix.SetNonblock(fds[0], true)
	m.port = os.NewFile(uintptr(fds[0]), "guest port")
	theirs := os.NewFile(uintptr(fds[1]), "guest port")
	defer theirs.Close()
	files := []*os.File{root, theirs}
	if o.UserMode {
		m.net, err = newNetwork(theirs)
		if err == nil {
			files[1] = m.net.card
			m.dir, err = os.MkdirTemp("", "sliod-guest-")
		}
		if err != nil {
			m.port.Close()
			return errors.WithMessage(err, "guest: user mode")
		}
	}
	console, consoleW, err := os.Pipe()
	if err != nil {
		m.port.Close()
		return errors.Wrap(err, "guest: make a pipe for the console")
	}
	cmd := m.kind.command(k, o, m.dir)
	cmd.ExtraFiles = files
	cmd.Stdout, cmd.Stderr = consoleW, consoleW
	m.proc, err = child.Start(cmd)
	consoleW.Close()
	if err != nil {
		m.port.Close()
		console.Close()
		return errors.WithMessage(err, "guest")
	}
	m.wg.Add(2)
	go m.readConsole(console)
	go m.readPort()
	return nil
}

// Sh runs a script with busybox sh and waits for its end. A status other than
// 0 is no error. When ctx ends first the machine is of no further use: close it.
func (m *Machine) Sh(ctx context.Context, script string) (Result, error) {
	select {
	case <-m.turn:
	case <-m.proc.Done():
		return Result{}, m.died()
	case <-ctx.Done():
		return Result{}, errors.Wrap(ctx.Err(), "guest: wait for an earlier script")
	}
	if _, err := io.WriteString(m.port, base64.StdEncoding.EncodeToString([]byte(script))+"\n"); err != nil {
		return Result{}, errors.Wrapf(err, "guest: send a script (console: %s)", m.consoleEnd())
	}
	r, err := m.wait(ctx)
	if err != nil {
		return r, errors.WithMessagef(err, "guest: run %q", firstLine(script))
	}
	m.turn <- struct{}{}
	return r, nil
}

// Host is the address in the guest of a TCP port of the host's loopback.
func (m *Machine) Host(port int) (string, error) {
	if m.net != nil {
		if err := m.net.reach(port); err != nil {
			return "", err
		}
	}
	return net.JoinHostPort(hostAddr, strconv.Itoa(port)), nil
}

// Console returns the end of the kernel's console (errors and worse only).
func (m *Machine) Console() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return string(m.console)
}

var faultLine = regexp.MustCompile(`(?m)^.*(BUG:|WARNING: |Oops|general protection|blocked for more than|Kernel panic|refcount_t:).*$`)

// KernelFaults returns the lines of the console in which the guest's kernel
// complains about itself. A good test ends with none.
func (m *Machine) KernelFaults() []string { return faultLine.FindAllString(m.Console(), -1) }

// Close ends the guest at once and waits for all that belongs to it. It may be
// called more than once.
func (m *Machine) Close() error {
	m.proc.Kill()
	m.port.Close()
	m.wg.Wait()
	m.cleanUp()
	return nil
}

// cleanUp removes what lies around the guest's process, which has ended.
func (m *Machine) cleanUp() {
	if m.net != nil {
		m.net.close()
	}
	if m.dir != "" {
		os.RemoveAll(m.dir)
	}
}

// wait returns the next result of the port.
func (m *Machine) wait(ctx context.Context) (Result, error) {
	select {
	case r := <-m.results:
		return r, nil
	case <-ctx.Done():
		return Result{}, errors.Wrapf(ctx.Err(), "no answer in time (console: %s)", m.consoleEnd())
	case <-m.proc.Done():
		select {
		case r := <-m.results: // it answered, then ended
			return r, nil
		default:
			return Result{}, m.died()
		}
	}
}

// died explains a guest that has ended by itself. done is closed.
func (m *Machine) died() error {
	<-m.consoleRead // its last words may still be in the pipe, of which nobody has the other end any more
	return errors.Errorf("guest: %s has ended (%v): its console said: %s", m.kind.name, m.proc.Wait(), m.consoleEnd())
}

func (m *Machine) consoleEnd() string {
	s := strings.TrimSpace(m.Console())
	return s[max(0, len(s)-2000):]
}

// readConsole keeps the console's end until the guest ends.
func (m *Machine) readConsole(r *os.File) {
	defer m.wg.Done()
	defer close(m.consoleRead)
	defer r.Close()
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		m.mu.Lock()
		m.console = append(m.console, bytes.ReplaceAll(buf[:n], []byte("\r"), nil)...)
		m.console = m.console[max(0, len(m.console)-consoleMax):]
		m.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// readPort cuts the port's stream at the marks: what lies before one is the
// output of one script, the number behind it the status.
func (m *Machine) readPort() {
	defer m.wg.Done()
	r := bufio.NewReaderSize(m.port, 64<<10)
	mark := []byte(m.mark + " ")
	var out bytes.Buffer
	for {
		if n, err := r.Peek(1); err != nil {
			return
		} else if n[0] == markByte {
			if head, _ := r.Peek(1 + len(mark)); bytes.Equal(head[min(1, len(head)):], mark) {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				status, _ := strconv.Atoi(strings.TrimSpace(line[1+len(mark):]))
				m.results <- Result{Output: out.String(), Status: status}
				out.Reset()
				continue
			}
			// A byte of the output that only looks like a mark.
			r.Discard(1)
			m.take(&out, []byte{markByte})
			continue
		}
		chunk, _ := r.Peek(r.Buffered())
		if i := bytes.IndexByte(chunk, markByte); i >= 0 {
			chunk = chunk[:i]
		}
		m.take(&out, chunk)
		r.Discard(len(chunk))
	}
}

func (m *Machine) take(out *bytes.Buffer, p []byte) {
	out.Write(p)
	if m.output != nil {
		m.output.Write(p)
	}
}

func firstLine(s string) string {
	line, rest, _ := strings.Cut(strings.TrimSpace(s), "\n")
	if rest != "" {
		line += " ..."
	}
	return line
}
