package backend

import (
	"context"
	"encoding/binary"
	stderrors "errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/ltfsimport"
	"sliod/backend/mover"
	"sliod/backend/sliver"
	"sliod/tape"
)

// ImportDefaults are owner and mode of what an imported volume says nothing about.
type ImportDefaults struct {
	UID, GID      uint32
	Mode, DirMode uint32 // permission bits of files and of directories
}

// importArgs is one command to import a volume: BARCODE [PATH] [KEY=VALUE...].
type importArgs struct {
	ImportDefaults
	barcode tape.Barcode
	path    string // absolute and clean
	grow    bool
	asIs    bool
}

// parseImport reads the arguments of the command.
func parseImport(args []string, defaults ImportDefaults) (importArgs, error) {
	a := importArgs{ImportDefaults: defaults}
	if len(args) == 0 {
		return a, refusef(linux.EINVAL, "which volume? Give its barcode")
	}
	a.barcode, a.path = tape.Barcode(args[0]), "/"+args[0]
	args = args[1:]
	if len(args) > 0 && (strings.HasPrefix(args[0], "/") || !strings.Contains(args[0], "=")) {
		a.path = path.Clean("/" + args[0])
		args = args[1:]
	}
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		var err error
		switch key {
		case "grow":
			a.grow, err = parseYes(value)
		case "as-is":
			a.asIs, err = parseYes(value)
		case "uid":
			a.UID, err = parseNumber(value, 10, 1<<32-2)
		case "gid":
			a.GID, err = parseNumber(value, 10, 1<<32-2)
		case "mode":
			a.Mode, err = parseNumber(value, 8, modePerm)
		case "dir_mode":
			a.DirMode, err = parseNumber(value, 8, modePerm)
		default:
			err = stderrors.New("the keys are grow, as-is, uid, gid, mode and dir_mode")
		}
		if err != nil {
			return a, refusef(linux.EINVAL, "%s: %v", arg, err)
		}
	}
	return a, nil
}

func parseYes(s string) (bool, error) {
	switch s {
	case "yes":
		return true, nil
	case "no":
		return false, nil
	}
	return false, stderrors.New("it is yes or no")
}

func parseNumber(s string, base int, most uint32) (uint32, error) {
	n, err := strconv.ParseUint(s, base, 32)
	if err != nil || n > uint64(most) {
		return 0, fmt.Errorf("it is a number of base %d, up to %s", base, strconv.FormatUint(uint64(most), base))
	}
	return uint32(n), nil
}

// checkImport refuses what can be refused without the cartridge.
func checkImport(fs *FS, args []string) ([]string, error) {
	a, err := parseImport(args, fs.opts.Import)
	if err != nil {
		return nil, err
	}
	var v catalog.Volume
	err = fs.cat.View(func(tx *catalog.Tx) (err error) {
		v, err = tx.VolumeByBarcode(string(a.barcode))
		return err
	})
	if stderrors.Is(err, catalog.ErrNotFound) {
		return nil, refusef(linux.ENOENT, "there is no volume %s: see `sliod volumes`, or put it in and run `sliod volumes import`", a.barcode)
	}
	if err == nil {
		err = fs.checkImportVolume(&v, &a)
	}
	if err == nil {
		err = fs.checkImportPath(a.path)
	}
	return []string{string(a.barcode)}, err
}

// checkImportVolume refuses a volume whose files the archive has already.
func (fs *FS) checkImportVolume(v *catalog.Volume, a *importArgs) error {
	if v.UUID == "" {
		return nil
	}
	if v.Flags&catalog.VolImported == 0 {
		return refusef(linux.EEXIST, "volume %s is of this very archive, and its files are in the tree: nothing is to be imported. "+
			"If the catalog is lost, `sliod rebuild` makes it again from all volumes", v.Barcode)
	}
	used := false
	err := files{fs}.OnVolume(v.No, func(sliver.FileID) bool {
		used = true
		return false
	})
	if err != nil || !used {
		return err // all that was imported has been removed: it may come again
	}
	return refusef(linux.EEXIST, "volume %s has been imported already, and files of it are in the tree: remove them first to import it again", v.Barcode)
}

// checkImportPath refuses a place where nothing can be imported.
func (fs *FS) checkImportPath(p string) error {
	dir, _, victim, err := fs.importPlace(p)
	if err != nil {
		return err
	}
	dir.release()
	if victim != nil {
		victim.release()
	}
	return nil
}

