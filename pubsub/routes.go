package pubsub

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// unowned is the number of partitions that nobody serves.
func (l *layout) unowned() (n int) {
	for _, addr := range l.partitions {
		if addr == "" {
			n++
		}
	}
	return n
}

// route is the master of partition p, or an error that says that there is none.
func (r *Redis) route(p byte) (*master, error) {
	if m := r.routes[p].Load(); m != nil {
		return m, nil
	}
	return nil, &unsent{errNobody}
}

// allMasters are the masters of now, by their addresses.
func (r *Redis) allMasters() []*master {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.masters), func(a, b *master) int { return strings.Compare(a.addr, b.addr) })
}

// partitionsAt are the partitions that m serves.
func (r *Redis) partitionsAt(m *master) (list []byte) {
	for p := range r.routes {
		if r.routes[p].Load() == m {
			list = append(list, byte(p))
		}
	}
	return list
}

// masterAt is the master at addr, nil if there is none.
func (r *Redis) masterAt(addr string) *master {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.masters[addr]
}

// arrange takes over who serves what. gone are the masters that serve nothing any more.
func (r *Redis) arrange(l layout) (changed bool, gone []*master) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.layout.Swap(&l)
	changed = old == nil || *old != l
	addrs := l.masters()
	for _, addr := range addrs {
		if r.masters[addr] == nil {
			r.masters[addr] = r.newMaster(addr)
		}
	}
	for addr, m := range r.masters {
		if !slices.Contains(addrs, addr) {
			gone = append(gone, m)
			delete(r.masters, addr)
		}
	}
	var lines [partitions]*line
	for p, addr := range l.partitions {
		m := r.masters[addr]
		r.routes[p].Store(m)
		if m != nil {
			lines[p] = m.line
		}
	}
	r.follows.place(&lines)
	return changed, gone
}

// apply takes over who serves what, and has it heard.
func (r *Redis) apply(crew *crew, l layout, why trigger) {
	changed, gone := r.arrange(l)
	if changed {
		r.stats.layouts[why].Add(1)
		r.presence.dueNow(allPartitions()...)
		if why != atStart {
			r.cfg.Log.Info().Str("trigger", triggerNames[why]).Strs("masters", l.masters()).Int("without_owner", l.unowned()).Msg("redis: other servers serve the partitions now")
		}
	}
	for _, m := range r.allMasters() {
		crew.start(m, func(ctx context.Context) {
			r.stayConnected(ctx, m.link, !r.names.sharded, func(int) *master { return m })
		})
		if changed {
			wake(m.again)
		}
	}
	for _, m := range gone {
		crew.stop(m)
	}
	if r.bus != nil {
		crew.startBus(func(ctx context.Context) { r.stayConnected(ctx, r.bus, true, r.busMaster) })
	}
}

// busMaster is the master on which what is classic is heard: another one after each failure.
func (r *Redis) busMaster(attempt int) *master {
	var addrs []string
	if l := r.layout.Load(); l != nil {
		addrs = l.masters()
	}
	for range addrs {
		if m := r.masterAt(addrs[attempt%len(addrs)]); m != nil {
			return m
		}
		attempt++
	}
	return nil
}

// closeMasters gives all connections back.
func (r *Redis) closeMasters() {
	for _, m := range r.allMasters() {
		_ = m.close()
	}
}

// crew are the goroutines that keep masters connected.
type crew struct {
	ctx     context.Context
	running sync.WaitGroup
	end     func()
	// Owned by the topology's goroutine.
	stops map[*master]func()
	bus   bool
}

func newCrew(ctx context.Context) *crew {
	c := &crew{stops: map[*master]func(){}}
	ctx, cancel := context.WithCancel(ctx)
	c.ctx = ctx
	c.end = func() {
		cancel()
		c.running.Wait()
	}
	return c
}

// start runs work for m, unless that is done already.
func (c *crew) start(m *master, work func(context.Context)) {
	if c.stops[m] != nil {
		return
	}
	ctx, stop := context.WithCancel(c.ctx)
	c.stops[m] = stop
	c.running.Go(func() { work(ctx) })
}

// stop ends the work for m. Calls that are under way to it on other connections have time to end.
func (c *crew) stop(m *master) {
	c.stops[m]()
	delete(c.stops, m)
	c.running.Go(func() {
		select {
		case <-time.After(2 * ioTimeout):
		case <-c.ctx.Done():
		}
		_ = m.close()
	})
}

func (c *crew) startBus(work func(context.Context)) {
	if !c.bus {
		c.bus = true
		c.running.Go(func() { work(c.ctx) })
	}
}
