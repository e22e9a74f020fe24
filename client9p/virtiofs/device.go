package virtiofs

import (
	"context"
	"encoding/binary"
	stderrors "errors"
	"io"
	"net"
	"os"
	"sync"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
)

// maxQueues is one for what goes first (FUSE_FORGET), the others for requests.
const maxQueues = 17

// device is one guest.
type device struct {
	log      *logrus.Entry
	conn     *net.UnixConn
	sessions *sessions
	requests sync.WaitGroup // that are not answered
	done     chan struct{}  // closed when the guest has ended

	// mu is held to write by the messages that change mem or a queue's place, and to read by
	// whatever touches the guest's memory.
	mu     sync.RWMutex
	mem    memory
	queues [maxQueues]queue
}

func newDevice(ctx context.Context, conn *net.UnixConn, o Options) *device {
	return &device{log: o.Log, conn: conn, sessions: &sessions{ctx: ctx, open: o.Open, log: o.Log}, done: make(chan struct{})}
}

// run serves the guest until its monitor ends, or close is called.
func (d *device) run() error {
	defer close(d.done)
	err := d.messages()
	_ = d.conn.Close() // its other end is gone, or is to notice
	for i := range d.queues {
		d.stop(&d.queues[i])
	}
	d.sessions.close() // ends the requests that wait
	d.requests.Wait()
	d.mem.unmap()
	if stderrors.Is(err, io.EOF) || stderrors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// close ends the guest's connection, from any goroutine.
func (d *device) close() { _ = d.conn.Close() }

// messages does what the monitor says.
func (d *device) messages() error {
	for {
		m, err := receive(d.conn)
		if err != nil {
			return err
		}
		answer, err := d.do(m)
		m.close()
		switch {
		case err != nil && !m.ask:
			return err
		case err != nil:
			d.log.WithError(err).Error("the guest's monitor asked for what cannot be done")
			answer = numberBytes(1)
		case answer == nil && m.ask:
			answer = numberBytes(0)
		}
		if answer != nil {
			if err := reply(d.conn, m.request, answer); err != nil {
				return err
			}
		}
	}
}

func numberBytes(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

// do does what one message says, and returns the answer that the request has of its own.
func (d *device) do(m *message) ([]byte, error) {
	switch m.request {
	case getFeatures:
		return numberBytes(featureVersion1 | featureProtocol | featureIndirect), nil
	case getProtocolFeatures:
		return numberBytes(protocolMQ | protocolReplyAck | protocolReset), nil
	case getQueueNum:
		return numberBytes(maxQueues), nil
	case setFeatures:
		n, err := m.number()
		if err == nil && n&featureProtocol == 0 {
			d.enableAll() // there is no SET_VRING_ENABLE then
		}
		return nil, err
	case setProtocolFeatures, setOwner, setVringErr:
		return nil, nil
	case resetOwner, resetDevice:
		for i := range d.queues {
			d.stop(&d.queues[i])
		}
		return nil, nil
	case setMemTable:
		return nil, d.setMemory(m)
	case setVringKick, setVringCall:
		return nil, d.setEvent(m)
	case getVringBase:
		index, _, err := m.state()
		if err != nil {
			return nil, err
		}
		q, err := d.queue(index)
		if err != nil {
			return nil, err
		}
		return numberBytes(uint64(d.stop(q))<<32 | uint64(index)), nil
	case setVringNum, setVringBase, setVringEnable:
		index, num, err := m.state()
		if err != nil {
			return nil, err
		}
		return nil, d.setState(m.request, index, num)
	case setVringAddr:
		a, err := m.addrs()
		if err != nil {
			return nil, err
		}
		q, err := d.queue(a.index)
		if err != nil {
			return nil, err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		q.addrs = a
		return nil, q.place(d.mem)
	}
	return nil, errors.Wrapf(errMessage, "request %d is not known", m.request)
}

func (d *device) queue(index uint32) (*queue, error) {
	if index >= maxQueues {
		return nil, errors.Wrapf(errMessage, "queue %d of %d", index, maxQueues)
	}
	return &d.queues[index], nil
}

func (d *device) enableAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.queues {
		d.queues[i].enabled = true
	}
}

// setMemory maps the guest's memory anew. Nothing refers to the one before: requests
// have copies.
func (d *device) setMemory(m *message) error {
	places, err := m.places()
	if err != nil {
		return err
	}
	mem, err := mapMemory(places, m.files)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mem.unmap()
	d.mem = mem
	for i := range d.queues {
		q := &d.queues[i]
		if q.kick == nil {
			q.ring = ring{} // its place comes before it is started
		} else if err := q.place(mem); err != nil {
			return err
		}
	}
	return nil
}

// setState sets one of a queue's numbers.
func (d *device) setState(r request, index, num uint32) error {
	q, err := d.queue(index)
	if err != nil {
		return err
	}
	d.mu.Lock()
	switch r {
	case setVringNum:
		if num == 0 || num > maxEntries || q.kick != nil {
			err = errors.Wrapf(errMessage, "a queue of %d entries, of at most %d, or while it runs", num, maxEntries)
			break
		}
		q.num, q.ring = num, ring{}
	case setVringBase:
		q.base = uint16(num)
	case setVringEnable:
		q.enabled = num != 0
		err = q.giveKeptLocked(d.mem)
	}
	d.mu.Unlock()
	if err == nil && r == setVringEnable {
		d.drain(q)
	}
	return err
}

// setEvent takes over the file by which the guest tells of requests, or is told of answers.
func (d *device) setEvent(m *message) error {
	n, err := m.number()
	if err != nil {
		return err
	}
	q, err := d.queue(uint32(n & 0xff))
	if err != nil {
		return err
	}
	if none := n&noFile != 0; none != (len(m.files) == 0) || len(m.files) > 1 {
		return errors.Wrapf(errMessage, "%d files with request %d", len(m.files), m.request)
	}
	if m.request == setVringCall {
		d.mu.Lock()
		defer d.mu.Unlock()
		if q.call != nil {
			_ = q.call.Close() // nothing is buffered in it
			q.call = nil
		}
		if len(m.files) > 0 {
			q.call = m.take()
			q.notifyLocked() // answers may have come before there was a way to tell
		}
		return nil
	}
	if len(m.files) == 0 {
		return errors.New("the monitor wants a queue to be polled, which is not done here")
	}
	if q.kick != nil {
		d.stop(q)
	}
	d.mu.Lock()
	if q.ring.desc == nil {
		if err = q.place(d.mem); err == nil && q.ring.desc == nil {
			err = errors.Wrap(errMessage, "a queue is started before its place is said")
		}
	}
	if err == nil {
		q.startLocked(m.take())
		err = q.giveKeptLocked(d.mem)
	}
	kick := q.kick
	d.mu.Unlock()
	if err != nil {
		return err
	}
	q.watcher.Go(func() { d.watch(q, kick) })
	return nil
}

// watch takes requests whenever the guest tells of some, until the queue is stopped.
func (d *device) watch(q *queue, kick *os.File) {
	var count [8]byte
	for {
		d.drain(q)
		if _, err := kick.Read(count[:]); err != nil {
			return // closed by stop
		}
	}
}

// stop stops a queue and returns where it stood. Requests in flight go on.
func (d *device) stop(q *queue) uint16 {
	d.mu.Lock()
	for _, f := range []**os.File{&q.kick, &q.call} {
		if *f != nil {
			_ = (*f).Close() // an eventfd
			*f = nil
		}
	}
	next := q.next
	d.mu.Unlock()
	q.watcher.Wait()
	return next
}

// drain takes all requests that there are.
func (d *device) drain(q *queue) {
	for {
		d.mu.RLock()
		q.mu.Lock()
		c, err := q.takeLocked(d.mem)
		if c != nil {
			d.requests.Add(1)
		}
		q.mu.Unlock()
		d.mu.RUnlock()
		if err != nil {
			d.fail(err)
			return
		}
		if c == nil {
			return
		}
		go d.serve(q, c)
	}
}

// serve answers one request.
func (d *device) serve(q *queue, c *chain) {
	defer d.requests.Done()
	c.answer = d.sessions.handle(c.in, c.size)
	c.in = nil
	d.mu.RLock()
	q.mu.Lock()
	err := q.giveLocked(d.mem, c)
	q.mu.Unlock()
	d.mu.RUnlock()
	if err != nil {
		d.fail(err)
	}
}

// fail ends a guest whose queues cannot be understood.
func (d *device) fail(err error) {
	d.log.WithError(err).Error("the guest breaks the rules of its queues: it loses the file system")
	d.close()
}
