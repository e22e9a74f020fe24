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
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return errors.WithStack(err)
	}
	_, err = f.Write(content)
	if err = stderrors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Wrapf(err, "virtual: writing %s", name)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return errors.WithStack(err)
	}
	return syncDir(filepath.Dir(name))
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return errors.WithStack(err)
	}
	return errors.Wrapf(stderrors.Join(f.Sync(), f.Close()), "virtual: syncing %s", dir)
}
