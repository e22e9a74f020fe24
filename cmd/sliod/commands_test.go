package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"sliod/backend/vfs"
	"sliod/server"
)

func TestReports(t *testing.T) {
	dir := startFake(t, &fakeAdmin{files: 2})
	if status, _, stderr := command(t, "archive", "--state", dir, "/a"); status != exitDone {
		t.Fatal(stderr)
	}
	for _, tc := range []struct {
		args []string
		want []string // patterns
	}{
		{[]string{"status"}, []string{`server +sliod 9\.9, process 42, up \d+d\d\dh\n`, `listens +tcp:127\.0\.0\.1:5640\n`, `archive +3 files and directories\n`,
			`cache +1\.0 GiB of 4\.0 GiB used \(25%\), 1\.0 MiB not on tape yet, 0 evictions\n`,
			`library +virtual: 2 drives, 16 volumes, 25\.0 GiB of 100\.0 GiB used \(25%\)\n`, `faults +2 under way, 11 done, 0 failed; 7 requests wait\n`}},
		{[]string{"volumes"}, []string{`VOLUME +STATE +WHERE +CAPACITY GiB`, `A00001L9 +append +drive D1 +18\.0 +9\.0 +50% +0\.0\n`}},
		{[]string{"drives"}, []string{`D1 +reading +A00001L9 +b 1234 +- +-\n`, `D2 +empty +- +- +- +-\n`}},
		{[]string{"queue"}, []string{`12 files wait to be archived`, `A00001L9 +5 +6 +\d+d`, `1 +archive +running +- +0/2 +0\.0/0\.0 +0 +\d+d\d\dh +- +/a\n`,
			`read +A00001L9 +- +- +medium error +"gone\\x1b\[2J"\n`}},
		{[]string{"ls"}, []string{`(?m)^migrated +- +\d+ B  20\d\d-\d\d-\d\d \d\d:\d\d  drives$`, `(?m)^- +- +-  20.*  jobs/$`, `(?m)^migrated +1/2 +\d.* README$`}},
		{[]string{"ls", "/README"}, []string{`^migrated .* README\n$`}},
		{[]string{"ls", "-R", "/"}, []string{`(?m)  jobs/new$`, `(?m)  jobs/1$`, `(?m)  status$`}},
		{[]string{"ls", "jobs"}, []string{`(?m)  error$`}},
		{[]string{"policy", "/README", "jobs"}, []string{`path +/README\nrule +\[rule\.two\], changed by the attribute user\.sliod\.policy of /a\ncopies +2: near, far\n`,
			`volumes +A00001L9 \(7 slivers lack a copy\)\n`, `when +after 1m30s without a change, from 22:00-06:00; at once if 30% of`, `state +not on tape as it should be; due now\n\npath +/jobs\n`}},
	} {
		status, stdout, stderr := command(t, append(tc.args, "--state", dir)...)
		if status != exitDone || stderr != "" {
			t.Errorf("%v: status %d, %s", tc.args, status, stderr)
		}
		for _, want := range tc.want {
			if !regexp.MustCompile(want).MatchString(stdout) {
				t.Errorf("%v: no %s in\n%s", tc.args, want, stdout)
			}
		}
	}
}

func TestJSON(t *testing.T) {
	dir := startFake(t, &fakeAdmin{})
	for name, field := range map[string]string{"status": "cache", "volumes": "volumes", "drives": "drives", "queue": "recalls"} {
		status, stdout, stderr := command(t, name, "--json", "--state", dir)
		var object map[string]json.RawMessage
		if err := json.Unmarshal([]byte(stdout), &object); err != nil || status != exitDone || object[field] == nil {
			t.Errorf("%s: status %d, %v, %s%s", name, status, err, stdout, stderr)
		}
	}
}

