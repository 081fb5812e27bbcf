package pubsub

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// askedNodes is how many nodes of a cluster are asked at a time: one that was cut off knows old things only.
const askedNodes = 5

// discoverGrace is how long other nodes may still answer once one node has reported a working cluster: a frozen node
// must not delay the news of its successor.
const discoverGrace = 100 * time.Millisecond

// cluster is the topology of a Redis Cluster: who serves which slots, its nodes say.
type cluster struct {
	r *Redis
	// Owned by watch.
	known   []string                 // addresses of nodes
	clients map[string]*redis.Client // by address
	// asking are the questions that are not answered yet. Nobody waits for them but close.
	asking sync.WaitGroup
}

func (r *Redis) newCluster() topology {
	return &cluster{r: r, known: r.address.Hosts, clients: map[string]*redis.Client{}}
}

// watch implements topology.
func (c *cluster) watch(ctx context.Context, t *triggers, report func(layout, trigger)) error {
	defer c.close()
	return keepDiscovering(ctx, t, func(why trigger) bool {
		view, err := c.discover(ctx)
		if view != nil {
			report(c.layout(view), why)
		} else if ctx.Err() == nil {
			c.r.trouble.Warn().Func(Because(err)).Int("nodes", len(c.known)).Msg("no node of the cluster answers with the masters of the slots")
		}
		return view != nil
	})
}

func (c *cluster) close() {
	for _, client := range c.clients {
		_ = client.Close()
	}
	c.asking.Wait()
}

// view is what a node says of the cluster.
type view struct {
	addr  string // the node's
	ok    bool   // it believes that the cluster works
	epoch uint64 // the largest that it has heard of
	slots []slotRange
}

// slotRange is an answer of CLUSTER SLOTS: who serves the slots from first to last, the master before its replicas.
type slotRange struct {
	first, last int64
	nodes       []string // addresses
}

// discover asks some nodes, and those of the URL if none of them answers. The answer of the node that knows the newest
// epoch counts. err is why one of them says nothing, if none says anything.
func (c *cluster) discover(ctx context.Context) (best *view, err error) {
	asked := slices.Clone(c.known)
	rand.Shuffle(len(asked), func(i, j int) { asked[i], asked[j] = asked[j], asked[i] })
	best, err = c.askAll(ctx, asked[:min(askedNodes, len(asked))])
	if best == nil {
		best, err = c.askAll(ctx, c.r.address.Hosts)
	}
	if best != nil {
		c.remember(best)
	}
	return best, err
}

func (c *cluster) askAll(ctx context.Context, addrs []string) (best *view, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	type answer struct {
		view *view
		err  error
	}
	answers := make(chan answer, len(addrs))
	for _, addr := range addrs {
		client := c.clients[addr]
		if client == nil {
			client = c.newClient(addr)
			c.clients[addr] = client
		}
		c.asking.Go(func() {
			v, err := ask(ctx, client, addr)
			answers <- answer{v, err}
		})
	}
	var late <-chan time.Time
	for range addrs {
		select {
		case a := <-answers:
			v := a.view
			err = cmp.Or(a.err, err)
			if v != nil && (best == nil || v.ok && !best.ok || v.ok == best.ok && v.epoch > best.epoch) {
				best = v
			}
		case <-late:
			return best, nil
		}
		if late == nil && best != nil && best.ok {
			late = time.After(discoverGrace)
		}
	}
	return best, err
}

func (c *cluster) newClient(addr string) *redis.Client {
	opt := *c.r.opt
	opt.Addr, opt.PoolSize, opt.MaxActiveConns = addr, 1, 1
	opt.DialTimeout, opt.ReadTimeout, opt.WriteTimeout = askTimeout, askTimeout, askTimeout
	opt.Dialer = dialWith(opt.TLSConfig)
	return redis.NewClient(&opt)
}

// ask is what the node at addr says.
func ask(ctx context.Context, client *redis.Client, addr string) (*view, error) {
	pipe := client.Pipeline()
	info, slots := pipe.ClusterInfo(ctx), pipe.Do(ctx, "cluster", "slots")
	if err := cmp.Or(exec(ctx, pipe), info.Err()); err != nil {
		return nil, err
	}
	list, err := slots.Slice()
	if err != nil {
		return nil, err
	}
	epoch, _ := strconv.ParseUint(infoField(info.Val(), "cluster_current_epoch"), 10, 64)
	v := &view{addr: addr, ok: infoField(info.Val(), "cluster_state") == "ok", epoch: epoch}
	for _, part := range list {
		v.slots = append(v.slots, v.parseRange(part))
	}
	return v, nil
}

// parseRange reads the first slot, the last, and the nodes: host, port and more of each. An entry of another form
// serves nothing.
func (v *view) parseRange(part any) (r slotRange) {
	first, ok := at(part, 0).(int64)
	last, good := at(part, 1).(int64)
	list, _ := part.([]any)
	if !ok || !good || len(list) < 3 {
		return slotRange{last: -1}
	}
	r.first, r.last = first, last
	for _, node := range list[2:] {
		if port, ok := at(node, 1).(int64); ok {
			r.nodes = append(r.nodes, v.address(str(node, 0), port))
		}
	}
	return r
}

// remember takes over which nodes there are.
func (c *cluster) remember(v *view) {
	var known []string
	for _, slots := range v.slots {
		known = append(known, slots.nodes...)
	}
	slices.Sort(known)
	if known = slices.Compact(known); len(known) == 0 {
		return // nobody serves anything: the ones that were known may know more soon
	}
	c.known = known
	for addr, client := range c.clients {
		if !slices.Contains(known, addr) {
			_ = client.Close()
			delete(c.clients, addr)
		}
	}
}

// address is where a node is reached. One of no host, "" or null or "?", is where the asked one is (CLUSTER SLOTS,
// cluster-preferred-endpoint-type).
func (v *view) address(host string, port int64) string {
	if host == "" || host == "?" {
		host, _, _ = net.SplitHostPort(v.addr)
	}
	return net.JoinHostPort(host, strconv.FormatInt(port, 10))
}

// layout says who serves the partitions' slots.
func (c *cluster) layout(v *view) (l layout) {
	owner := func(slot uint16) string {
		for _, slots := range v.slots {
			if int64(slot) >= slots.first && int64(slot) <= slots.last && len(slots.nodes) > 0 {
				return slots.nodes[0]
			}
		}
		return ""
	}
	for p := range l.partitions {
		l.partitions[p] = owner(slotOf("{" + tags[p] + "}"))
	}
	l.format = owner(slotOf(c.r.names.format()))
	return l
}
