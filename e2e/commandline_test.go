package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"sliod/backend"
	"sliod/backend/sliver"
	"sliod/server/wire"
)

// user is somebody who types commands and reads what they print.
type user struct{ *server }

// types runs a command, which must end with a status and print what a pattern says: on standard output if it is 0, else
// on standard error.
func (u user) types(status int, pattern string, args ...string) string {
	u.t.Helper()
	return u.pipes("", status, pattern, args...)
}

// pipes is types with something on the command's standard input.
func (u user) pipes(input string, status int, pattern string, args ...string) string {
	u.t.Helper()
	r := sliod(u.t, func(c *exec.Cmd) { c.Stdin = strings.NewReader(input) }, append(args, "--server", "tcp:"+u.addr)...)
	text := r.stdout
	if status != 0 {
		text = r.stderr
	}
	if r.status != status || !regexp.MustCompile(pattern).MatchString(text) {
		u.t.Errorf("sliod %s: status %d, want %d and %s\n%s%s", strings.Join(args, " "), r.status, status, pattern, r.stdout, r.stderr)
	}
	return text
}

// fill makes files of 3 slivers in a directory.
func (u user) fill(dir string, n int) (paths []string) {
	c := dial(u.t, u.server)
	c.ok(&wire.MsgTmkdir{Dir: fidRoot, Name: []byte(dir), Mode: 0o755})
	c.walk(fidRoot, fidDir, dir)
	for i := range n {
		name := fmt.Sprintf("file %d", i)
		c.create(fidSpare, fidDir, name, 0o644)
		c.writeAt(fidSpare, 0, content(byte(i), 3*sliver.Size))
		c.clunk(fidSpare)
		paths = append(paths, "/"+dir+"/"+name)
	}
	return paths
}

const twoDrives = "capacity = \"64MiB\"\nslots = 6\ndrives = 2\n"

// TestCommandLine has a user verify, reclaim, and look at what is there, with a library that takes no time.
func TestCommandLine(t *testing.T) {
	u := user{start(t, stateDir(t), settings{library: twoDrives, more: "[mount]\nlinger = \"100ms\"\n[rule.two]\npath = [\"/twice\"]\ncopies = [\"default\", \"default\"]\n"})}
	u.types(0, `^nothing that could be verified is on tape\nverify: done( in \S+)?\n$`, "verify")
	u.fill("dir", 6)
	u.types(0, `^6 of these files have nothing on tape there that could be verified\nverify: 6 files( in \S+)?\n$`, "verify", "/dir")
	u.types(0, `(?m)^resident +- +3\.0 MiB .* dir/file 5$`, "ls", "-R")
	u.types(1, `^sliod: verify: /none: no such file or directory\n$`, "verify", "/none")
	u.types(1, `A00001L9: it holds nothing of this archive: there is nothing to verify\n`, "verify", "--volume", "A00001L9")
	u.types(1, `there is no volume NONE01L9: see .sliod volumes.`, "verify", "--volume", "NONE01L9")

	u.types(0, `^archive: 6 files, 18\.0 MiB`, "archive", "--wait", "/dir")
	u.types(0, `^verify: 1 file, 3\.0 MiB`, "verify", "/dir/file 1")
	out := u.types(0, `(?m)^A0000\dL9: \d+ copies are good, 0 are bad\nverify: done, 18\.0 MiB`, "verify")
	full := regexp.MustCompile(`A0000\dL9`).FindString(out)
	u.types(0, full+`: 18 copies are good, 0 are bad`, "verify", "--volume", full)
	u.types(0, `(?m)^`+full+` +append .* \d{4}-\d\d-\d\d$`, "volumes")
	u.types(0, `(?m)^\d+ +verify +done .* all volumes$`, "queue")

	u.types(2, `requires at least 1 arg`, "reclaim")
	u.types(1, `there is no volume NONE01L9: see .sliod volumes.`, "reclaim", "NONE01L9")
	u.types(1, `volume A00006L9 holds nothing of this archive: there is nothing to move`, "reclaim", "A00006L9")
	u.types(0, `^18 slivers were moved from `+full+` to other volumes\n`+full+` is empty: it is scratch now\nreclaim: done, 18\.0 MiB`, "reclaim", full)
	u.types(0, `(?m)^`+full+` +scratch `, "volumes")
	u.types(0, `^evict: 6 files, 18\.0 MiB`, "evict", "/dir")
	u.types(0, `(?m)^migrated +- +3\.0 MiB .* file 5$`, "ls", "/dir")
	u.types(0, `^recall: 6 files, 18\.0 MiB`, "recall", "--wait", "/dir")

	// With one volume left that can be written, what is to be there twice is there once.
	u.fill("twice", 1)
	for n := 1; n <= 6; n++ {
		b := fmt.Sprintf("A%05dL9", n)
		if r := u.types(0, `.`, "volumes"); regexp.MustCompile(b + ` +scratch`).MatchString(r) {
			u.types(0, `.`, "format", "--force", "--confirm", b, b)
			u.types(0, `.`, "volumes", "set", b, "read-only")
		}
	}
	u.types(1, `not with all the copies that its rule wants`, "archive", "--wait", "/twice")
	u.types(0, `^premigrated +1/2 +3\.0 MiB .* file 0\n$`, "ls", "/twice/file 0")
	u.types(0, `slivers? lacks? a copy`, "policy", "/twice/file 0")
}

