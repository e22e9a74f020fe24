package main

import (
	"context"
	stderrors "errors"
	"os"
	"time"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"

	"sliod/backend"
	"sliod/backend/config"
	"sliod/backend/mover"
	"sliod/backend/pool"
	"sliod/backend/vfs"
	"sliod/tape"
	"sliod/tape/schedule"
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
func openArchive(ctx context.Context, cfg *config.Config, stateDir string, listen []string, log *logrus.Entry) (archive, error) {
	pools, err := pool.New(cfg.Pools)
	if err != nil {
		return nil, err
	}
	if err := checkLibraryThere(cfg, stateDir); err != nil {
		return nil, err
	}
	lib, err := openLibrary(ctx, cfg, stateDir, log) // a real one may take long
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, stderrors.Join(err, lib.Close())
	}
	fs, err := backend.Open(backend.Options{
		Dir: stateDir, Log: log, Library: lib,
		CacheBytes: cfg.Cache.SizeBytes, HighWater: cfg.Cache.HighWater, LowWater: cfg.Cache.LowWater, CachePinned: cfg.Cache.Pinned, CacheStub: int(cfg.Cache.StubBytes),
		ArchiveIdle: atLeastOne(cfg.Archive.Idle), ArchiveDirty: cfg.Archive.Dirty, SyncInterval: cfg.Cache.Sync,
		VerifyEvery: cfg.Verify.Every, CacheScrub: cfg.Cache.Scrub, ReclaimDead: cfg.Reclaim.Dead,
		Mover: mover.Config{
			Log: log, BatchBytes: cfg.Archive.BatchBytes, BatchTime: cfg.Archive.BatchTime,
			SHA256:    cfg.Archive.SHA256 == "on",
			Goal:      goalOf(cfg),
			ReadAhead: orNone(cfg.Recall.Ahead), IndexBytes: cfg.Index.Bytes, IndexInterval: cfg.Index.Interval,
			Linger: orNone(cfg.Mount.Linger), WriteShare: max(cfg.Drives.WriteShare, 1e-9), ReadShare: max(cfg.Drives.ReadShare, 1e-9), Cleaning: cfg.Library.Cleaning, Pools: pools,
		},
		Policy: cfg.Policy(), RunBytes: runBytes(cfg), RunWait: cfg.Archive.RunWait,
		Import: backend.ImportDefaults{
			UID: idOr(cfg.Import.UID, os.Getuid()), GID: idOr(cfg.Import.GID, os.Getgid()), Mode: cfg.Import.Mode, DirMode: cfg.Import.DirMode,
		},
		Listen: listen, Version: version(),
	})
	if err != nil {
		_ = lib.Close() // the error to tell is that of the archive
		return nil, errors.WithMessagef(err, "open the archive in %s", stateDir)
	}
	return &libraryArchive{fs, lib}, nil
}

// goalOf is recall.goal.
func goalOf(cfg *config.Config) schedule.Goal {
	if cfg.Recall.Goal == schedule.LeastWait.String() {
		return schedule.LeastWait
	}
	return schedule.LeastTime
}

// runBytes is archive.run_bytes; an emulated library that takes no time need not stream.
func runBytes(cfg *config.Config) int64 {
	if cfg.Library.Kind == "virtual" && cfg.Library.Speed == 0 {
		return 0
	}
	return cfg.Archive.RunBytes
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

// idOr is a user or group of the configuration, where -1 stands for the server's own.
func idOr(id, own int) uint32 {
	if id < 0 {
		id = own
	}
	return uint32(id)
}

// atLeastOne is the shortest time for 0, which would stand for the default.
func atLeastOne(d time.Duration) time.Duration { return max(d, 1) }
