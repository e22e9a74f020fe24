package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
)

// kind is what an entry of a tree is.
type kind uint8

const (
	kindDir kind = iota
	kindFile
	kindSparse // a file with holes
	kindHardLink
	kindSymlink
	kindFifo
)

// entry is one name of a planned tree.
type entry struct {
	kind     kind
	path     string // below the tree's root
	target   string // symlink: its text; hard link: the path of the file
	size     int64
	mode     uint32 // permission bits with setuid, setgid and sticky
	uid, gid int
	sec      int64 // mtime
	nsec     int64
	xattrs   map[string][]byte
	seed     uint64 // of the content
}

// The largest file of a tree and of its ordinary files, in bytes.
const (
	largestFile  = 64 << 20
	ordinaryFile = 256 << 10
)

// planTree lists the entries of a tree, each after what it needs. It depends
// on nothing but its arguments.
func planTree(seed uint64, files int, total int64) []entry {
	r := rand.New(rand.NewPCG(seed, 0x51d0))
	dirs := []string{""}
	var regular []string
	var plan []entry
	for i := range files {
		dir := dirs[r.IntN(len(dirs))]
		e := entry{
			path: join(dir, oddName(r, i)), seed: r.Uint64(),
			mode: 0o600 | uint32(r.IntN(0o200)),
			// 1970 to 2100, so that 32-bit times are found out.
			sec: r.Int64N(4102444800), nsec: r.Int64N(1e9),
		}
		if r.IntN(4) == 0 {
			e.uid, e.gid = 1000+r.IntN(5), 1000+r.IntN(5)
		}
		switch n := r.IntN(100); {
		case n < 6:
			e.kind = kindDir
			e.mode = 0o755 | []uint32{0, 0o2000, 0o1000}[r.IntN(3)]
			if strings.Count(e.path, "/") < 6 && len(e.path) < 1500 {
				dirs = append(dirs, e.path)
			}
		case n < 10 && len(regular) > 0:
			e.kind, e.target = kindHardLink, regular[r.IntN(len(regular))]
		case n < 15:
			e.kind, e.target = kindSymlink, oddName(r, i)
			if n < 12 && len(regular) > 0 {
				e.target = "/" + regular[r.IntN(len(regular))]
			}
		case n < 16:
			e.kind = kindFifo
		case n < 19:
			e.kind, e.size = kindSparse, r.Int64N(8<<20)
		default:
			e.kind, e.size = kindFile, fileSize(r, i)
		}
		if e.kind == kindFile || e.kind == kindSparse {
			if n := r.IntN(20); n < 3 {
				e.mode |= []uint32{0o4000, 0o2000, 0o1000}[n]
			}
			if cost := dataBytes(e); cost > total {
				e.kind, e.size = kindFile, min(total, e.size%4096)
			}
			total -= dataBytes(e)
			regular = append(regular, e.path)
		}
		if e.kind <= kindSparse && r.IntN(5) == 0 {
			e.xattrs = map[string][]byte{}
			for x := range 1 + r.IntN(3) {
				value := make([]byte, r.IntN(300))
				for b := range value {
					value[b] = byte(r.Uint32())
				}
				e.xattrs[fmt.Sprintf("user.ninetest.%d", x)] = value
			}
		}
		plan = append(plan, e)
	}
	return plan
}

// fileSize is mostly small. The first files of a tree are the large ones, so
// that every tree has some.
func fileSize(r *rand.Rand, i int) int64 {
	if i < 40 && i%10 == 1 {
		return largestFile >> (i / 10 * 2)
	}
	switch n := r.IntN(100); {
	case n < 5:
		return 0
	case n < 10: // at the edge of a page or a sliver
		return []int64{1, 4095, 4096, 4097, 1<<20 - 1, 1 << 20, 1<<20 + 1}[r.IntN(7)]
	case n < 60:
		return r.Int64N(8 << 10)
	case n < 97:
		return r.Int64N(ordinaryFile)
	default:
		return r.Int64N(4 << 20)
	}
}

// dataBytes is what the entry's data takes.
func dataBytes(e entry) int64 {
	if e.kind == kindSparse {
		return min(e.size, sparsePieces*sparsePiece)
	}
	return e.size
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + string(os.PathSeparator) + name
}

// oddName makes a name that is never used twice: i is in it.
func oddName(r *rand.Rand, i int) string {
	id := fmt.Sprintf("%d", i)
	switch r.IntN(16) {
	case 0:
		return "with space " + id + " "
	case 1:
		return "new\nline\n" + id
	case 2:
		return "Überraschung-日本語-🎞-" + id
	case 3:
		return "\xff\xfe\x80not-utf8\xc3" + id
	case 4:
		return id + strings.Repeat("x", 255-len(id))
	case 5:
		return "-rf " + id
	case 6:
		return `quotes"'` + "`$(" + id + `)\`
	case 7:
		return "..." + id
	case 8:
		return "e\u0301" + id // decomposed: not the same name as é
	case 9:
		return "\x01\x7f\t" + id
	default:
		return "file-" + id + ".dat"
	}
}
