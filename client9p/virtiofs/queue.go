package virtiofs

import (
	"encoding/binary"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/pkg/errors"
)

// Flags of a descriptor, and of the available ring.
const (
	descNext     = 1
	descWrite    = 2
	descIndirect = 4
	descSize     = 16

	noInterrupt = 1
)

const (
	// maxEntries of a queue (VIRTIO 1.2, 2.7).
	maxEntries = 1 << 15
	// maxTransfer of one request, each way: the largest write and its headers.
	maxTransfer = 1<<20 + 1<<16
	// maxIndirect is more descriptors than maxTransfer has pages.
	maxIndirect = 2048
)

// queue is one virtqueue:
//
//	stopped --SET_VRING_KICK--> started --SET_VRING_ENABLE--> running
//	   ^------------------------- GET_VRING_BASE -----------------+
//
// What is started again just where it was stopped goes on; else it has begun a new life.
type queue struct {
	mu      sync.Mutex
	num     uint32
	addrs   addrs
	ring    ring     // the zero value: not in the guest's memory
	next    uint16   // of the available ring: the request to be taken next
	used    uint16   // of the used ring: where the next answer goes
	base    uint16   // where the monitor wants it to start
	begun   addrs    // addrs at the begin of this life
	kick    *os.File // nil: stopped
	call    *os.File // nil: the guest looks by itself
	enabled bool

	life     uint64 // counts what the guest made of the queue
	inFlight uint32 // requests of this life that are not answered
	kept     []*chain

	watcher sync.WaitGroup // waits for kick; not guarded by mu
}

// ring is a queue's three parts in the guest's memory.
type ring struct{ desc, avail, used []byte }

// chain is one request.
type chain struct {
	head   uint16
	life   uint64
	in     []byte // what the guest says, copied
	out    []span // where the answer goes
	size   int    // of out
	answer []byte
}

// span is a writable place in the guest's memory.
type span struct {
	addr uint64
	size uint32
}

// The guest's index of available requests is next to its flags, as ours of used ones:
// one access takes both, and orders what comes before and after (VIRTIO 1.2, 2.7.13).
func word(b []byte) *uint32 { return (*uint32)(unsafe.Pointer(&b[0])) }

// place looks up the ring in the guest's memory.
func (q *queue) place(m memory) error {
	q.ring = ring{}
	if q.addrs == (addrs{}) || q.num == 0 {
		return nil
	}
	n := uint64(q.num)
	desc, err := m.monitors(q.addrs.desc, descSize*n)
	if err != nil {
		return errors.WithMessage(err, "a queue's descriptors")
	}
	avail, err := m.monitors(q.addrs.avail, 4+2*n)
	if err != nil {
		return errors.WithMessage(err, "a queue's available ring")
	}
	used, err := m.monitors(q.addrs.used, 4+8*n)
	if err != nil {
		return errors.WithMessage(err, "a queue's used ring")
	}
	for _, b := range [][]byte{avail, used} {
		if uintptr(unsafe.Pointer(&b[0]))%4 != 0 {
			return errors.New("a queue's rings do not begin at a multiple of 4, as Linux' do")
		}
	}
	q.ring = ring{desc, avail, used}
	return nil
}

// running: requests are taken and answered.
func (q *queue) running() bool { return q.kick != nil && q.enabled && q.ring.desc != nil }

// startLocked begins a new life unless the queue is where it was. The ring is placed.
func (q *queue) startLocked(kick *os.File) {
	q.kick = kick
	if used := binary.LittleEndian.Uint16(q.ring.used[2:]); q.base != q.next || used != q.used || q.begun != q.addrs {
		q.life++
		q.kept, q.inFlight = nil, 0
		q.next, q.used, q.begun = q.base, used, q.addrs
	}
}

// takeLocked takes the next request, or returns nil if there is none.
func (q *queue) takeLocked(m memory) (*chain, error) {
	if !q.running() {
		return nil, nil
	}
	there := uint16(atomic.LoadUint32(word(q.ring.avail))>>16) - q.next
	if there == 0 {
		return nil, nil
	}
	if uint32(there) > q.num || q.inFlight >= q.num {
		return nil, errors.Errorf("the guest offers %d requests beside %d in flight in a queue of %d", there, q.inFlight, q.num)
	}
	head := binary.LittleEndian.Uint16(q.ring.avail[4+2*(uint32(q.next)%q.num):])
	c, err := readChain(m, q.ring.desc, head)
	if err != nil {
		return nil, err
	}
	c.life = q.life
	q.next++
	q.inFlight++
	return c, nil
}

