package bench

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc: USER_HZ is 100 on every Linux architecture.
const tick = 10 * time.Millisecond

// listeners finds the processes that listen on addr's port, by the inodes of their sockets. Others'
// processes may be hidden from us: then there are none.
func listeners(addr netip.AddrPort) []int {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		listening(table, addr.Port(), inodes)
	}
	if len(inodes) == 0 {
		return nil
	}
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*/fd") // the pattern is well-formed
	for _, dir := range dirs {
		if holdsOne(dir, inodes) {
			pid, _ := strconv.Atoi(strings.Split(dir, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

func listening(table string, port uint16, inodes map[string]bool) {
	f, err := os.Open(table)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }() // only read
	want := fmt.Sprintf(":%04X", port)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && fields[3] == "0A" && strings.HasSuffix(fields[1], want) {
			inodes["socket:["+fields[9]+"]"] = true
		}
	}
}

func holdsOne(dir string, inodes map[string]bool) bool {
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, fd := range fds {
		if link, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && inodes[link] {
			return true
		}
	}
	return false
}

// use reads what one process has used so far.
func use(pid int) (processUse, error) {
	var u processUse
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name may hold anything, but is in parentheses
	fields := strings.Fields(rest)
	if len(fields) < 22 || fields[0] == "Z" {
		return u, errors.New("process has ended")
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	pages, err3 := strconv.ParseInt(fields[21], 10, 64)
	u.CPU = time.Duration(user+system) * tick
	u.RSS = pages * int64(os.Getpagesize())
	return u, errors.Join(err1, err2, err3)
}

// weigh reads the exact memory of one process. It makes the kernel walk its page tables: not for use
// under load.
func weigh(pid int) (rss, pss int64, err error) {
	values, err := colonFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	return values["Rss"] << 10, values["Pss"] << 10, err
}

// kernel reads what the kernel spends on sockets, of everyone.
func kernel() kernelUse {
	var k kernelUse
	if stat, err := os.ReadFile("/proc/net/sockstat"); err == nil {
		for line := range strings.Lines(string(stat)) {
			if fields := strings.Fields(line); len(fields) > 0 && fields[0] == "TCP:" {
				for i := 1; i+1 < len(fields); i += 2 {
					n, _ := strconv.ParseInt(fields[i+1], 10, 64) // a number, by the file's format
					switch fields[i] {
					case "inuse":
						k.Sockets = n
					case "mem":
						k.Buffers = n * int64(os.Getpagesize())
					}
				}
			}
		}
	}
	values, _ := colonFile("/proc/meminfo") // always there
	k.Slab = values["Slab"] << 10
	return k
}

// machine reads what all CPUs together have done.
func machine() machineUse {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return machineUse{}
	}
	return parseMachine(string(stat))
}

// parseMachine reads the first line of /proc/stat: "cpu", user, nice, system, idle, iowait, irq, softirq, steal
// (proc_stat(5)).
func parseMachine(stat string) (m machineUse) {
	line, _, _ := strings.Cut(stat, "\n")
	for i, field := range strings.Fields(line) {
		n, err := strconv.ParseInt(field, 10, 64)
		switch {
		case err != nil, n < 0:
		case i == 8:
			m.Stolen = time.Duration(n) * tick
		case i >= 1 && i <= 7 && i != 4 && i != 5:
			m.Busy += time.Duration(n) * tick
		}
	}
	return m
}
