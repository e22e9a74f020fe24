package client9p

import (
	"context"
	"io"

	"github.com/hugelgupf/p9/p9"
	"github.com/pkg/errors"

	"sliod/server/wire"
)

// MaxIO is how many bytes one request of the fid reads or writes at most.
func (f *Fid) MaxIO() int { return f.ioSize(1 << 30) }

// ioSize is how much of n bytes goes into one message.
func (f *Fid) ioSize(n int) int {
	n = min(n, f.c.maxIO())
	if f.unit > 0 {
		n = min(n, f.unit)
	}
	return n
}

// Read reads at most len(p) bytes at off with one request. A short answer is no
// end of file; 0 bytes of a non-empty p are, and io.EOF.
func (f *Fid) Read(ctx context.Context, p []byte, off uint64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	p = p[:f.ioSize(len(p))]
	cl, err := f.startRead(p, off)
	if err != nil {
		return 0, err
	}
	f.c.exchange(cl)
	n, err := f.c.finish(ctx, cl, nil)
	if err == nil && n == 0 {
		err = io.EOF
	}
	return n, err
}

func (f *Fid) startRead(p []byte, off uint64) (*call, error) {
	return f.c.start(&wire.MsgTread{Fid: f.fid, Offset: off, Count: uint32(len(p))}, p)
}

// Write writes a part of p at off with one request and returns how much.
func (f *Fid) Write(ctx context.Context, p []byte, off uint64) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	p = p[:f.ioSize(len(p))]
	cl, err := f.c.startWrite(f.fid, off, p)
	if err != nil {
		return 0, err
	}
	f.c.exchange(cl)
	return f.finishWrite(ctx, cl, len(p))
}

func (f *Fid) finishWrite(ctx context.Context, cl *call, n int) (int, error) {
	var r wire.MsgRwrite
	if _, err := f.c.finish(ctx, cl, &r); err != nil {
		return 0, err
	}
	if int64(r.Count) > int64(n) || r.Count == 0 && n > 0 {
		return 0, errors.Errorf("the server answered a write of %d bytes with %d", n, r.Count)
	}
	return int(r.Count), nil
}

// window is how many requests of one ReadFull or WriteFull are in flight at most.
const window = 8

// part is one request of a transfer that was cut into several.
type part struct {
	cl  *call
	p   []byte
	off uint64
}

// ReadFull reads len(p) bytes at off, with several requests at a time if one
// cannot carry them. It returns fewer only at the end of the file, with io.EOF, or
// with another error: then the n bytes before it are good.
func (f *Fid) ReadFull(ctx context.Context, p []byte, off uint64) (n int, err error) {
	return f.transfer(ctx, p, off, window, f.startRead,
		func(cl *call, len int) (int, error) {
			n, err := f.c.finish(ctx, cl, nil)
			if err == nil && n == 0 {
				err = io.EOF
			}
			return n, err
		})
}

// WriteFull writes all of p at off, with several requests at a time if one cannot
// carry it; to a file that was opened with O_APPEND in order. With an error, n bytes
// from the begin are written for certain, and more may be.
func (f *Fid) WriteFull(ctx context.Context, p []byte, off uint64) (n int, err error) {
	w := window
	if f.append {
		w = 1
	}
	return f.transfer(ctx, p, off, w,
		func(p []byte, off uint64) (*call, error) { return f.c.startWrite(f.fid, off, p) },
		func(cl *call, len int) (int, error) { return f.finishWrite(ctx, cl, len) })
}

// transfer cuts p into parts and keeps up to w of them in flight. They are
// finished in order; what a short answer leaves of one is asked for before the next
// is finished. After an error or the end of file the rest are finished too, as
// p is the client's until then.
func (f *Fid) transfer(ctx context.Context, p []byte, off uint64, w int,
	start func([]byte, uint64) (*call, error), finish func(*call, int) (int, error)) (done int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	var ring [window]part
	head, count, next := 0, 0, 0 // next: bytes of p that have been asked for
	for (err == nil && done < len(p)) || count > 0 {
		for err == nil && count < w && next < len(p) {
			q := p[next : next+f.ioSize(len(p)-next)]
			var cl *call
			if cl, err = start(q, off+uint64(next)); err != nil {
				break
			}
			ring[(head+count)%window] = part{cl, q, off + uint64(next)}
			count++
			next += len(q)
		}
		if count == 0 {
			break
		}
		t := &ring[head]
		f.c.exchange(t.cl)
		n, ferr := finish(t.cl, len(t.p))
		if err == nil {
			done += n
			if err = ferr; err == nil && n < len(t.p) {
				t.p, t.off = t.p[n:], t.off+uint64(n)
				if t.cl, err = start(t.p, t.off); err == nil {
					continue // the same part again
				}
			}
		}
		head = (head + 1) % window
		count--
	}
	return done, err
}

// ReadAll reads the file from the start to its end, but no more than limit bytes.
func (f *Fid) ReadAll(ctx context.Context, limit int) ([]byte, error) {
	var all []byte
	buf := make([]byte, min(f.c.maxIO(), 64<<10))
	for {
		n, err := f.Read(ctx, buf, uint64(len(all)))
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if all = append(all, buf[:n]...); len(all) > limit {
			return nil, errors.Errorf("the server's answer is larger than %d bytes", limit)
		}
	}
}

// Fsync makes what was written to the file durable, with dataOnly without the
// attributes that reading it back does not need; f must be open.
func (f *Fid) Fsync(ctx context.Context, dataOnly bool) error {
	m := wire.MsgTfsync{Fid: f.fid}
	if dataOnly {
		m.DataOnly = 1
	}
	return f.c.do(ctx, &m, &wire.MsgRfsync{})
}

// maxDirents is how many bytes of entries one Readdir asks for.
const maxDirents = 128 << 10

// Readdir returns the entries after the cookie off that fit in one message; none
// at the end of the directory. The Offset of the last is the next off. An entry's
// Type is its DT_ number of dirent.h.
func (f *Fid) Readdir(ctx context.Context, off uint64) ([]p9.Dirent, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	buf := make([]byte, f.ioSize(maxDirents))
	cl, err := f.c.start(&wire.MsgTreaddir{Fid: f.fid, Offset: off, Count: uint32(len(buf))}, buf)
	if err != nil {
		return nil, err
	}
	f.c.exchange(cl)
	n, err := f.c.finish(ctx, cl, nil)
	if err != nil {
		return nil, err
	}
	var list []p9.Dirent
	for b := buf[:n]; len(b) > 0; {
		var e p9.Dirent
		if e, b, err = wire.ParseDirent(b); err != nil {
			return nil, errors.Wrap(err, "answer to readdir")
		}
		list = append(list, e)
	}
	return list, nil
}