func TestPolicyJSON(t *testing.T) {
	dir := startFake(t, &fakeAdmin{})
	status, stdout, stderr := command(t, "policy", "--json", "--state", dir, "status")
	var object struct{ Policies []pathPolicy }
	if err := json.Unmarshal([]byte(stdout), &object); err != nil || status != exitDone || len(object.Policies) != 1 || object.Policies[0].Path != "/status" || object.Policies[0].Rule != "two" {
		t.Errorf("status %d, %v, %s%s", status, err, stdout, stderr)
	}
	if status, _, stderr := command(t, "policy", "--state", dir, "/none"); status != exitFailed || !strings.Contains(stderr, "policy /none: ") {
		t.Errorf("of what is not there: status %d, %s", status, stderr)
	}
	never := pathPolicy{Path: "/x"}
	never.Never, never.Problem = true, "a problem"
	if got := fmt.Sprint(never.lines(time.Now())); got != "[[path /x] [rule none fits: the defaults] [problem a problem] [archived never]]" {
		t.Error(got)
	}
}

func TestWatch(t *testing.T) {
	dir := startFake(t, &fakeAdmin{})
	a, out, stderr := newApp()
	done := make(chan int)
	go func() { done <- a.run(t.Context(), []string{"status", "--watch", "--json", "--state", dir}) }()
	awaitText(t, out, "\n{")
	a.signals <- os.Interrupt
	if status := <-done; status != exitDone {
		t.Errorf("status %d, %s", status, stderr)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(out.String()), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("%q is no JSON object", line)
		}
	}
}

func TestJobs(t *testing.T) {
	for _, tc := range []struct {
		name     string
		files    int64 // of the job
		fails    int64 // how many of them fail
		args     []string
		status   int
		out, err string
	}{
		{"begin", 3, 0, []string{"archive", "/a", "a"}, exitDone, `job 1 begins: archive of /a a; "sliod queue" shows how far it is` + "\n", ""},
		{"wait", 3, 0, []string{"archive", "--wait", "/a"}, exitDone, "archive: 3 files, 3.0 MiB in 10s (307.2 KiB/s)\n", "job 1: archive: "},
		{"recall", 1, 0, []string{"recall", "--wait", "/a"}, exitDone, "recall: 1 file, 1.0 MiB in 10s (102.4 KiB/s)\n", ""},
		{"evict waits", 0, 0, []string{"evict", "/a"}, exitDone, "evict: 0 files in 10s\n", ""},
		{"pin", 1, 0, []string{"pin", "/a"}, exitDone, "pin: 1 file", ""},
		{"unpin", 1, 0, []string{"unpin", "/a"}, exitDone, "unpin: 1 file", ""},
		{"failed", 5, 2, []string{"archive", "--wait", "/a"}, exitFailed, "",
			"sliod: /a/x: input/output error\nsliod: and 1 file more\nsliod: archive: 3 files, 3.0 MiB in 10s (307.2 KiB/s), 2 failed\n"},
		{"no such path", 0, 0, []string{"archive", "/a", "/b\n"}, exitFailed, "", "sliod: archive: /b;  is not in the archive: no such file or directory\n"},
		{"empty path", 0, 0, []string{"pin", ""}, exitUsage, "", `sliod: pin: "" is no path in the archive`},
		{"no path", 0, 0, []string{"recall"}, exitUsage, "", "sliod: requires at least 1 arg(s)"},
		{"no --wait", 0, 0, []string{"evict", "--wait", "/a"}, exitUsage, "", "sliod: unknown flag: --wait"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := startFake(t, &fakeAdmin{files: tc.files, fails: tc.fails})
			status, stdout, stderr := command(t, append(tc.args, "--state", dir)...)
			if status != tc.status || !strings.HasPrefix(stdout, tc.out) || !strings.Contains(stderr, tc.err) {
				t.Errorf("status %d\n%s%s\nwant %d\n%s%s", status, stdout, stderr, tc.status, tc.out, tc.err)
			}
		})
	}
}

// TestInterruptedWait: Ctrl-C ends the wait and not the job.
func TestInterruptedWait(t *testing.T) {
	looked := make(chan struct{})
	admin := &fakeAdmin{files: 1 << 40}
	var once sync.Once
	admin.looked = func() { once.Do(func() { close(looked) }) }
	dir := startFake(t, admin)
	a, _, stderr := newApp()
	a.term = true // with a bar
	done := make(chan int)
	go func() { done <- a.run(t.Context(), []string{"recall", "--wait", "/a", "--state", dir}) }()
	<-looked
	a.signals <- os.Interrupt
	if status := <-done; status != exitFailed || !strings.Contains(stderr.String(), `interrupted; job 1 goes on in the server, "sliod queue" shows it`) {
		t.Errorf("status %d, %s", status, stderr)
	}
	if jobs := admin.Jobs(); len(jobs) != 1 || jobs[0].State != "running" {
		t.Errorf("%+v", jobs)
	}
}

