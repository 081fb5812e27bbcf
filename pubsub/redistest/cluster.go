package redistest

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const slots = 16384

// ClusterSet is a cluster. A master that does not answer is replaced by its replica in 3 to 6 s.
//
// A server that is killed and restarted knows its cluster. Its data are gone, also a master's that comes back before
// it was missed. A master that was replaced comes back as a replica.
type ClusterSet struct {
	// Servers are the nodes. They begin with the masters, by their slots; then come the replicas, one of each
	// master, and again.
	Servers []*Server

	t       testing.TB
	masters int
	ids     map[string]*Server
}

// StartCluster starts masters, which share the slots as redis-cli deals them, with so many replicas each. It returns
// when all nodes agree and all replicas are in sync. See Start. No replica changes its master by itself, nor does a
// master that lost all its slots become one: cluster-allow-replica-migration is off.
func StartCluster(t testing.TB, masters, replicas int, list ...Option) *ClusterSet {
	t.Helper()
	o := read(list)
	set := &ClusterSet{t: t, masters: masters, ids: map[string]*Server{}}
	bus := map[*Server]string{}
	for range masters * (1 + replicas) {
		s := newServer(t, quick...)
		bus[s] = FreePort(t)
		s.args = append(s.args, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", bus[s],
			"--cluster-allow-replica-migration", "no")
		if o.proxied {
			s.proxied()
			s.args = append(s.args, "--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", s.publicPort(),
				"--cluster-announce-bus-port", bus[s])
		}
		s.args = append(s.args, o.args...)
		set.Servers = append(set.Servers, s)
	}
	startAll(t, set.Servers...)
	for i, s := range set.Servers {
		set.ids[s.id()] = s
		s.do("cluster", "set-config-epoch", strconv.Itoa(i+1))
		if i < masters {
			first, last := share(i, masters)
			s.do("cluster", "addslotsrange", strconv.Itoa(first), strconv.Itoa(last))
		}
		for _, other := range set.Servers[:i] {
			s.do("cluster", "meet", "127.0.0.1", other.publicPort(), bus[other])
		}
	}
	for i, s := range set.Servers[masters:] {
		id := set.Servers[i%masters].id()
		until(t, failover, func() string {
			if _, err := s.ask(glance, "cluster", "replicate", id); err != nil {
				return "replicate: " + err.Error() // a node that s has not met yet
			}
			return ""
		})
	}
	set.WaitHealthy()
	for i, s := range set.Servers[masters:] {
		if !s.isReplicaOf(set.Servers[i%masters]) {
			t.Fatalf("replica %d is not one of master %d", i, i%masters)
		}
	}
	return set
}

// share is the slots of master i of n, as redis-cli --cluster create deals them.
func share(i, n int) (first, last int) {
	each := float64(slots) / float64(n)
	cursor := 0.0
	for k := range n {
		last = int(math.Round(cursor + each - 1))
		if k == n-1 {
			last = slots - 1
		}
		if k == i {
			break
		}
		first, cursor = last+1, cursor+each
	}
	return first, last
}

// id is how the cluster names s, for as long as its directory lives.
func (s *Server) id() string {
	s.t.Helper()
	return fmt.Sprint(s.do("cluster", "myid"))
}

// URL is the set's REDIS_URL, of all nodes.
func (set *ClusterSet) URL() string { return "redis+cluster://" + publics(set.Servers) }

// Master is the server that has the slot. There may be none, or none that answers for seconds, which fails the test.
func (set *ClusterSet) Master(slot uint16) *Server {
	set.t.Helper()
	var owner *Server
	until(set.t, wait, func() string {
		owner = set.owner(set.askAll(), slot)
		return need(owner != nil, fmt.Sprintf("slot %d has no master", slot))
	})
	return owner
}

