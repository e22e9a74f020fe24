package backend

import (
	"crypto/rand"
	stderrors "errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pkg/errors"
)

// An instance is one run of the archive, from Open to Close. A client whose
// connection was lost asks for it (any directory's attribute user.sliod.instance): if it is the
// one that it knew, or came after a clean end of that one, nothing is lost of what it
// wrote and did not sync.
//
// The file "instance" in the state folder holds the name of the last one, and whether
// it ended cleanly: "NAME running" or "NAME clean".

const instanceFile = "instance"

// instance is this run's name, and that of the one before if it ended cleanly.
type instance struct {
	path     string
	name     string
	previous string // "" if it did not end cleanly, or is not known
}

// beginInstance gives this run of the archive in dir a name.
func beginInstance(dir string) (instance, error) {
	in := instance{path: filepath.Join(dir, instanceFile), name: rand.Text()}
	b, err := os.ReadFile(in.path)
	if err != nil && !stderrors.Is(err, fs.ErrNotExist) {
		return in, errors.Wrap(err, "read the name of the archive's last run")
	}
	if name, state, ok := strings.Cut(strings.TrimSpace(string(b)), " "); ok && state == "clean" {
		in.previous = name
	}
	return in, in.write("running")
}

// end notes that all was synced.
func (in *instance) end() error { return in.write("clean") }

// write replaces the file as a whole, durably: "clean" must not outlive a later crash.
func (in *instance) write(state string) error {
	return errors.Wrap(replaceFile(in.path, []byte(in.name+" "+state+"\n")), "note the archive's run in the state folder")
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

// xattr is the value of user.sliod.instance: this run, and after a blank the one
// that it follows without a loss.
func (in *instance) xattr() []byte {
	if in.previous == "" {
		return []byte(in.name)
	}
	return []byte(in.name + " " + in.previous)
}
