package child_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sliod/guest/child"
)

func TestMain(m *testing.M) {
	if os.Getenv("CHILD_TEST_PARENT") == "1" {
		parent()
	}
	goleak.VerifyTestMain(m)
}

// parent starts a child that holds the standard output open, and waits to be
// killed.
func parent() {
	cmd := exec.Command("sh", "-c", "echo ready; exec sleep 1000")
	cmd.Stdout = os.Stdout
	c, err := child.Start(cmd)
	if err != nil {
		os.Exit(3)
	}
	c.Wait()
	os.Exit(4)
}

// TestEndsWithItsParent kills a parent. The pipe ends only when the child has
// ended too.
func TestEndsWithItsParent(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CHILD_TEST_PARENT=1")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.Stdout = w
	p, err := child.Start(cmd)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	b := bufio.NewReader(r)
	if line, err := b.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	p.Kill()
	if rest, err := io.ReadAll(b); err != nil || len(rest) != 0 {
		t.Errorf("got %q, %v", rest, err)
	}
}

func TestStop(t *testing.T) {
	for _, tc := range []struct {
		script string
		polite bool
	}{{"echo ready; exec sleep 1000", true}, {"trap '' TERM; echo ready; while :; do sleep 1000; done", false}} {
		cmd := exec.Command("sh", "-c", tc.script)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		c, err := child.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		bufio.NewReader(out).ReadString('\n')
		patience := time.Minute
		if !tc.polite {
			patience = 50 * time.Millisecond
		}
		if polite, err := c.Stop(patience); polite != tc.polite || err == nil {
			t.Errorf("%q: polite %v, %v", tc.script, polite, err)
		}
		c.Kill() // again
	}
}

func TestNoSuchProgram(t *testing.T) {
	if _, err := child.Start(exec.Command("/nonexistent")); err == nil || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("got %v", err)
	}
}