// WaitMaster waits until all servers that answer say that the cluster is well and that the slot is another server's.
func (set *ClusterSet) WaitMaster(slot uint16, not *Server) *Server {
	set.t.Helper()
	var owner *Server
	until(set.t, failover, func() string {
		views := set.askAll()
		owner = set.owner(views, slot)
		if owner == nil || owner == not {
			return fmt.Sprintf("slot %d has no other master", slot)
		}
		return set.disagreement(views, owner, slot)
	})
	return owner
}

// ReplicaOf waits until master has a replica that is in sync, and returns the first.
func (set *ClusterSet) ReplicaOf(master *Server) *Server {
	set.t.Helper()
	var replica *Server
	until(set.t, failover, func() string {
		i := slices.IndexFunc(set.Servers, func(s *Server) bool { return s.isReplicaOf(master) })
		if i < 0 {
			return "no replica of " + master.public()
		}
		replica = set.Servers[i]
		return ""
	})
	return replica
}

// Failover makes replica the master, though nothing is wrong, and waits until all nodes say so. No server may be
// frozen; the replica's master must answer.
func (set *ClusterSet) Failover(replica *Server) {
	set.t.Helper()
	again := time.Now()
	id := replica.id()
	until(set.t, failover, func() string {
		if !replica.isMaster() {
			if time.Now().Before(again) {
				return "the failover is not over"
			}
			again = time.Now().Add(6 * time.Second) // It gives up after 5. A second call would begin it anew.
			if _, err := replica.ask(glance, "cluster", "failover"); err != nil {
				again = time.Now()
				return "failover: " + err.Error()
			}
			return "the failover is not over"
		}
		for s, view := range set.askAll() {
			if n := view.nodes[id]; !n.master || n.spans == nil {
				return s.public() + " does not take it for a master"
			}
		}
		return ""
	})
}

// WaitHealthy waits until every node says that the cluster is well, and takes the same nodes for masters, as many as
// at the start, and for their replicas, which are in sync. No server may be killed or frozen.
func (set *ClusterSet) WaitHealthy() {
	set.t.Helper()
	until(set.t, failover, func() string {
		views := set.askAll()
		if len(views) < len(set.Servers) {
			return "not every node answers"
		}
		masters := 0
		for id, s := range set.ids {
			self := views[s].nodes[id]
			if self.master {
				masters++
			}
			for other, view := range views {
				n, known := view.nodes[id]
				if !view.ok || !known || len(view.nodes) != len(set.Servers) || n.unwell || n.master != self.master || n.of != self.of {
					return fmt.Sprintf("%s sees %s otherwise: %+v, well: %t", other.public(), s.public(), n, view.ok)
				}
			}
			if master := set.ids[self.of]; master != nil && !s.isReplicaOf(master) {
				return s.public() + " is not in sync"
			}
		}
		return need(masters == set.masters, fmt.Sprintf("%d masters", masters))
	})
}

// A view is how one node sees the cluster.
type view struct {
	self  string // its ID
	ok    bool   // cluster_state
	nodes map[string]node
}

type node struct {
	of     string // the master's ID
	master bool
	unwell bool // down, not reached or not known for certain
	epoch  int
	spans  [][2]int
}

// askAll asks every server for its view. Servers that do not answer are left out.
func (set *ClusterSet) askAll() map[*Server]view {
	views := map[*Server]view{}
	for _, s := range set.Servers {
		info, err := s.ask(glance, "cluster", "info")
		if err != nil {
			continue
		}
		list, err := s.ask(glance, "cluster", "nodes")
		if err != nil {
			continue
		}
		v := view{nodes: map[string]node{}, ok: strings.Contains(fmt.Sprint(info), "cluster_state:ok")}
		for line := range strings.Lines(fmt.Sprint(list)) {
			id, n, myself := parseNode(line)
			v.nodes[id] = n
			if myself {
				v.self = id
			}
		}
		views[s] = v
	}
	return views
}