// importPlace returns the directory that p lies in, the name there, and the empty directory
// that has that name, if one has. Those returned are referenced.
func (fs *FS) importPlace(p string) (dir *inode, name string, victim *inode, err error) {
	if p == "/" {
		return nil, "", nil, refusef(linux.EEXIST, "the tree of a volume cannot take the place of the root: name a directory that is to be made")
	}
	parent, name := path.Split(p)
	if len(name) > catalog.MaxName || strings.IndexByte(p, 0) >= 0 {
		return nil, "", nil, fmt.Errorf("%s: %w", p, linux.ENAMETOOLONG)
	}
	n, err := fs.Attach(rootCred, parent)
	if err != nil {
		return nil, "", nil, fmt.Errorf("%s: %w: the directory above the tree must be there", parent, err)
	}
	dir = n.(*node).ino
	defer func(ino *inode) {
		if err != nil {
			ino.release()
		}
	}(dir)
	if d := dir.attr(); !isDir(&d) {
		return nil, "", nil, fmt.Errorf("%s: %w", parent, linux.ENOTDIR)
	}
	victim, err = fs.child(dir.id, name)
	if stderrors.Is(err, linux.ENOENT) {
		return dir, name, nil, nil
	}
	if err != nil {
		return nil, "", nil, err
	}
	r := victim.attr()
	if err = linux.ENOTDIR; isDir(&r) {
		err = fs.checkEmpty(&r)
	}
	if err != nil {
		victim.release()
		return nil, "", nil, refusef(linux.EEXIST, "%s is there, and is not an empty directory: choose another PATH", p)
	}
	return dir, name, victim, nil
}

// runImport imports one volume.
func runImport(ctx context.Context, j *job, args []string) error {
	fs := j.fs
	a, err := parseImport(args, fs.opts.Import)
	if err != nil {
		return err
	}
	j.step("waiting for volume %s", a.barcode)
	return fs.mover.UseVolume(ctx, a.barcode, mover.UseOptions{Write: a.grow}, func(ctx context.Context, s *mover.Session) error {
		return fs.importSession(ctx, j, &a, s)
	})
}

// importSession imports the volume that s has in a drive. Nobody else has it meanwhile, so
// what is in the catalog at the end is what the mover finds when it reads from the volume.
func (fs *FS) importSession(ctx context.Context, j *job, a *importArgs, s *mover.Session) error {
	if err := fs.judgeImport(a, s); err != nil {
		return err
	}
	x := s.LTFS.Index()
	j.mu.Lock()
	j.Files = int64(x.Files() + x.Dirs())
	j.mu.Unlock()
	j.step("making the records of %d files and directories", x.Files()+x.Dirs())
	flags := catalog.FlagImported
	if a.grow {
		flags = catalog.FlagOnTape
	}
	var intent uint64
	var root sliver.FileID
	res, err := ltfsimport.Build(ctx, fs.cat, s.LTFS, ltfsimport.Options{
		Volume: s.Volume.No, Now: fs.now(), UID: a.UID, GID: a.GID, Mode: a.Mode, DirMode: a.DirMode, BrokenExtents: a.asIs, Flags: flags,
		Begin: func(tx *catalog.Tx, id sliver.FileID) (err error) {
			root = id
			intent, err = noteImport(tx, a, id)
			return err
		},
		Progress: func(n, _ int64) {
			j.mu.Lock()
			j.FilesDone += n
			j.mu.Unlock()
		},
	})
	if err == nil {
		err = fs.linkImport(a, s, res, intent)
	}
	if err != nil {
		if ltfsimport.Inconsistent(err) {
			err = fmt.Errorf("%w. Repair the volume with the program that wrote it, or import what can be read with --as-is", err)
		}
		if root != 0 && ctx.Err() == nil {
			err = firstError(err, ltfsimport.Remove(ctx, fs.cat, root, func(tx *catalog.Tx) error { return tx.DeleteJob(intent) }))
		}
		return err // at a stop, the next start removes what was made
	}
	j.note("volume %s is in the tree as %s: %d files and directories", a.barcode, a.path, res.Files)
	for _, n := range res.Notes {
		j.note("%s", n)
	}
	if more := res.NoteCount - len(res.Notes); more > 0 {
		j.note("and %d more of the kind", more)
	}
	fs.log.WithField("volume", a.barcode).Infof("imported as %s: %d files and directories, %d bytes", a.path, res.Files, res.Bytes)
	if err := fs.cat.Sync(); err != nil || !a.grow {
		return err
	}
	j.step("writing the index of volume %s", a.barcode)
	err = fs.growImported(ctx, a, s, &res.Root, intent)
	if err != nil && ctx.Err() == nil { // at a stop, the next start tells
		err = firstError(err, fs.cat.Update(func(tx *catalog.Tx) error { return tx.DeleteJob(intent) }))
	}
	if err != nil {
		return fmt.Errorf("the volume was imported, but is read-only: its index could not be made one of this archive: %w", err)
	}
	return nil
}

