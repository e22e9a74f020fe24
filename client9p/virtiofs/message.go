package virtiofs

import (
	"encoding/binary"
	stderrors "errors"
	"io"
	"net"
	"os"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// request numbers a message of the monitor (docs/interop/vhost-user.rst of QEMU,
// "Front-end message types").
type request uint32

const (
	getFeatures         request = 1
	setFeatures         request = 2
	setOwner            request = 3
	resetOwner          request = 4
	setMemTable         request = 5
	setVringNum         request = 8
	setVringAddr        request = 9
	setVringBase        request = 10
	getVringBase        request = 11
	setVringKick        request = 12
	setVringCall        request = 13
	setVringErr         request = 14
	getProtocolFeatures request = 15
	setProtocolFeatures request = 16
	getQueueNum         request = 17
	setVringEnable      request = 18
	resetDevice         request = 34
)

// Bits of a header's flags.
const (
	versionMask  = 0x3
	version      = 0x1
	flagReply    = 1 << 2
	flagAskReply = 1 << 3
)

// Features of the device, and of the protocol.
const (
	featureIndirect = 1 << 28 // VIRTIO_F_INDIRECT_DESC
	featureProtocol = 1 << 30 // VHOST_USER_F_PROTOCOL_FEATURES
	featureVersion1 = 1 << 32 // VIRTIO_F_VERSION_1

	protocolMQ       = 1 << 0
	protocolReplyAck = 1 << 3
	protocolReset    = 1 << 13
)

const (
	headerSize = 12
	// maxPayload is more than any message here has.
	maxPayload = 4096
	// maxRegions is how much of the guest's memory a message describes, without
	// CONFIGURE_MEM_SLOTS.
	maxRegions = 8
	// noFile in the number of SET_VRING_KICK and _CALL says that none comes along.
	noFile = 1 << 8
)

var errMessage = stderrors.New("a message that is not of the vhost-user protocol")

// message is a message of the monitor. Its files belong to who takes it.
type message struct {
	request request
	ask     bool // a reply is wanted, whatever the request
	payload []byte
	files   []*os.File
}

func (m *message) close() {
	for _, f := range m.files {
		_ = f.Close() // nothing was written to it
	}
	m.files = nil
}

// take hands over the only file of a message.
func (m *message) take() *os.File {
	f := m.files[0]
	m.files = nil
	return f
}

// parseHeader reads a header.
func parseHeader(h []byte) (m message, size int, err error) {
	flags, n := binary.LittleEndian.Uint32(h[4:]), binary.LittleEndian.Uint32(h[8:])
	if flags&versionMask != version || n > maxPayload {
		return m, 0, errors.Wrapf(errMessage, "request %d, flags %#x, %d bytes", binary.LittleEndian.Uint32(h), flags, n)
	}
	return message{request: request(binary.LittleEndian.Uint32(h)), ask: flags&flagAskReply != 0}, int(n), nil
}

// receive reads the next message. io.EOF means that the monitor has ended.
func receive(conn *net.UnixConn) (*message, error) {
	var head [headerSize]byte
	oob := make([]byte, unix.CmsgSpace(maxRegions*4))
	n, oobn, flags, _, err := conn.ReadMsgUnix(head[:], oob)
	files, ferr := receivedFiles(oob[:oobn])
	m := &message{files: files}
	switch {
	case err == nil && n == 0:
		err = io.EOF
	case err == nil && flags&unix.MSG_CTRUNC != 0:
		err = errors.Wrap(errMessage, "more files than a message has")
	case err == nil:
		err = ferr
	}
	if err == nil && n < headerSize {
		_, err = io.ReadFull(conn, head[n:])
	}
	if err == nil {
		var size int
		var parsed message
		if parsed, size, err = parseHeader(head[:]); err == nil {
			parsed.files, parsed.payload = files, make([]byte, size)
			*m = parsed
			_, err = io.ReadFull(conn, m.payload)
		}
	}
	if err != nil {
		m.close()
		return nil, errors.WithStack(err)
	}
	return m, nil
}

// receivedFiles are the files that came with a message. They are closed on exec.
func receivedFiles(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	scms, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, errors.Wrap(errMessage, err.Error())
	}
	var files []*os.File
	for _, scm := range scms {
		fds, err := unix.ParseUnixRights(&scm)
		if err != nil {
			continue // not files: nothing to close
		}
		for _, fd := range fds {
			// Waiting for an event must end when the file is closed: by the runtime's poller.
			if err := unix.SetNonblock(fd, true); err != nil {
				_ = unix.Close(fd)
				return files, errors.Wrap(err, "a file of the monitor")
			}
			files = append(files, os.NewFile(uintptr(fd), "vhost-user"))
		}
	}
	return files, nil
}

// reply answers a message.
func reply(conn *net.UnixConn, r request, payload []byte) error {
	b := make([]byte, headerSize, headerSize+len(payload))
	binary.LittleEndian.PutUint32(b, uint32(r))
	binary.LittleEndian.PutUint32(b[4:], version|flagReply)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(payload)))
	_, err := conn.Write(append(b, payload...))
	return errors.Wrap(err, "answer the monitor")
}

// number reads the payload of a message that is one number.
func (m *message) number() (uint64, error) {
	if len(m.payload) != 8 {
		return 0, errors.Wrapf(errMessage, "request %d has %d bytes, not 8", m.request, len(m.payload))
	}
	return binary.LittleEndian.Uint64(m.payload), nil
}

// state reads the payload of a message about a queue: its index and a number.
func (m *message) state() (index, num uint32, err error) {
	n, err := m.number()
	return uint32(n), uint32(n >> 32), err
}

// addrs are the places of a queue's parts, as the monitor's own addresses.
type addrs struct {
	index             uint32
	desc, used, avail uint64
}

func (m *message) addrs() (addrs, error) {
	if len(m.payload) != 40 {
		return addrs{}, errors.Wrapf(errMessage, "addresses of %d bytes, not 40", len(m.payload))
	}
	le := binary.LittleEndian
	return addrs{le.Uint32(m.payload), le.Uint64(m.payload[8:]), le.Uint64(m.payload[16:]), le.Uint64(m.payload[24:])}, nil
}

// place is where a part of the guest's memory is: in the guest, in the monitor, and in
// the file that came along.
type place struct {
	guest, size, monitor, offset uint64
}

// places reads the description of the guest's memory.
func (m *message) places() ([]place, error) {
	le := binary.LittleEndian
	if len(m.payload) < 8 {
		return nil, errors.Wrapf(errMessage, "a memory table of %d bytes", len(m.payload))
	}
	n := le.Uint32(m.payload)
	if n > maxRegions || int(n) != len(m.files) || len(m.payload) < 8+int(n)*32 {
		return nil, errors.Wrapf(errMessage, "a memory table of %d regions, %d files, %d bytes", n, len(m.files), len(m.payload))
	}
	list := make([]place, n)
	for i := range list {
		b := m.payload[8+i*32:]
		p := place{le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:]), le.Uint64(b[24:])}
		const most = 1 << 56 // so that no sum below is too large
		if p.size == 0 || p.guest > most || p.size > most || p.offset > most || p.monitor+p.size < p.monitor {
			return nil, errors.Wrapf(errMessage, "memory of %d bytes at %#x, in the monitor at %#x, in its file at %d", p.size, p.guest, p.monitor, p.offset)
		}
		list[i] = p
	}
	return list, nil
}
