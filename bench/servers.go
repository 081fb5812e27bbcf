package bench

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// processUse is what a process has used: memory now, CPU since it began.
type processUse struct {
	RSS int64
	CPU time.Duration
}

// kernelUse is memory of the kernel.
type kernelUse struct {
	Sockets int64 `json:"sockets"`
	Buffers int64 `json:"buffers"` // bytes in socket buffers (sockstat)
	Slab    int64 `json:"slab"`    // bytes in kernel objects of every kind, sockets of both ends among them
}

// machineUse is the time of all CPUs together since the machine began.
type machineUse struct {
	Busy   time.Duration
	Stolen time.Duration // wanted, but given to other guests by the hypervisor
}

// servers are the processes of the server, as far as they can be seen.
type servers struct {
	pids []int
	at   netip.AddrPort // where they were found to listen; else zero
}

// use sums up over the processes. An error means that one of them has ended.
func (s *servers) use() (processUse, error) {
	var sum processUse
	for _, pid := range s.pids {
		u, err := use(pid)
		if err != nil {
			return sum, fmt.Errorf("server process %d: %w", pid, err)
		}
		sum.RSS += u.RSS
		sum.CPU += u.CPU
	}
	return sum, nil
}

// useAgain is use where one of them has ended, of those that listen now if there are any: a child of a server holds its sockets until it
// runs a program of its own, and is taken for another server. It reads the tables of all sockets: not for use under load.
func (s *servers) useAgain(ended error) (processUse, error) {
	if !s.at.IsValid() {
		return processUse{}, ended
	}
	found := listeners(s.at)
	if len(found) == 0 {
		return processUse{}, ended
	}
	s.pids = found
	return s.use()
}

// weigh returns resident and proportional memory, exactly.
func (s *servers) weigh() (rss, pss int64, err error) {
	for _, pid := range s.pids {
		r, p, err := weigh(pid)
		if err != nil {
			return rss, pss, fmt.Errorf("server process %d: %w", pid, err)
		}
		rss += r
		pss += p
	}
	return rss, pss, nil
}

// ownCPU is the CPU time of this process.
func ownCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