// readChain copies a request out of the guest's memory, which may change at any time.
func readChain(m memory, table []byte, head uint16) (*chain, error) {
	c := &chain{head: head}
	indirect := false
	i, n, left := uint32(head), uint32(len(table)/descSize), len(table)/descSize
	for {
		if i >= n || left == 0 {
			return nil, errors.Errorf("a chain leads to descriptor %d of %d, or in a circle", i, n)
		}
		left--
		var d [descSize]byte
		copy(d[:], table[i*descSize:])
		le := binary.LittleEndian
		addr, size, flags := le.Uint64(d[:]), le.Uint32(d[8:]), le.Uint16(d[12:])
		switch {
		case flags&descIndirect != 0:
			if indirect || flags&descNext != 0 || size == 0 || size%descSize != 0 || size > maxIndirect*descSize {
				return nil, errors.Errorf("an indirect table of %d bytes that may not be", size)
			}
			pieces, err := m.at(addr, uint64(size))
			if err != nil {
				return nil, err
			}
			table = make([]byte, 0, size)
			for _, p := range pieces {
				table = append(table, p...)
			}
			i, n, left, indirect = 0, size/descSize, int(size/descSize), true
			continue
		case flags&descWrite != 0:
			c.size += int(size)
			c.out = append(c.out, span{addr, size})
		case c.size > 0:
			return nil, errors.New("a chain has something to read after something to write")
		default:
			if len(c.in)+int(size) > maxTransfer {
				return nil, errors.Errorf("a request of more than %d bytes", maxTransfer)
			}
			pieces, err := m.at(addr, uint64(size))
			if err != nil {
				return nil, err
			}
			for _, p := range pieces {
				c.in = append(c.in, p...)
			}
		}
		if c.size > maxTransfer {
			return nil, errors.Errorf("an answer of more than %d bytes", maxTransfer)
		}
		if flags&descNext == 0 {
			return c, nil
		}
		i = uint32(le.Uint16(d[14:]))
	}
}

// giveLocked puts an answer into the guest's memory, or keeps it until the queue runs
// again. That of an earlier life is nobody's any more.
func (q *queue) giveLocked(m memory, c *chain) error {
	if c.life != q.life {
		return nil
	}
	if !q.running() {
		q.kept = append(q.kept, c)
		return nil
	}
	rest := c.answer
	for _, s := range c.out {
		if len(rest) == 0 {
			break
		}
		n := min(len(rest), int(s.size))
		pieces, err := m.at(s.addr, uint64(n))
		if err != nil {
			return err
		}
		for _, p := range pieces {
			rest = rest[copy(p, rest):]
		}
	}
	at := 4 + 8*(uint32(q.used)%q.num)
	binary.LittleEndian.PutUint32(q.ring.used[at:], uint32(c.head))
	binary.LittleEndian.PutUint32(q.ring.used[at+4:], uint32(len(c.answer)-len(rest)))
	q.used++
	atomic.StoreUint32(word(q.ring.used), uint32(q.used)<<16)
	q.inFlight--
	if atomic.LoadUint32(word(q.ring.avail))&noInterrupt == 0 {
		q.notifyLocked()
	}
	return nil
}

// giveKeptLocked is giveLocked for what was answered while the queue was stopped.
func (q *queue) giveKeptLocked(m memory) error {
	if !q.running() {
		return nil
	}
	kept := q.kept
	q.kept = nil
	for _, c := range kept {
		if err := q.giveLocked(m, c); err != nil {
			return err
		}
	}
	return nil
}

var one = []byte{1, 0, 0, 0, 0, 0, 0, 0}

// notifyLocked tells the guest that there are answers.
func (q *queue) notifyLocked() {
	if q.call != nil {
		_, _ = q.call.Write(one) // an eventfd: it fails only with the monitor
	}
}
