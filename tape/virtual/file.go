package virtual

import (
	stderrors "errors"
	"os"
	"path/filepath"

	"github.com/pkg/errors"
)

// replaceFile gives a file new content: after a crash it has the old or the
// new, and the new once replaceFile returned.
func replaceFile(name string, content []byte) error {
	f, err := createFile(name + ".new")
	if err != nil {
		return errors.WithStack(err)
	}
	_, err = f.WriteAt(content, 0)
	if err = stderrors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Wrapf(err, "virtual: writing %s", name)
	}
	watched(Change{Op: RenameFile, Name: name + ".new", To: name})
	if err := os.Rename(name+".new", name); err != nil {
		return errors.WithStack(err)
	}
	return syncDir(filepath.Dir(name))
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	watched(Change{Op: SyncDir, Name: dir})
	f, err := os.Open(dir)
	if err != nil {
		return errors.WithStack(err)
	}
	return errors.Wrapf(stderrors.Join(f.Sync(), f.Close()), "virtual: syncing %s", dir)
}
