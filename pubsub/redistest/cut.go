package redistest

import (
	"fmt"
	"net"
	"os"
	"strings"
)

// CutOffProcess is Freeze for the connections of one process of this machine, until RejoinProcess. Linux only.
func (p *Proxy) CutOffProcess(pid int, way Way) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts = append(p.cuts, cut{pid: pid, way: way, conns: map[net.Conn]bool{}})
}

// RejoinProcess ends CutOffProcess, of all that were cut off.
func (p *Proxy) RejoinProcess() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts = nil
	p.thawed.Broadcast()
}

// cut is a process that does not get through.
type cut struct {
	pid   int
	way   Way
	conns map[net.Conn]bool // whether they are the process's, by our end of the client's connection
}

// cutsOff reports whether what goes this way over a client's connection is stopped. The caller holds p.mu.
func (p *Proxy) cutsOff(client net.Conn, way Way) bool {
	for _, c := range p.cuts {
		if !c.way.covers(way) {
			continue
		}
		is, known := c.conns[client]
		if !known {
			is = holds(c.pid, client)
			c.conns[client] = is
		}
		if is {
			return true
		}
	}
	return false
}

// holds reports whether process pid has the other end of conn: its port is in proc(5)'s net/tcp, with the inode that one
// of the process's descriptors is of.
func holds(pid int, conn net.Conn) bool {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return false
	}
	port := fmt.Sprintf(":%04X", conn.RemoteAddr().(*net.TCPAddr).Port)
	inodes := map[string]bool{}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 9 && strings.HasSuffix(f[1], port) {
			inodes["socket:["+f[9]+"]"] = true
		}
	}
	dir := fmt.Sprintf("/proc/%d/fd/", pid)
	list, _ := os.ReadDir(dir)
	for _, one := range list {
		if to, err := os.Readlink(dir + one.Name()); err == nil && inodes[to] {
			return true
		}
	}
	return false
}
