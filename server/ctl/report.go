package ctl

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"

	"sliod/backend"
)

const readme = `This is the control tree of SLIOD, a file server for tape.

status    the server as a whole         volumes   the tape volumes
drives    the drives                    queue     what waits for tape, and the jobs
jobs/N    job number N                  jobs/new  write a command here
jobs/list write a command with many paths here

The reports are JSON, one object each, made when they are read from offset 0.

A command is one write to jobs/new: a word, then paths of the archive, each
ended or separated by a NUL byte or a line feed. The words are
    archive   copy dirty slivers to tape
    evict     drop the cached copy of archived slivers
    recall    bring slivers back from tape
    pin       keep in the cache            unpin   let go again
A directory stands for all below it. Options follow the word:
    recall pin=24h priority=low      priority is high, normal or low
A list of any length goes to jobs/list in several writes: the word, then paths, each
ended by a NUL byte; an empty path ends the list and begins the job.
    cancel JOB...   end jobs before they are done      release JOB...   end their pins
    priority high|normal|low JOB...   change the priority of recalls that run
With volumes, by their barcodes, in place of paths:
    format BARCODE [force]     make it an empty volume of this archive
    label BARCODE [TEXT]       give it a name, or tell the one that it has
    volumes-import [BARCODE...]   take cartridges from the mail slots
    volumes-export BARCODE...     carry them there
    volumes-set BARCODE STATE     what a volume may be used for
    reclaim BARCODE...         move what is needed to other volumes, make them scratch
    verify [volume=BARCODE...] [PATH...]   read copies on tape, compare them with their checksums
    verify-format BARCODE [data]  check a volume against the rules of LTFS
    import BARCODE [PATH] [KEY=VALUE...]   show the tree of a volume that others wrote
    drives-reset SERIAL...        put drives back in service
For one path, a space will do:
    echo "archive /projects/one" > jobs/new
Reading the open file back gives the number of the job. A command that is refused
fails the write; jobs/error then says why.

This tree is open to root and to the user who runs the server.
The command sliod uses this tree: see sliod help.
`

func reportReadme(*FS) ([]byte, error) { return []byte(readme), nil }

// object writes v as JSON that people can read as well.
func object(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, errors.Wrapf(err, "write %T as JSON", v)
	}
	return append(b, '\n'), nil
}

func reportStatus(t *FS) ([]byte, error) { return object(t.admin.Status()) }

func reportVolumes(t *FS) ([]byte, error) {
	return object(struct {
		Volumes []backend.VolumeInfo `json:"volumes"`
	}{notNil(t.admin.Volumes())})
}

func reportDrives(t *FS) ([]byte, error) {
	return object(struct {
		Drives []backend.DriveInfo `json:"drives"`
	}{notNil(t.admin.Drives())})
}

func reportQueue(t *FS) ([]byte, error) {
	q := t.admin.Queue()
	q.Recalls, q.Jobs = notNil(q.Recalls), notNil(q.Jobs)
	for i := range q.Jobs {
		q.Jobs[i].Paths = notNil(q.Jobs[i].Paths)
	}
	return object(q)
}

func reportJob(t *FS, id uint64) ([]byte, error) {
	j, ok := t.admin.Job(id)
	if !ok {
		return nil, linux.ENOENT
	}
	j.Paths = notNil(j.Paths)
	return object(j)
}

func reportError(t *FS) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return []byte(t.lastError), nil
}

// notNil makes an empty list [] in JSON, not null.
func notNil[E any](s []E) []E {
	if s == nil {
		return []E{}
	}
	return s
}

func jobName(id uint64) string { return strconv.FormatUint(id, 10) }

// parseJob reads a job's file name, in the one form that jobName writes.
func parseJob(name string) (id uint64, ok bool) {
	id, err := strconv.ParseUint(name, 10, 63)
	return id, err == nil && jobName(id) == name
}

func jobIDs(list []backend.JobStatus) []uint64 {
	ids := make([]uint64, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	slices.Sort(ids)
	return ids
}
