package virtiofs

import (
	"os"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// region is a part of the guest's memory that is mapped here.
type region struct {
	place
	data   []byte // size bytes
	mapped []byte // data, and what comes before it in its file
}

// memory is the guest's memory.
type memory []region

// mapMemory maps what the places describe. The files are the caller's.
func mapMemory(places []place, files []*os.File) (memory, error) {
	var m memory
	for i, p := range places {
		// From the file's begin, as files of huge pages need it.
		end := p.offset + p.size
		if st, err := files[i].Stat(); err == nil && st.Mode().IsRegular() && uint64(st.Size()) < end {
			m.unmap()
			return nil, errors.Errorf("the guest's memory of %d bytes at %d is not in its file of %d bytes", p.size, p.offset, st.Size())
		}
		raw, err := files[i].SyscallConn()
		if err == nil {
			cerr := raw.Control(func(fd uintptr) {
				var data []byte
				if data, err = unix.Mmap(int(fd), 0, int(end), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE); err == nil {
					m = append(m, region{p, data[p.offset:end], data})
				}
			})
			if err == nil {
				err = cerr
			}
		}
		if err != nil {
			m.unmap()
			return nil, errors.Wrapf(err, "map %d bytes of the guest's memory; the monitor must share it (QEMU: -object memory-backend-memfd,share=on)", p.size)
		}
	}
	return m, nil
}

func (m memory) unmap() {
	for _, r := range m {
		_ = unix.Munmap(r.mapped) // it was mapped just so
	}
}

// at returns size bytes at an address of the guest, in pieces.
func (m memory) at(addr, size uint64) ([][]byte, error) {
	var list [][]byte
	for size > 0 {
		r := m.find(addr)
		if r == nil {
			return nil, errors.Errorf("%d bytes at %#x are not in the guest's memory", size, addr)
		}
		piece := r.data[addr-r.guest:]
		piece = piece[:min(uint64(len(piece)), size)]
		list = append(list, piece)
		addr += uint64(len(piece))
		size -= uint64(len(piece))
	}
	return list, nil
}

func (m memory) find(addr uint64) *region {
	for i := range m {
		if r := &m[i]; addr >= r.guest && addr-r.guest < r.size {
			return r
		}
	}
	return nil
}

// monitors returns size bytes at an address of the monitor, which must be in one region.
func (m memory) monitors(addr, size uint64) ([]byte, error) {
	for _, r := range m {
		if addr >= r.monitor && addr-r.monitor < r.size && size <= r.size-(addr-r.monitor) {
			return r.data[addr-r.monitor:][:size:size], nil
		}
	}
	return nil, errors.Errorf("%d bytes at %#x of the monitor are not in the guest's memory", size, addr)
}