// parseNode reads a line of CLUSTER NODES: id address flags master ping pong epoch link slots…
func parseNode(line string) (id string, n node, myself bool) {
	f := strings.Fields(line)
	if len(f) < 8 {
		return "", n, false
	}
	flags := strings.Split(f[2], ",")
	has := func(flag string) bool { return slices.Contains(flags, flag) }
	n.master = has("master")
	n.of = strings.Trim(f[3], "-")
	n.unwell = has("fail") || has("fail?") || has("handshake") || has("noaddr") || f[7] != "connected"
	n.epoch, _ = strconv.Atoi(f[6])
	for _, span := range f[8:] {
		first, last, ranged := strings.Cut(span, "-")
		if !ranged {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if err == nil && err2 == nil { // not [slot->-id], which is on its way
			n.spans = append(n.spans, [2]int{from, to})
		}
	}
	return f[0], n, has("myself")
}

func (n node) has(slot uint16) bool {
	return slices.ContainsFunc(n.spans, func(s [2]int) bool { return s[0] <= int(slot) && int(slot) <= s[1] })
}

// owner is the server that says of itself that it has the slot; of several the one with the highest epoch, which the
// others will believe.
func (set *ClusterSet) owner(views map[*Server]view, slot uint16) (owner *Server) {
	epoch := -1
	for s, v := range views {
		if n := v.nodes[v.self]; n.master && n.has(slot) && n.epoch > epoch {
			owner, epoch = s, n.epoch
		}
	}
	return owner
}

// disagreement names a node that says that the slot is not owner's, or that the cluster is not well.
func (set *ClusterSet) disagreement(views map[*Server]view, owner *Server, slot uint16) string {
	id := views[owner].self
	for s, v := range views {
		if !v.ok || !v.nodes[id].has(slot) {
			return s.public() + " disagrees"
		}
	}
	return ""
}

// MoveSlot moves a slot with its keys to another master, as redis-cli does: BeginMove, MoveKeys, End.
func (set *ClusterSet) MoveSlot(slot uint16, to *Server) {
	set.t.Helper()
	m := set.BeginMove(slot, to)
	m.MoveKeys(0)
	m.End()
}

// Move is a slot on its way.
type Move struct {
	slot     string
	from, to *Server
	set      *ClusterSet
}

// BeginMove has both masters know that the slot is on its way. From now on a command with a key that the old one
// does not have, or no longer, is answered ASK; one with several keys at both TRYAGAIN.
func (set *ClusterSet) BeginMove(slot uint16, to *Server) *Move {
	set.t.Helper()
	m := &Move{slot: strconv.Itoa(int(slot)), from: set.Master(slot), to: to, set: set}
	to.do("cluster", "setslot", m.slot, "importing", m.from.id())
	m.from.do("cluster", "setslot", m.slot, "migrating", to.id())
	return m
}

// MoveKeys moves so many keys, 0 for all, and returns how many there were.
func (m *Move) MoveKeys(most int) (moved int) {
	m.set.t.Helper()
	for most == 0 || moved < most {
		batch := 100
		if most > 0 {
			batch = min(batch, most-moved)
		}
		keys, _ := m.from.do("cluster", "getkeysinslot", m.slot, strconv.Itoa(batch)).([]any)
		if len(keys) == 0 {
			break
		}
		migrate := []string{"migrate", "127.0.0.1", m.to.port, "", "0", "10000", "keys"}
		for _, key := range keys {
			migrate = append(migrate, fmt.Sprint(key))
		}
		m.from.do(migrate...)
		moved += len(keys)
	}
	return moved
}

// End gives the slot to the new master; all masters are told, and replicas hear of it within a second. Keys that were
// not moved fail the test.
func (m *Move) End() {
	m.set.t.Helper()
	id := m.to.id()
	m.to.do("cluster", "setslot", m.slot, "node", id)
	m.from.do("cluster", "setslot", m.slot, "node", id)
	for _, s := range m.set.Servers {
		if s != m.to && s != m.from && s.isMaster() {
			s.do("cluster", "setslot", m.slot, "node", id)
		}
	}
}
