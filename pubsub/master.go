package pubsub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// master is a server that serves partitions, or all there are: how this node publishes to it, reads from it and
// hears it. Any goroutine may use it.
type master struct {
	// Fixed at birth.
	addr   string
	opt    *redis.Options
	pub    *redis.Client // publishes and reads
	prober *redis.Client // one connection of its own: a full pool is no reason to doubt the server
	*link                // its subscriber connection

	scripts atomic.Pointer[scripts] // nil until the server said who it is
	clock   serverClock
	refusal refusal
	// inspected is set once the server's version and settings were read.
	inspected atomic.Bool
	// replica is true while the server says that it is one.
	replica atomic.Bool
	// misaddressed is true if the server is a cluster's, and the URL says otherwise.
	misaddressed atomic.Bool

	touch string // the last one that it confirmed; keepBoot's, see touchMasters
}

// errReplica: the server is a replica. Only its own subscribers hear an event that is published there.
var errReplica = errors.New("this redis is a replica")

func (r *Redis) newMaster(addr string) *master {
	opt := *r.opt
	opt.Addr = addr
	m := &master{addr: addr, opt: &opt, link: r.newLink(), clock: serverClock{stopwatch: newStopwatch()}}
	opt.OnConnect = func(ctx context.Context, conn *redis.Conn) error { return m.askRole(ctx, conn, r.triggers.pull) }
	dial := r.watched(answered(dialWith(opt.TLSConfig)))
	m.pub, m.prober = m.newClient(r.cfg.PoolSize, dial), m.newClient(1, dial)
	return m
}

func (m *master) newClient(connections int, dial dialer) *redis.Client {
	opt := *m.opt
	opt.PoolSize, opt.MaxActiveConns = connections, connections
	opt.Dialer = dial
	return redis.NewClient(&opt)
}

// watched is dial, and pulls a trigger of the topology when it fails.
func (r *Redis) watched(dial dialer) dialer {
	return func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		if conn, err = dial(ctx, network, addr); err != nil {
			r.triggers.pull(onDialError)
		}
		return conn, err
	}
}

// askRole is an error if the server at the other end of a new connection is a replica. It was sent nothing else then.
func (m *master) askRole(ctx context.Context, conn *redis.Conn, pull func(trigger)) error {
	reply, err := conn.Do(ctx, "role").Slice()
	switch {
	case redis.IsPermissionError(err): // READONLY and late probes must do
		return nil
	case err != nil:
		return &unsent{fmt.Errorf("ask redis for its role: %w", err)}
	}
	return m.judgeRole(str(reply, 0), pull)
}

// judgeRole is an errReplica if that is what a server says it is.
func (m *master) judgeRole(role string, pull func(trigger)) error {
	m.replica.Store(role == "slave")
	if role != "slave" {
		return nil
	}
	pull(onReplica)
	return &unsent{errReplica}
}

// ready is nil while probes come back and the server takes writes.
func (m *master) ready(r *Redis) error {
	switch {
	case m.misaddressed.Load():
		return fmt.Errorf("%w: %w", ErrRefused, errIsCluster)
	case m.replica.Load():
		return fmt.Errorf("%w: redis %s is a replica", ErrUnavailable, m.addr)
	}
	if denial := m.denial(); denial != nil {
		return denial // that probes are late follows from it
	}
	return cmp.Or(m.link.ready(r, m.addr), m.refusal.err(m.addr))
}

// denial names the rights that the user lacks, for all that is known; nil for none.
func (m *master) denial() error {
	if refused := m.refusal.err(m.addr); refused != nil && isPermission(refused) {
		return refused
	}
	return nil
}

// close gives the connections back.
func (m *master) close() error { return cmp.Or(m.pub.Close(), m.prober.Close()) }
