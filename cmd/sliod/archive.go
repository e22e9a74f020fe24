package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"

	"sliod/backend"
	"sliod/backend/config"
	"sliod/backend/mover"
	"sliod/backend/vfs"
	"sliod/tape"
	"sliod/tape/virtual"
)

// archive is what serve needs of an open archive.
type archive interface {
	vfs.FS
	backend.Admin
	Close(ctx context.Context) error
}

var _ archive = (*libraryArchive)(nil)

// libraryArchive is an archive that closes its library as well.
type libraryArchive struct {
	*backend.FS
	lib *tape.Library
}

// openArchive opens the library and the archive that the configuration describes.
// listen is for the status only.
func openArchive(cfg *config.Config, stateDir string, listen []string, log *logrus.Entry) (archive, error) {
	dir := cfg.Library.Dir
	if dir == "" {
		dir = filepath.Join(stateDir, "library")
	}
	v, err := virtual.Open(virtual.Config{
		Dir: dir, Drives: cfg.Library.Drives, Slots: cfg.Library.Slots, Cartridge: cfg.Library.Cartridge,
		Capacity: cfg.Library.CapacityBytes, Speed: cfg.Library.Speed, Log: log,
	})
	if err != nil {
		return nil, errors.WithMessagef(err, "open the virtual library in %s", dir)
	}
	lib := v.Tape()
	fs, err := backend.Open(backend.Options{
		Dir: stateDir, Log: log, Library: lib,
		CacheBytes: cfg.Cache.SizeBytes, HighWater: cfg.Cache.HighWater, LowWater: cfg.Cache.LowWater,
		ArchiveIdle: atLeastOne(cfg.Archive.Idle), ArchiveDirty: cfg.Archive.Dirty, SyncInterval: cfg.Cache.Sync,
		Mover: mover.Config{
			Log: log, BatchBytes: cfg.Archive.BatchBytes, BatchTime: cfg.Archive.BatchTime,
			ReadAhead: orNone(cfg.Recall.Ahead), IndexBytes: cfg.Index.Bytes, IndexInterval: cfg.Index.Interval,
			Linger: orNone(cfg.Mount.Linger),
		},
		Listen: listen, Version: version(),
	})
	if err != nil {
		_ = lib.Close() // the error to tell is that of the archive
		return nil, errors.WithMessagef(err, "open the archive in %s", stateDir)
	}
	return &libraryArchive{fs, lib}, nil
}

// Close closes the archive, and then its library.
func (a *libraryArchive) Close(ctx context.Context) error {
	err := a.FS.Close(ctx)
	if lerr := a.lib.Close(); err == nil {
		err = lerr
	}
	return err
}

// orNone is v, or -1 for 0: in the options of the mover 0 stands for the default and a
// negative value for "none".
func orNone[T ~int | ~int64](v T) T {
	if v == 0 {
		return -1
	}
	return v
}

// atLeastOne is the shortest time for 0, which would stand for the default.
func atLeastOne(d time.Duration) time.Duration { return max(d, 1) }
