package redistest

import (
	"fmt"
	"os"
)

// CutOffProcess is Freeze for the connections of one process of this machine, until RejoinProcess. Linux only.
func (p *Proxy) CutOffProcess(pid int, way Way) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := cut{pid, way}
	p.cuts = append(p.cuts, c)
	c.stop(p.links)
}

// RejoinProcess ends CutOffProcess, of all that were cut off.
func (p *Proxy) RejoinProcess() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts = nil
	for l := range p.links {
		l.cut = [2]bool{}
	}
	p.thawed.Broadcast()
}

// cut is a process that does not get through.
type cut struct {
	pid int
	way Way
}

// stop stops those links that are the process's. The caller holds the proxy's lock.
func (c cut) stop(links map[*link]struct{}) {
	held := map[string]bool{}
	dir := fmt.Sprintf("/proc/%d/fd/", c.pid)
	list, _ := os.ReadDir(dir)
	for _, one := range list {
		if to, err := os.Readlink(dir + one.Name()); err == nil {
			held[to] = true
		}
	}
	for l := range links {
		if l.inode == "" || !held[l.inode] {
			continue
		}
		for _, one := range []Way{ToServer, ToClient} {
			l.cut[one] = l.cut[one] || c.way.covers(one)
		}
	}
}