// growImported makes an imported volume one that more is archived to. Until its new index is
// on tape it is only read.
func (fs *FS) growImported(ctx context.Context, a *importArgs, s *mover.Session, root *catalog.Inode, intent uint64) error {
	err := ltfsimport.Adopt(ctx, fs.cat, s.LTFS.Index(), ltfsimport.Adoption{
		Volume: s.Volume.No, Root: root.ID, Parent: root.Parent, Path: strings.TrimPrefix(a.path, "/"),
		Names: func(id sliver.FileID, fn func(string, sliver.FileID)) error {
			names, err := fs.names(id)
			for _, n := range names {
				fn(n.path, n.above[len(n.above)-1])
			}
			return err
		},
	})
	if err == nil {
		err = fs.mover.Sign(s.LTFS.Index())
	}
	if err == nil {
		err = s.LTFS.WriteIndex(ctx)
	}
	if err == nil {
		err = fs.cat.Update(func(tx *catalog.Tx) error {
			v, err := tx.Volume(s.Volume.No)
			if err != nil {
				return err
			}
			end := s.LTFS.EndOfData()
			v.State, v.Generation = catalog.VolAppend, s.LTFS.Generation()
			v.EndOfData = catalog.VolPos{Partition: uint8(end.Partition), Block: uint64(end.Block)}
			return firstError(tx.PutVolume(&v), tx.DeleteJob(intent))
		})
	}
	if err == nil {
		err = fs.cat.Sync()
	}
	return err
}

// judgeImport refuses what should not be imported, when the cartridge is in a drive.
func (fs *FS) judgeImport(a *importArgs, s *mover.Session) error {
	if s.LTFS == nil {
		return ltfsimport.MountRefused(a.barcode, s.MountErr)
	}
	if err := fs.checkImportVolume(&s.Volume, a); err != nil {
		return err
	}
	if err := fs.checkImportPath(a.path); err != nil {
		return err
	}
	uuid := s.LTFS.UUID()
	var other *catalog.Volume
	err := fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Volumes(func(v catalog.Volume) bool {
			if v.UUID == uuid && v.No != s.Volume.No {
				other = &v
			}
			return other == nil
		})
	})
	if err != nil {
		return err
	}
	if other != nil {
		return fmt.Errorf("volume %s has the UUID %s, which the catalog knows as that of volume %s: it is a copy of that volume, or its barcode was changed. Nothing is imported",
			a.barcode, uuid, other.Barcode)
	}
	own, err := ltfsimport.IsOwn(fs.cat, s.LTFS.Index())
	if err != nil {
		return err
	}
	if own {
		return fmt.Errorf("volume %s is of this very archive, though the catalog does not know it: an import would show its files twice, and as others. "+
			"If a rebuild went without it: let all that there is be archived, stop the server, move the folders catalog and cache away, and run `sliod rebuild` with all volumes", a.barcode)
	}
	if r := s.LTFS.Repair(); r != nil {
		if a.grow {
			return fmt.Errorf("volume %s is inconsistent: %v. It must be repaired before it may grow; do that with the program that wrote it", a.barcode, r)
		}
		if !a.asIs {
			return fmt.Errorf("volume %s is inconsistent: %v. Repair it with the program that wrote it, or import what its newest index names with --as-is", a.barcode, r)
		}
	}
	if lock := s.LTFS.Index().LockState; a.grow && lock != "" && lock != "unlocked" {
		return fmt.Errorf("volume %s is locked by its index (%s): it cannot grow. Import it without --grow", a.barcode, lock)
	}
	if a.grow && s.Drive.Limits().WriteProtected {
		return fmt.Errorf("volume %s is write-protected: it cannot grow. Move its tab, or import it without --grow", a.barcode)
	}
	if err := s.LTFS.Refusal(); a.grow && err != nil {
		return fmt.Errorf("volume %s cannot grow: %w. Import it without --grow", a.barcode, err)
	}
	return nil
}

// jobImport is the kind of the catalog's job that notes an import under way: its data is
// the FileID of the import's root.
const jobImport = "import"

// jobGrow is the kind to which that one changes when the import is in the tree, and its volume is
// still to become one that grows.
const jobGrow = "import-grow"

func noteImport(tx *catalog.Tx, a *importArgs, root sliver.FileID) (uint64, error) {
	id, err := tx.NextJobID()
	if err != nil {
		return 0, err
	}
	return id, tx.PutJob(&catalog.Job{ID: id, Kind: jobImport, Paths: []string{string(a.barcode), a.path},
		Data: binary.BigEndian.AppendUint64(nil, uint64(root))})
}

// noteLinked notes that the import is in the tree.
func noteLinked(tx *catalog.Tx, a *importArgs, intent uint64) error {
	if !a.grow {
		return tx.DeleteJob(intent)
	}
	return tx.PutJob(&catalog.Job{ID: intent, Kind: jobGrow, Paths: []string{string(a.barcode), a.path}})
}

