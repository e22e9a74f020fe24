package server

import (
	stderrors "errors"
	"fmt"
	"sync"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/sirupsen/logrus"

	"sliod/backend/vfs"
	"sliod/export"
	"sliod/server/wire"
)

// maxRecallUsers bounds the users whose recalls are counted. Beyond it those whose
// interval is over are forgotten, and if that is not enough the others of an export
// are counted as one.
const maxRecallUsers = 4096

// recallErrnos are the errors of export.RecallErrors.
var recallErrnos = map[string]linux.Errno{
	"EAGAIN": linux.EAGAIN, "EIO": linux.EIO, "EACCES": linux.EACCES, "EPERM": linux.EPERM, "EBUSY": linux.EBUSY, "ENODATA": linux.ENODATA,
}

// Recalls keeps the rules for recalls that nobody asked for on purpose: a `grep -r` or
// a thumbnailer must not bring an archive from tape. It is safe for concurrent use.
type Recalls struct {
	log *logrus.Entry
	now func() time.Time

	mu     sync.Mutex
	users  map[recallUser]*recallGate
	forgot time.Time // of the last forgetLocked
}

// recallUser is a user of an export; "" are those who use none.
type recallUser struct {
	export string
	uid    uint32
}

// NewRecalls returns the keeper of rules. log gets one line for each user and interval.
func NewRecalls(log *logrus.Entry) *Recalls {
	return &Recalls{log: log, now: time.Now, users: make(map[recallUser]*recallGate)}
}

// Gate returns what lets a user recall; nil if he may do so without a limit.
func (r *Recalls) Gate(rule *export.Recall, name string, uid uint32) vfs.Gate {
	if rule.Mode != export.RecallDeny && rule.Mode != export.RecallLimit && len(rule.Users) == 0 {
		return nil
	}
	mode := rule.For(userNames(uid)...)
	if mode == export.RecallAllow {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	u := recallUser{name, uid}
	if r.users[u] == nil && len(r.users) >= maxRecallUsers {
		if r.forgetLocked(); len(r.users) >= maxRecallUsers {
			u.uid = wire.NoUname
		}
	}
	g := r.users[u]
	if g == nil {
		g = &recallGate{r: r, user: u, rule: rule, mode: mode}
		r.users[u] = g
	}
	return g
}

// forgetLocked forgets those whose interval is over: at most once a second, as it looks at all.
func (r *Recalls) forgetLocked() {
	now := r.now()
	if now.Sub(r.forgot) < time.Second {
		return
	}
	r.forgot = now
	for u, g := range r.users {
		g.mu.Lock()
		if !now.Before(g.until) {
			delete(r.users, u)
		}
		g.mu.Unlock()
	}
}

// recallGate counts what one user recalls.
type recallGate struct {
	r    *Recalls
	user recallUser
	rule *export.Recall
	mode export.RecallMode

	mu    sync.Mutex
	until time.Time // the end of the running interval
	files map[uint64]struct{}
	bytes int64
	told  *recallNote
}

// recallNote is the log line of an interval.
type recallNote struct {
	once sync.Once
	text string
}

// recallRefused is the error of a refused recall.
type recallRefused struct {
	errno linux.Errno
	note  *recallNote
}

func (e *recallRefused) Error() string { return e.note.text + ": " + e.errno.Error() }
func (e *recallRefused) Unwrap() error { return e.errno }

// Recall implements vfs.Gate.
func (g *recallGate) Recall(file uint64, bytes int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := g.r.now(); !now.Before(g.until) {
		per := g.rule.Per
		if per <= 0 {
			per = time.Hour
		}
		g.until, g.files, g.bytes, g.told = now.Add(per), nil, 0, nil
	}
	why := ""
	_, known := g.files[file]
	switch {
	case g.mode == export.RecallDeny:
		why = "recalls are denied"
	case g.rule.Files > 0 && !known && len(g.files) >= g.rule.Files:
		why = fmt.Sprintf("the limit of %d files is reached", g.rule.Files)
	case g.rule.Bytes > 0 && g.bytes+bytes > g.rule.Bytes:
		why = fmt.Sprintf("the limit of %d bytes is reached", g.rule.Bytes)
	}
	if why == "" {
		g.bytes += bytes
		if g.rule.Files > 0 && !known {
			if g.files == nil {
				g.files = make(map[uint64]struct{})
			}
			g.files[file] = struct{}{}
		}
		return nil
	}
	if g.told == nil {
		where := "without an export"
		if g.user.export != "" {
			where = "[export." + g.user.export + "]"
		}
		g.told = &recallNote{text: fmt.Sprintf("reading or writing what is on tape is refused for user %d (%s): %s; sliod recall, or setting user.sliod.recall, brings files on purpose", g.user.uid, where, why)}
	}
	errno, ok := recallErrnos[g.rule.Error]
	if !ok {
		errno = linux.EAGAIN
	}
	return &recallRefused{errno, g.told}
}

// refusedRecall says whether err is of a refused recall.
func refusedRecall(err error) bool {
	var e *recallRefused
	return stderrors.As(err, &e)
}

// Say logs a refusal, the first of a user's interval. All other errors, and nil, are
// nothing to it.
func (r *Recalls) Say(err error) {
	var e *recallRefused
	if err != nil && stderrors.As(err, &e) {
		e.note.once.Do(func() { r.log.Warn(e.note.text) })
	}
}
