package main

import (
	"fmt"
	"strconv"

	"github.com/alecthomas/kong"
)

// memory is how much of it this process may use, and who says so. A limit of 0 is not known.
type memory struct {
	limit  byteSize
	of     string // as in "256MiB of …"
	kernel bool   // the kernel's socket buffers count, too
}

func (m memory) String() string { return rounded(m.limit).String() + " of " + m.of }

const (
	// slowReaders is how many clients that do not read may fill their send buffers, where the kernel's memory counts,
	// before these take a quarter of it. Linux doubles a send buffer.
	slowReaders = 1024
	// usualInbox is the session's own bound of what waits for one loop.
	usualInbox = 64 << 20
	// inboxShare: this part of the memory may wait for all loops together.
	inboxShare = 8
	// leastRoom is where the shares were seen to hold: events of 60 KiB to 2,000 clients that do not read.
	leastRoom = 128 << 20
)

// fit makes what was not given fit into the memory: a setting whose tag share is n is then at most the n-th part of it.
// A byte that waits for a slow reader costs up to two and a half, so that a quarter for these is what survives.
func (s *settings) fit() {
	granted, own := s.env.room, s.ownLimit()
	room := granted
	if own.limit > 0 && (room.limit == 0 || own.limit < room.limit) {
		room = own
	}
	s.cfg.room = room
	if room.limit == 0 {
		return
	}
	for _, f := range s.flags {
		if n := share(f); n > 0 {
			s.atMost(f, room.limit/n, fmt.Sprintf("1/%d of %s", n, room))
		}
		if f.Name == "send-buffer" && granted.kernel {
			s.atMost(f, granted.limit/(4*2*slowReaders), fmt.Sprintf("room for %d slow readers in 1/4 of %s", slowReaders, granted))
		}
	}
	limit, from := own.limit, own.of
	if limit == 0 {
		limit, from = rounded(granted.limit/10*9), "9/10 of "+granted.String() // the rest is for the program itself and for the kernel
	}
	if s.cfg.MemoryLimit == 0 && limit >= 16<<20 && limit <= 1<<40 { // what the flag's range lets in; else the runtime's own
		s.cfg.MemoryLimit, s.follows["memory-limit"] = limit, from
	}
}

// ownLimit is what the operator wants the Go runtime to stay below.
func (s *settings) ownLimit() memory {
	if limit := s.cfg.MemoryLimit; limit > 0 && s.source["memory-limit"] != "" {
		return memory{limit: limit, of: s.origin("memory-limit")}
	}
	var limit byteSize
	if limit.UnmarshalText([]byte(s.env.value("GOMEMLIMIT"))) != nil { // unset, or "off"; the runtime refuses all else
		return memory{}
	}
	return memory{limit: limit, of: "GOMEMLIMIT"}
}

// share is n where f is at most the n-th part of the memory unless it is given, else 0.
func share(f *kong.Flag) byteSize {
	n, _ := strconv.ParseInt(f.Tag.Get("share"), 10, 64)
	return byteSize(n)
}

// atMost lowers f to limit unless it was given.
func (s *settings) atMost(f *kong.Flag, limit byteSize, because string) {
	limit = max(rounded(limit), 4<<10)
	if s.source[f.Name] != "" || f.Target.Int() <= int64(limit) {
		return
	}
	f.Target.SetInt(int64(limit))
	s.follows[f.Name] = because
}

// rounded is n without the digits that make it hard to read.
func rounded(n byteSize) byteSize {
	if n >= 1<<20 {
		return n >> 20 << 20
	}
	return n >> 10 << 10
}

// maxInbox bounds what waits for one loop. 0: the session's own bound will do.
func (c *config) maxInbox() int {
	each := c.room.limit / inboxShare / byteSize(c.Pollers)
	if c.room.limit == 0 || each >= usualInbox {
		return 0
	}
	return int(max(each, 4*c.MaxMessage, 64<<10)) // an event must get through
}

// memoryNotes say what was given and does not fit into the memory.
func (s *settings) memoryNotes() (notes []string) {
	granted, own, room := s.env.room, s.ownLimit(), s.cfg.room
	if granted.limit > 0 && own.limit > granted.limit {
		notes = append(notes, fmt.Sprintf("%s is %s, more than the %s: the process would be killed before its own limit takes effect.", own.of, own.limit, granted))
	}
	if granted.limit > 0 && granted.limit < leastRoom {
		notes = append(notes, fmt.Sprintf("The memory is %s: with less than %s, large events to many clients that do not read can have the process killed before they are cut.", granted, byteSize(leastRoom)))
	}
	for _, f := range s.flags {
		n := share(f)
		if n == 0 || room.limit == 0 || s.source[f.Name] == "" {
			continue
		}
		if held := byteSize(f.Target.Int()); held > room.limit/n {
			notes = append(notes, fmt.Sprintf("%s is %s, and more than %s is too much for the %s: clients that do not read could have the process killed for lack of memory. Left out, it follows the memory.",
				s.origin(f.Name), held, rounded(room.limit/n), room))
		}
	}
	return notes
}