// removeImports removes what imports have left that a crash cut off. What was in the tree already
// stays.
func (fs *FS) removeImports() error {
	var left, linked []catalog.Job
	err := fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Jobs(func(j catalog.Job) bool {
			if j.Kind == jobImport && len(j.Data) == 8 {
				left = append(left, j)
			}
			if j.Kind == jobGrow {
				linked = append(linked, j)
			}
			return true
		})
	})
	for _, j := range left {
		if err != nil {
			break
		}
		fs.log.Infof("import of volume %s was cut off: what it made is removed", strings.Join(j.Paths, " as "))
		root := sliver.FileID(binary.BigEndian.Uint64(j.Data))
		err = ltfsimport.Remove(context.Background(), fs.cat, root, func(tx *catalog.Tx) error { return tx.DeleteJob(j.ID) })
	}
	for _, j := range linked {
		if err != nil {
			break
		}
		fs.log.Warnf("import of volume %s was cut off before the volume could be made one that grows: all its files are in the tree, but it stays read-only. "+
			"Other volumes take what is archived", strings.Join(j.Paths, " as "))
		err = fs.cat.Update(func(tx *catalog.Tx) error { return tx.DeleteJob(j.ID) })
	}
	return errors.WithMessage(err, "remove an import that was cut off")
}

// linkImport shows an import: its root gets its name and the volume its UUID, in one
// transaction.
func (fs *FS) linkImport(a *importArgs, s *mover.Session, res *ltfsimport.Result, intent uint64) error {
	fs.ns.Lock()
	defer fs.ns.Unlock()
	dir, name, victim, err := fs.importPlace(a.path)
	if err != nil {
		return err
	}
	defer dir.release()
	res.Root.Parent = dir.id
	root := &res.Root
	if victim != nil {
		defer victim.release()
	}
	defer lockInodes(dir, victim)()
	d := dir.record()
	if d.NLink == 0 {
		return fmt.Errorf("%s: %w: the directory above it was removed", a.path, linux.ENOENT)
	}
	now := fs.now()
	var v catalog.Inode
	removed := int64(0)
	victimChange := nameRemoved(now)
	dirChange := entryAdded(now, victim == nil)
	noted := fs.noted(&d)
	dirChange(&d)
	if victim != nil {
		v = victim.record()
		if _, ok := s.LTFS.Index().Root.Xattr("sliod.meta"); !ok {
			root.UID, root.GID, root.Mode = v.UID, v.GID, v.Mode
		}
		victimChange(&v)
		removed = goneAtOnce(&v)
	}
	err = fs.updateCount(res.Files-removed, func(tx *catalog.Tx) error {
		if victim != nil {
			err := firstError(tx.DeleteDirent(dir.id, name), tx.DeleteName(v.ID, dir.id, name), putUnlinked(tx, &v))
			if err != nil {
				return err
			}
		}
		vol, err := tx.Volume(s.Volume.No)
		if err != nil {
			return err
		}
		importedVolume(&vol, s, res)
		return firstError(
			tx.PutDirent(dir.id, catalog.Dirent{Name: name, ID: root.ID, Type: direntType(root.Mode), Cookie: d.NextCookie - 1}),
			tx.PutName(root.ID, dir.id, name),
			tx.PutInode(root),
			tx.PutInode(&d),
			putPendingUnless(tx, dir.id, noted),
			tx.PutVolume(&vol),
			noteLinked(tx, a, intent),
		)
	})
	if err != nil {
		return err
	}
	dir.apply(dirChange)
	fs.pending.add(dir.id)
	if victim != nil {
		victim.apply(victimChange)
		victim.lostNameLocked(&v)
	}
	return nil
}

// importedVolume sets what the catalog says of an imported volume. It is only read.
func importedVolume(v *catalog.Volume, s *mover.Session, res *ltfsimport.Result) {
	lv := s.LTFS
	label, end := lv.Label(), lv.EndOfData()
	v.State, v.UUID = catalog.VolReadOnly, lv.UUID()
	v.Flags = v.Flags&^(catalog.VolProtected|catalog.VolWasScratch) | catalog.VolImported // a tab that is moved must not make it writable
	if n := s.Drive.Limits().CapacityBytes; n > 0 {
		v.Capacity = n
	}
	v.Used, v.Dead = res.Bytes, 0
	v.Generation, v.BlockSize = lv.Generation(), uint32(lv.BlockSize())
	v.Formatted = catalog.Time(label.FormatTime)
	v.EndOfData = catalog.VolPos{Partition: uint8(end.Partition), Block: uint64(end.Block)}
}

func init() { volumeJobs[JobImport] = volumeJob{checkImport, runImport} } // not in the map's own value: runImport comes back to it
