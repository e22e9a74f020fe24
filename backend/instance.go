package backend

import (
	"crypto/rand"
	stderrors "errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pkg/errors"
)

// An instance is one run of the archive, from Open to Close. A client whose
// connection was lost asks for it (any directory's attribute user.sliod.instance): if it is the
// one that it knew, or came after a clean end of that one and of all between, nothing is lost of
// what it wrote and did not sync.
//
// The file "instance" in the state folder holds the name of the last one, whether it ended
// cleanly, and those before it, newest first, if they all did: "NAME running|clean [NAME...]".

const instanceFile = "instance"

// keptInstances is how many runs the archive names, this one among them.
const keptInstances = 16

// instance is this run's name, and those of the ones that it follows without a loss.
type instance struct {
	path     string
	name     string
	previous []string // newest first; none if the last one did not end cleanly, or is not known
}

// beginInstance gives this run of the archive in dir a name. From then on it counts as one that
// did not end cleanly, until end: that is to come before the first client, and after all by which
// a start can fail, since a run that served nobody has lost nothing.
func beginInstance(dir string) (instance, error) {
	in := instance{path: filepath.Join(dir, instanceFile), name: rand.Text()}
	b, err := os.ReadFile(in.path)
	if err != nil && !stderrors.Is(err, fs.ErrNotExist) {
		return in, errors.Wrap(err, "read the name of the archive's last run")
	}
	if f := strings.Fields(string(b)); len(f) > 1 && f[1] == "clean" {
		in.previous = slices.Delete(f, 1, 2)
		in.previous = in.previous[:min(len(in.previous), keptInstances-1)]
	}
	return in, in.write("running")
}

// end notes that all was synced.
func (in *instance) end() error { return in.write("clean") }

// write replaces the file as a whole, durably: "clean" must not outlive a later crash.
func (in *instance) write(state string) error {
	line := strings.Join(append([]string{in.name, state}, in.previous...), " ") + "\n"
	return errors.Wrap(replaceFile(in.path, []byte(line)), "note the archive's run in the state folder")
}

// replaceFile gives a file new content: after a crash it has the old or the new,
// and the new once replaceFile has returned.
func replaceFile(name string, content []byte) error {
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := stderrors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return stderrors.Join(d.Sync(), d.Close())
}

// xattr is the value of user.sliod.instance: this run, and those that it follows without a
// loss, newest first, with blanks between.
func (in *instance) xattr() []byte {
	return []byte(strings.Join(append([]string{in.name}, in.previous...), " "))
}