func TestProgressBar(t *testing.T) {
	dir := startFake(t, &fakeAdmin{files: 300})
	a, stdout, stderr := newApp()
	a.term = true
	if status := a.run(t.Context(), []string{"recall", "--wait", "/a", "--state", dir}); status != exitDone {
		t.Errorf("status %d, %s", status, stderr)
	}
	if !strings.Contains(stderr.String(), "/300 files ") || !strings.Contains(stdout.String(), "recall: 300 files, 300.0 MiB") {
		t.Errorf("%q\n%q", stderr, stdout)
	}
}

func TestUsage(t *testing.T) {
	for _, tc := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"mount"}, exitUsage, "accepts 2 arg(s), received 0; usage: sliod mount ADDR MOUNTPOINT [flags]"},
		{[]string{"mount", "unix:/x", "/", "--kernel", "-o", "fast"}, exitUsage, "there is no such mount option with --kernel; there are msize=BYTES"},
		{[]string{"verify", "A00001L9", "--format"}, exitUsage, "--format checks a volume as a whole"},
		{[]string{"cert", "init", "x", "--server", "unix:/x"}, exitUsage, "sliod cert init does not"},
		{[]string{"mount", "x", "/"}, exitUsage, "has no kind"},
		{[]string{"mount", "-f", "unix:/x", ""}, exitUsage, "the mountpoint is empty: name a directory"}, // not the current one
		{[]string{"mount", "unix:/x", "/", "-o", "fast"}, exitUsage, "there is no such mount option"},
		{[]string{"mount", "unix:/x", "/", "--kernel", "-o", "trans=tcp"}, exitUsage, "v9fs' transport"},
		{[]string{"status", "x"}, exitUsage, `unknown command "x"`},
		{[]string{"status", "--jsn"}, exitUsage, "unknown flag: --jsn"},
		{[]string{"status", "--server", "localhost"}, exitUsage, "--server: address \"localhost\" has no kind: write tcp:HOST:PORT, tls:HOST:PORT, unix:PATH or vsock:[CID:]PORT"},
		{[]string{"ls", "/", "/"}, exitUsage, "accepts at most 1 arg"},
		{[]string{"serve", "--listen", "5640"}, exitUsage, `--listen: address "5640" has no kind`},
		{[]string{"serve", "x"}, exitUsage, `unknown command "x"`},
		{[]string{"help"}, exitDone, ""},
		{[]string{"version"}, exitDone, ""},
		{nil, exitDone, ""},
	} {
		status, _, stderr := command(t, tc.args...)
		if status != tc.status || !strings.Contains(stderr, tc.want) || (status == exitUsage) != strings.Contains(stderr, `Try "sliod help"`) {
			t.Errorf("%q: status %d, %s", tc.args, status, stderr)
		}
	}
}

func TestNoServer(t *testing.T) {
	dir := shortDir(t)
	sock := socketPath(dir)
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"no socket", []string{"status", "--state", dir}, "sliod: no server runs at unix:" + sock + "; start one with: sliod serve --state " + dir + ", or name its address with --server\n"},
		{"tcp", []string{"status", "--server", "tcp:127.0.0.1:1"}, "sliod: no server answers at tcp:127.0.0.1:1; start one there with: sliod serve --listen tcp:127.0.0.1:1\n"},
		{"no directory", []string{"ls", "--server", "unix:" + filepath.Join(dir, "none", "s")}, "sliod: no server runs at unix:"},
	} {
		if status, _, stderr := command(t, tc.args...); status != exitFailed || !strings.HasPrefix(stderr, tc.want) {
			t.Errorf("%s: status %d, %s", tc.name, status, stderr)
		}
	}
	// A socket that a killed server has left.
	l, _, err := listen(new(server.Network), "unix:"+sock)
	if err != nil {
		t.Fatal(err)
	}
	l.(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := command(t, "queue", "--state", dir); status != exitFailed || !strings.Contains(stderr, "no server runs at") {
		t.Errorf("stale socket: status %d, %s", status, stderr)
	}
}