// TestJobsByCommandHere has a user begin jobs with a list, look at them, change and end them, with a library that takes its
// time, over a restart.
func TestJobsByCommandHere(t *testing.T) {
	t.Parallel() // most of it is waiting for drives
	dir := stateDir(t)
	s := start(t, dir, settings{library: twoDrives})
	u := user{s}
	paths := u.fill("dir", 6)
	s.toTape("/dir")
	s.stop()
	s = start(t, dir, settings{library: twoDrives, speed: "5"}) // a volume is there after a minute
	u = user{s}

	list := strings.Join(paths[:5], "\x00") + "\x00/none\x00"
	u.pipes(list, 1, `(?s)path 6 \(/none\): no such file or directory.*1 of 6 paths could not be done so far; the job goes on with the others`,
		"recall", "--from", "-", "-0", "--pin", "1h", "--priority", "low")
	var job backend.JobStatus
	u.until("it is estimated", func() bool { job = u.latest(); return !job.ETA.IsZero() || job.BytesDone > 0 })
	if job.Kind != backend.JobRecall || job.State != "running" || job.Priority != backend.PriorityLow || job.Listed != 0 && job.Listed != 6 {
		t.Errorf("%+v", job)
	}
	id := fmt.Sprint(job.ID)
	u.types(0, `(?m)^`+id+` +recall +running +low +\d/5 .*/dir/file 0 /dir/file 1 /dir/file 2 and 3 more, pinned until \d{4}-`, "queue")
	u.types(0, `^job `+id+` has the priority high\n$`, "priority", "high", id)
	u.types(0, `(?m)^`+id+` +recall +running +high `, "queue")
	s.stop()

	s = start(t, dir, settings{library: twoDrives, speed: "15"})
	u = user{s}
	u.types(0, `(?m)^`+id+` +recall +(running|failed) +high `, "queue")
	u.until("the job has ended", func() bool { return u.job(job.ID).State != "running" })
	u.types(0, `(?m)^`+id+` +recall +failed +high +5/5 +0\.0/0\.0 +1 .*pinned until`, "queue")
	u.types(0, `(?m)^premigrated .* file 4\n^migrated .* file 5$`, "ls", "/dir")
	u.types(1, `job `+id+` has ended\n$`, "priority", "low", id)
	u.types(1, `job `+id+` has ended\n$`, "cancel", id)
	u.types(0, `^job `+id+` pins nothing any longer\n$`, "release", id)
	u.types(1, `job `+id+` pins nothing\n$`, "release", id)
	u.types(2, `"all" is no number of a job; "sliod queue" shows them`, "release", "all")
	u.types(1, `there is no job 7777: see .sliod queue.\n$`, "cancel", "7777")

	u.types(2, `-0 is for --from`, "recall", "-0", "/dir")
	u.types(2, `"1x" is not a time such as 90m, 24h`, "recall", "--pin", "1x", "/dir")
	u.types(2, `--priority urgent: it is high, normal or low`, "recall", "--priority", "urgent", "/dir")
	u.types(1, `open /nonexistent: no such file or directory`, "recall", "--from", "/nonexistent")
	u.types(2, `"urgent" is not high, normal or low; it comes before the numbers`, "priority", "urgent", id)
	u.types(2, `requires at least 2 arg`, "priority", "high")
	u.types(1, `there is no job 7777: see .sliod queue.\n$`, "priority", "high", "7777")
	u.types(0, `^evict: 6 files`, "evict", "/dir")
	s.stop() // the volume is in a drive: the next recall would be over before it is cancelled
	s = start(t, dir, settings{library: twoDrives, speed: "0.1"})
	u = user{s}
	u.types(0, `^job \d+ begins: recall of /dir; "sliod queue" shows how far it is\n$`, "recall", "/dir")
	job = u.latest()
	u.types(0, `^job \d+ is cancelled\n$`, "cancel", fmt.Sprint(job.ID))
	u.until("it is cancelled", func() bool { return u.job(job.ID).State == "cancelled" })
	u.types(0, `(?m)^no recalls wait$|RECALLS FROM`, "queue")
	if err := s.proc.Kill(); err == nil { // it would wait for the drive
		t.Error("the server ended before it was killed")
	}
}

// jobs are those of `sliod queue --json`.
func (u user) jobs() []backend.JobStatus {
	u.t.Helper()
	var q backend.Queue
	if err := json.Unmarshal([]byte(u.must("queue", "--json")), &q); err != nil {
		u.t.Fatal(err)
	}
	return q.Jobs
}

func (u user) latest() backend.JobStatus {
	u.t.Helper()
	jobs := u.jobs()
	return jobs[len(jobs)-1]
}

func (u user) job(id uint64) (found backend.JobStatus) {
	u.t.Helper()
	for _, j := range u.jobs() {
		if j.ID == id {
			found = j
		}
	}
	return found
}

// until asks again and again.
func (u user) until(what string, ok func() bool) {
	u.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			u.t.Fatalf("%s: not within %v", what, patience)
		}
	}
}
