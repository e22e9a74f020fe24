package server

import (
	stderrors "errors"
	"io"

	"sliod/server/wire"
)

var (
	errFrameTooSmall = stderrors.New("a frame says that it is smaller than its own header")
	errFrameTooLarge = stderrors.New("a frame says that it is larger than msize")
)

const (
	inputStart = 16 << 10 // first receive buffer
	largeFrame = 64 << 10 // from here on no byte of the next frame is read along
)

// input cuts a connection's bytes into frames. There is one buffer, in which frames
// are used in place. It grows only when it is full of bytes that have come in, so a
// size field alone costs nothing, and it never grows much beyond limit.
type input struct {
	src   io.Reader
	buf   []byte
	r, w  int    // buf[r:w] has been received and not been used
	limit uint32 // largest frame
}

// next returns the next frame, which is valid until the following call. After
// errFrameTooLarge the frame's header is returned as well.
func (in *input) next() ([]byte, error) {
	for {
		want := wire.HeaderSize
		if have := in.buf[in.r:in.w]; len(have) >= wire.HeaderSize {
			size := wire.ParseHeader(have).Size
			if size < wire.HeaderSize {
				return nil, errFrameTooSmall
			}
			if size > in.limit {
				return have[:wire.HeaderSize], errFrameTooLarge
			}
			want = int(size)
			if len(have) >= want {
				in.r += want
				return have[:want:want], nil
			}
		}
		if err := in.fill(want); err != nil {
			return nil, err
		}
	}
}

// fill receives at least one byte of a frame of want bytes.
func (in *input) fill(want int) error {
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
	if in.r > 0 && in.r+want > len(in.buf) {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	if in.w == len(in.buf) {
		grown := make([]byte, max(inputStart, min(2*len(in.buf), int(in.limit)+largeFrame)))
		in.w = copy(grown, in.buf[in.r:in.w])
		in.r, in.buf = 0, grown
	}
	end := len(in.buf)
	if want >= largeFrame {
		end = min(end, in.r+want)
	}
	n, err := in.src.Read(in.buf[in.w:end])
	in.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	if err == io.EOF && in.w > in.r {
		return io.ErrUnexpectedEOF
	}
	return err
}