func TestListMissing(t *testing.T) {
	dir := startFake(t, &fakeAdmin{})
	for args, want := range map[string]string{
		"ls /none/x":           "ls /none/x: no such file or directory\n",
		"ls " + dir:            "no such file or directory; " + inArchive + "\n",
		"policy " + dir + "/x": "no such file or directory\n",
	} {
		if status, _, stderr := command(t, append(strings.Fields(args), "--state", dir)...); status != exitFailed || !strings.HasSuffix(stderr, want) {
			t.Errorf("%s: status %d, %s", args, status, stderr)
		}
	}
}

// TestNoServerThere: who names an address is told how to start a server there.
func TestNoServerThere(t *testing.T) {
	dir := shortDir(t)
	for args, want := range map[string]string{
		"status --state " + dir:                                      "start one with: sliod serve --state " + dir + ", or name its address with --server\n",
		"status --server unix:" + dir + "/s":                         "start one there with: sliod serve --listen unix:" + dir + "/s\n",
		"mount -f unix:" + dir + "/s " + dir:                         "start one there with: sliod serve --listen unix:" + dir + "/s\n",
		"mount tls:127.0.0.1:1 " + dir:                               "a certificate of yours and that of the server's CA are needed",
		"status --server tls:127.0.0.1:1":                            "a certificate of yours and that of the server's CA are needed",
		"help statu":                                                 `there is no command "statu"`,
		"help volumes sett":                                          `there is no command "volumes sett"`,
		"mount -o tls_cert=a.crt tls:127.0.0.1:1 /":                  "-o tls_cert=FILE,tls_ca=FILE of mount; \"sliod cert\" makes them for a lab\n",
		"recall " + dir + " --server unix:" + dir + "/s --pin 1x /x": "is not a time",
	} {
		status, _, stderr := command(t, strings.Fields(args)...)
		usage := strings.HasSuffix(stderr, "--help\".\n")
		if !strings.Contains(stderr, want) || usage != (status == exitUsage) || usage == strings.Contains(want, "start one") {
			t.Errorf("%s: status %d, %s", args, status, stderr)
		}
	}
	if status, out, _ := command(t, "help", "volumes", "set"); status != exitDone || !strings.Contains(out, "sliod volumes set BARCODE STATE") {
		t.Errorf("status %d, %s", status, out)
	}
}

// TestServerStops: a wait ends when the server does.
func TestServerStops(t *testing.T) {
	looked := make(chan struct{})
	var once sync.Once
	admin := &fakeAdmin{files: 1 << 40, looked: func() { once.Do(func() { close(looked) }) }}
	dir, s := startServer(t, admin)
	a, _, stderr := newApp()
	done := make(chan int)
	go func() { done <- a.run(t.Context(), []string{"archive", "--wait", "/a", "--state", dir}) }()
	<-looked
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if status := <-done; status != exitFailed || !strings.Contains(stderr.String(), "the server has gone while job 1 was running") {
		t.Errorf("status %d, %s", status, stderr)
	}
}

// TestStranger: who is not the server's user is told who may.
func TestStranger(t *testing.T) {
	dir := shortDir(t)
	l, _, err := listen(new(server.Network), "unix:"+socketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(&fakeAdmin{})
	srv, err := server.New(server.Config{Log: quiet(), Trees: map[string]vfs.FS{"": f, server.CtlTree: f.FS},
		Identify: func(net.Conn) (server.Peer, error) { return server.Peer{UID: 4242}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- srv.Serve(t.Context(), l) }()
	owner := userName(uint32(os.Geteuid()))
	if a, b := rootAnd("user root"), rootAnd("user alice"); a != "root" || b != "root and user alice" {
		t.Errorf("%q, %q", a, b)
	}
	for args, want := range map[string]string{
		"status":     "permission denied: the server lets " + rootAnd(owner) + " administer it, not ",
		"archive /a": "permission denied: the server lets " + rootAnd(owner) + " administer it, not ",
		"ls":         "the server refuses the user ",
	} {
		if status, _, stderr := command(t, append(strings.Fields(args), "--state", dir)...); status != exitFailed || !strings.Contains(stderr, want) {
			t.Errorf("%s: status %d, %s", args, status, stderr)
		}
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	<-served
}
