package order

// finder keeps the best of the moves that it tries.
type finder struct {
	*search
	m    move
	gain float64
}

func (f *finder) try(i, p, q int32) {
	if i < 1 || i >= p || p > q || int(q) > f.n {
		return
	}
	if g := f.search.gain(move{i, p, q}); g > f.gain {
		f.m, f.gain = move{i, p, q}, g
	}
}

// best finds the best move that makes one of the short ways to or from x part of the tour; ok is false
// if none gains anything.
func (s *search) best(x int32) (m move, ok bool) {
	f := finder{search: s, gain: tiny}
	more := 0.0
	if s.wait {
		more = slack
	}
	at := s.pos[x]
	ids, ways := s.next.of(x)
	for k, c := range ids {
		if c < 0 || int(at) < s.n && ways[k] >= s.edge[at+1]+more {
			break
		}
		f.join(at, s.pos[c])
	}
	if at > 0 {
		ids, ways = s.last.of(x)
		for k, a := range ids {
			if a < 0 || ways[k] >= s.edge[at]+more {
				break
			}
			f.join(s.pos[a], at)
		}
	}
	return f.m, f.gain > tiny
}

// join tries moves after which the stop at place c of the tour follows the one at place a. Such a move
// has three new ways; with this one given, a second one is short as well, or a piece is.
func (f *finder) join(a, c int32) {
	switch {
	case c == a+1:
	case c > a:
		f.bring(a+1, c)
		if a > 0 {
			f.send(a, a+1, c-1)
		}
	default:
		f.exchange(c, a)
	}
}

// bring tries to bring a piece that begins at p to before i.
func (f *finder) bring(i, p int32) {
	for q := p; q < p+f.reach; q++ {
		f.try(i, p, q)
	}
	f.try(i, p, int32(f.n))
	ids, _ := f.last.of(f.tour[i])
	for _, b := range ids {
		if b >= 0 && f.pos[b] >= p+f.reach {
			f.try(i, p, f.pos[b])
		}
	}
	ids, _ = f.next.of(f.tour[p-1])
	for _, d := range ids {
		if d >= 0 && f.pos[d] > p+f.reach {
			f.try(i, p, f.pos[d]-1)
		}
	}
}

// send tries to send a piece that ends at a to behind q; p is a+1.
func (f *finder) send(a, p, q int32) {
	for i := a; i > a-f.reach; i-- {
		f.try(i, p, q)
	}
	ids, _ := f.last.of(f.tour[p])
	for _, b := range ids {
		if b >= 0 && f.pos[b] < a-f.reach {
			f.try(f.pos[b]+1, p, q)
		}
	}
	ids, _ = f.next.of(f.tour[q])
	for _, d := range ids {
		if d >= 0 && f.pos[d] <= a-f.reach {
			f.try(f.pos[d], p, q)
		}
	}
}

// exchange tries to cut what is from i to q in two, and exchange the pieces.
func (f *finder) exchange(i, q int32) {
	for p := i + 1; p <= min(i+f.reach, q); p++ {
		f.try(i, p, q)
	}
	for p := q; p > max(q-f.reach, i+f.reach); p-- {
		f.try(i, p, q)
	}
	if i < 1 {
		return
	}
	ids, _ := f.next.of(f.tour[i-1])
	for _, d := range ids {
		if d >= 0 && f.pos[d] > i && f.pos[d] <= q {
			f.try(i, f.pos[d], q)
		}
	}
	if int(q) < f.n {
		ids, _ = f.last.of(f.tour[q+1])
		for _, b := range ids {
			if b >= 0 && f.pos[b] >= i && f.pos[b] < q {
				f.try(i, f.pos[b]+1, q)
			}
		}
	}
}
