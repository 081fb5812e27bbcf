package engine

import (
	"sync/atomic"
	"syscall"
)

// fileReserve is how many descriptors are kept from connections, at most half of all: half of the reserve for
// everything else (Redis, the control port, logs, epoll), the rest for sockets that are no connections.
const fileReserve = 512

// ConnectionLimit is the largest MaxConnections that this process's open-file limit allows.
func ConnectionLimit() int {
	files := fileLimit()
	return max(files-reserve(files), 1)
}

func fileLimit() int {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return 1024
	}
	return int(min(lim.Cur, uint64(maxFiles())))
}

func reserve(files int) int { return min(fileReserve, files/2) }

// room is the account of all sockets.
type room struct {
	// Fixed at birth.
	places int64 // for connections
	limit  int64 // of sockets, those that were cut left out
	most   int64 // of sockets, those that were cut and wait to be closed included

	// Shared.
	sockets     atomic.Int64 // all that have a descriptor
	living      atomic.Int64 // those that were not cut
	connections atomic.Int64
	waiting     atomic.Bool   // the accept goroutine waits for freed
	freed       chan struct{} // has room for one: a descriptor was closed
}

func newRoom(places int) *room {
	spare := max(int64(reserve(fileLimit())/8), 1)
	r := &room{places: int64(places), freed: make(chan struct{}, 1)}
	r.limit = r.places + 3*spare
	r.most = r.limit + spare // so many are cut for one turn of a loop
	return r
}

// enter takes a place for a connection, if there is one.
func (r *room) enter() bool {
	if r.connections.Add(1) > r.places {
		r.connections.Add(-1)
		return false
	}
	return true
}

// over reports whether there are too many sockets.
func (r *room) over() bool { return r.living.Load() > r.limit }

// leave counts a closed descriptor.
func (r *room) leave() {
	r.sockets.Add(-1)
	if r.waiting.Load() {
		select {
		case r.freed <- struct{}{}:
		default:
		}
	}
}

// await returns when one more socket may be accepted, or when end is closed.
func (r *room) await(end <-chan struct{}) {
	if r.sockets.Load() < r.most {
		return
	}
	r.waiting.Store(true)
	defer r.waiting.Store(false)
	for r.sockets.Load() >= r.most {
		select {
		case <-r.freed:
		case <-end:
			return
		}
	}
}
