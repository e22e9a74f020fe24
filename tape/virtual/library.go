package virtual

import (
	"cmp"
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"sliod/tape"
	"sliod/tape/scsi"
)

// Library is an emulated tape library: drives, a changer, and cartridges on
// disk. It has no goroutines of its own. Methods are safe for concurrent use.
type Library struct {
	cfg     Config
	gen     generation
	lock    *os.File // of the directory, while open
	drives  []*drive
	changer *changer
	tape    *tape.Library
	places  places // belongs to who holds the changer's turn

	ctx     context.Context // ends at Close
	cancel  context.CancelFunc
	closing <-chan struct{}
	once    sync.Once
	closed  error

	mu        sync.Mutex // guards what follows; nothing blocks under it
	hook      func(Event)
	faults    []*Fault
	hangs     map[int]chan struct{}
	bad       map[blockAddress]badBlock
	counts    map[commandKey]uint64
	alerts    map[int]uint64     // TapeAlert flags that nobody has read, flag 1 in bit 0
	dirty     map[int]tape.Alert // drives that ask to be cleaned
	resets    map[int]int        // that devices have not noticed
	dead      map[int]bool
	dark      bool // no power
	away      int  // so many commands get no answer
	awayUntil time.Time
}

// Open opens the library in cfg.Dir, or makes it there. Cartridges that were in
// drives are loaded again, as after a loss of power. Only one process can have a library open.
func Open(cfg Config) (l *Library, err error) {
	g, err := cfg.check()
	if err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		cfg.Log = logrus.NewEntry(silent)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, errors.Wrap(err, "virtual: making the library's directory")
	}
	l = &Library{cfg: cfg, gen: g, hangs: map[int]chan struct{}{}, bad: map[blockAddress]badBlock{}, counts: map[commandKey]uint64{},
		alerts: map[int]uint64{}, dirty: map[int]tape.Alert{}, resets: map[int]int{}, dead: map[int]bool{}}
	if l.lock, err = os.OpenFile(filepath.Join(cfg.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, errors.WithStack(err)
	}
	lock := l.lock
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	if err := unix.Flock(int(l.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Wrapf(err, "virtual: the library in %s is in use by another process; stop that one, or choose another folder with library.dir", cfg.Dir)
	}
	if err := l.openPlaces(); err != nil {
		return nil, err
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.closing = l.ctx.Done()
	l.changer = &changer{lib: l, turn: make(chan struct{}, 1), attention: []scsi.Code{scsi.CodeReset}, pace: pace{clock: cfg.Clock, speed: cfg.Speed}}
	l.changer.turn <- struct{}{}
	for i := range cfg.Drives {
		d := &drive{lib: l, no: i, serial: fmt.Sprintf("VD%08d", i+1), address: driveAddress + uint16(i), turn: make(chan struct{}, 1),
			attention: []scsi.Code{scsi.CodeReset}, pace: pace{clock: cfg.Clock, speed: cfg.Speed}}
		d.settings()
		d.log = cfg.Log.WithField("drive", d.serial)
		if v := l.places.Elements[d.address]; v.Volume != "" {
			d.insert(l.cartridgeDir(v.Volume), v.Volume)
		}
		d.turn <- struct{}{}
		l.drives = append(l.drives, d)
	}
	if err := l.connect(); err != nil {
		return nil, err
	}
	clear(l.counts) // what Open asked itself does not count
	for _, f := range cfg.Faults {
		l.SetFault(f)
	}
	return l, nil
}

// untilClose gives a context that also ends when the library closes. At instant
// speed nothing waits on it.
func (l *Library) untilClose(ctx context.Context) (context.Context, func()) {
	if l.cfg.Speed == 0 {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(l.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// Transport returns the transport of a drive, or of the Changer.
func (l *Library) Transport(device int) scsi.Transport {
	if device == Changer {
		return l.changer
	}
	return l.drives[device]
}

// Tape returns the library as the rest of SLIOD sees it: SCSI drives and a SCSI
// changer over the emulated devices. Each call returns the same. Its Close is the
// Library's.
func (l *Library) Tape() *tape.Library { return l.tape }

// connect makes the SCSI drives and changer.
func (l *Library) connect() error {
	l.tape = &tape.Library{Name: "virtual library in " + l.cfg.Dir, Close: l.Close, VolumeBytes: l.volumeBytes, Speed: cmp.Or(l.cfg.Speed, math.Inf(1))}
	for _, d := range l.drives {
		sd, err := scsi.NewDrive(d, scsi.DriveOptions{Log: l.cfg.Log})
		if err != nil {
			return err
		}
		l.tape.Drives = append(l.tape.Drives, sd)
	}
	var err error
	l.tape.Changer, err = scsi.NewChanger(l.changer, scsi.ChangerOptions{Log: l.cfg.Log})
	return err
}

// volumeBytes tells the capacity of a cartridge, 0 if there is none of this name.
func (l *Library) volumeBytes(b tape.Barcode) int64 {
	m, err := readMemory(l.cartridgeDir(b))
	if err != nil {
		return 0 // whoever loads it will be told
	}
	return m.Capacity
}

// Volumes lists all cartridges by barcode.
func (l *Library) Volumes() ([]tape.Barcode, error) {
	if err := l.take(context.Background(), l.changer.turn); err != nil {
		return nil, err
	}
	defer func() { l.changer.turn <- struct{}{} }()
	return l.volumes(), nil
}

// Close ends the library: it waits for commands that are under way, whose
// pretended times end at once, and puts all that was written on disk. It may be called more than once.
func (l *Library) Close() error { return l.end(true) }

// Kill is Close for tests: it ends the library as a loss of power does, and what was written
// since the last flush is gone.
func (l *Library) Kill() error { return l.end(false) }

func (l *Library) end(flush bool) error {
	l.once.Do(func() {
		l.mu.Lock()
		flush = flush && !l.dark
		l.mu.Unlock()
		l.cancel()
		<-l.changer.turn // never given back: no command begins any more
		for _, d := range l.drives {
			<-d.turn
			if d.cart == nil {
				continue
			}
			if flush {
				if err := stderrors.Join(d.cart.flush(), d.cart.saveMemory()); err != nil {
					l.closed = stderrors.Join(l.closed, errors.WithMessagef(err, "volume %s", d.barcode))
				}
			}
			d.cart.close()
		}
		l.closed = stderrors.Join(l.closed, l.lock.Close())
	})
	return l.closed
}
