package guest_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sliod/guest"
)

// TestNetwork has a guest in user mode speak with the host's loopback.
func TestNetwork(t *testing.T) {
	m := guest.Boot(t, guest.Options{UserMode: true, Output: io.Discard})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	// The server answers when it has seen the end of the question.
	served := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				served <- nil
				return
			}
			question, err := io.ReadAll(c)
			if err == nil {
				_, err = c.Write(bytes.ToUpper(question))
			}
			c.Close()
			if err != nil {
				served <- err
				return
			}
		}
	}()
	nc := func(port int) string {
		t.Helper()
		addr, err := m.Host(port)
		if err != nil {
			t.Fatal(err)
		}
		return "nc " + strings.ReplaceAll(addr, ":", " ")
	}
	if out := m.Must(t, "echo hello | "+nc(port)); out != "HELLO\n" {
		t.Errorf("the host answered %q", out)
	}
	if out := m.Must(t, "yes abcdefg | head -c 20000000 | "+nc(port)+" | md5sum; yes ABCDEFG | head -c 20000000 | md5sum"); out[:32] != out[strings.Index(out, "\n")+1:][:32] {
		t.Errorf("20 MB there and back: %s", out)
	}
	l.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	// A port where nobody listens, before and after somebody did.
	for _, p := range []int{port, 1} {
		if out := m.Must(t, "echo hello | "+nc(p)+" 2>/dev/null; true"); out != "" {
			t.Errorf("port %d, where nobody listens, answered %q", p, out)
		}
	}
}

// TestPanic has a kernel in user mode die, and finds what it said.
func TestPanic(t *testing.T) {
	guest.Require(t, true)
	m, err := guest.Start(t.Context(), guest.Options{UserMode: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if out := m.Must(t, "cat /proc/timer_list"); !strings.Contains(out, "tick_handle_periodic") { // see userModeCommand
		t.Errorf("the kernel's tick is not periodic:\n%s", out)
	}
	_, err = m.Sh(t.Context(), "echo c >/proc/sysrq-trigger; sleep 1000")
	if err == nil || !strings.Contains(err.Error(), "has ended") || !strings.Contains(m.Console(), "Kernel panic") {
		t.Errorf("got %v, and on the console\n%s", err, m.Console())
	}
	if len(m.KernelFaults()) == 0 {
		t.Errorf("no fault was seen in\n%s", m.Console())
	}
}

// TestNothingIsLeft looks for what a closed guest in user mode has left: processes, files,
// and threads in another network.
func TestNothingIsLeft(t *testing.T) {
	guest.Require(t, true)
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	m, err := guest.Start(t.Context(), guest.Options{UserMode: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Host(5640); err != nil {
		t.Error(err)
	}
	m.Must(t, "sleep 1000 & cat /dev/zero >/dev/null & ( while true; do true; done ) & true")
	image := kernelProcesses(t)
	if len(image) < 4 { // the kernel, init and three processes
		t.Errorf("the guest has %d processes: is the kernel's image called otherwise?", len(image))
	}
	m.Close()
	if left := kernelProcesses(t); len(left) > 0 {
		t.Errorf("processes of the guest are left: %v", left)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("files of the guest are left: %v, %v", left, err)
	}
	if _, err := m.Host(5641); err == nil {
		t.Error("a closed machine reaches the host")
	}
	// A thread ends a moment after its goroutine.
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(2 * time.Minute); networks(t) != 1; <-tick.C {
		if time.Now().After(limit) {
			t.Fatalf("the threads of this process are in %d networks", networks(t))
		}
	}
}

// kernelProcesses are the processes of kernels in user mode that descend from this one.
func kernelProcesses(t *testing.T) []int {
	t.Helper()
	parents, images := map[int]int{}, map[int]string{}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		status, _ := os.ReadFile(dir + "/status") // it may have ended
		_, rest, _ := strings.Cut(string(status), "\nPPid:")
		line, _, _ := strings.Cut(rest, "\n")
		parents[pid], _ = strconv.Atoi(strings.TrimSpace(line))
		images[pid], _ = os.Readlink(dir + "/exe")
	}
	var found []int
	for pid, image := range images {
		if !strings.Contains(image, "-um/") {
			continue
		}
		for p := pid; p > 0; p = parents[p] {
			if p == os.Getpid() {
				found = append(found, pid)
				break
			}
		}
	}
	return found
}

// networks counts the network namespaces of this process's threads.
func networks(t *testing.T) int {
	t.Helper()
	links, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, link := range links {
		if name, err := os.Readlink(link); err == nil { // else the thread has ended
			seen[name] = true
		}
	}
	return len(seen)
}
