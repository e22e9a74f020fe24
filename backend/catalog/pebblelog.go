package catalog

import (
	"github.com/cockroachdb/pebble/v2"
	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
)

// pebbleLog gives what Pebble has to say to the log, at debug level.
type pebbleLog struct {
	log  *logrus.Entry
	stop *stopper
}

func (l pebbleLog) Infof(format string, args ...any)  { l.log.Debugf("pebble: "+format, args...) }
func (l pebbleLog) Errorf(format string, args ...any) { l.log.Warnf("pebble: "+format, args...) }

// Fatalf is called by Pebble when it cannot go on: the store stops, the process
// does not.
func (l pebbleLog) Fatalf(format string, args ...any) {
	l.stop.stop(errors.Errorf("pebble: "+format, args...))
}

// events returns what is done on Pebble's events. It logs none of them at a
// level that a running server would show, but for what an operator must know.
func (k *pebbleKV) events(log *logrus.Entry) pebble.EventListener {
	e := pebble.MakeLoggingEventListener(pebbleLog{log: log, stop: k.stop})
	logCreated, flushed := e.WALCreated, e.FlushEnd
	// A new log begins when a memtable is full.
	e.WALCreated = func(info pebble.WALCreateInfo) {
		logCreated(info)
		k.memChanged(1)
	}
	e.FlushEnd = func(info pebble.FlushInfo) {
		flushed(info)
		if info.Err == nil {
			k.memChanged(-info.Input)
		}
	}
	e.BackgroundError = func(err error) {
		if k.stop.failure() == nil {
			log.WithError(err).Warn("catalog: pebble failed in the background")
		}
	}
	e.DiskSlow = func(info pebble.DiskSlowInfo) {
		log.WithField("path", info.Path).WithField("duration", info.Duration).
			Warn("catalog: the disk is slow: " + info.OpType.String() + " has not returned yet")
	}
	e.DataCorruption = func(info pebble.DataCorruptionInfo) {
		k.stop.stop(errors.Wrapf(info.Details, "damaged file %s", info.Path))
	}
	return e
}

// memChanged counts full memtables and wakes those who wait in throttle.
func (k *pebbleKV) memChanged(by int) {
	k.memMu.Lock()
	defer k.memMu.Unlock()
	k.memCount = max(0, k.memCount+by)
	k.memFree.Broadcast()
}

// throttle waits while too much of what was committed is not yet in tables, and
// fails if the store has stopped.
func (k *pebbleKV) throttle() error {
	if err := k.stop.failure(); err != nil {
		return err
	}
	k.memMu.Lock()
	defer k.memMu.Unlock()
	for k.memCount > k.memMax {
		if err := k.stop.failure(); err != nil {
			return err
		}
		k.memFree.Wait()
	}
	return nil
}
