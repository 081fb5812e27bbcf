package pubsub

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// node is a master of a cluster as a subscriber sees one: it serves partitions, ends subscriptions when it serves
// them no more, and answers in order.
type node struct {
	addr string
	down bool // CLUSTERDOWN
	// of is the master that the node is a replica of since a failover: what is published there it hands on.
	of   *node
	conn *subscription
}

// subscription is a connection to a node: what was sent and not executed, and what was answered and not read.
type subscription struct {
	*subscriber
	node       *node
	subscribed map[string]bool
	sent       []command
	answers    []heard
	readings   []modelReading
}

// modelReading is a reading of a log that is under way: what it found.
type modelReading struct {
	doubtful
	found excerpt
	whole bool // its events were read, too
}

// heardTopic is what the followers of a topic were told, by loop, against what was published.
type heardTopic struct {
	published int
	// next is the number of the first event that each loop may expect; 0 before it was told that events arrive.
	next map[int]int
	// untold is true for a loop whose Follow was refused: a gap must tell it that events arrive.
	untold map[int]bool
	// last is the last event that was delivered.
	last int
	// torn is true since a Follow failed: there may be a gap for no loss.
	torn bool
}

// lineModel is a table of follows on lines to several nodes, by the code that reads their answers.
type lineModel struct {
	rt     *rapid.T
	r      *Redis
	nodes  []*node
	owners [partitions]*node // the truth
	denied map[string]bool   // by channel
	topics map[string]*heardTopic
	wanted map[string]Loops

	asked, answered int
}

func (m *lineModel) Deliver(ev *Event, loops Loops) {
	n, _ := strconv.Atoi(string(ev.Data))
	h := m.topics[ev.Topic]
	if n <= h.last {
		m.rt.Fatalf("%s: %d after %d", ev.Topic, n, h.last)
	}
	h.last = n
	for loop := range loops.All {
		if at := h.next[loop]; at > 0 {
			if n > at {
				m.rt.Fatalf("%s: loop %d got %d, and nothing of %d", ev.Topic, loop, n, at)
			}
			h.next[loop] = max(at, n+1)
		}
	}
}

func (m *lineModel) Gap(topic string, loops Loops, loss Loss) {
	at := loss.At
	h := m.topics[topic]
	next := h.published + 1
	if m.kept(topic) {
		if !h.torn {
			m.rt.Fatalf("%s: a gap at %s, and the log has lost nothing", topic, at)
		}
		next = int(at.ID.Ms-logBegin) + 1
	}
	h.torn = false
	for loop := range loops.All {
		h.next[loop] = next
		h.untold[loop] = false
	}
}

func (*lineModel) Moved(*Moved, Loops) {}
func (*lineModel) HandOver()           {}

// logBegin is the time of what is before the first event of a log.
const logBegin = 1000

func (m *lineModel) kept(topic string) bool {
	_, kept := m.r.cfg.History.For(topic)
	return kept
}

// event is a topic's n'th.
func (m *lineModel) event(topic string, n int) *Event {
	ev := &Event{Topic: topic, Data: []byte(strconv.Itoa(n))}
	if m.kept(topic) {
		ev.Position, ev.Number = Position{1, ID{logBegin + uint64(n), 1}}, uint64(n)
		if n > 1 {
			ev.Before = ID{logBegin + uint64(n) - 1, 1}
		}
	}
	return ev
}

// log is what a reading behind since finds.
func (m *lineModel) log(topic string, since Position) excerpt {
	h := m.topics[topic]
	x := excerpt{epoch: 1, number: uint64(h.published), now: logBegin + uint64(h.published), life: time.Hour}
	for n := 1; n <= h.published; n++ {
		ev := m.event(topic, n)
		x.last = ev.Position.ID
		if x.newest = x.last; x.last.Compare(since.ID) > 0 {
			x.events, x.read = append(x.events, ev), x.last
		}
	}
	return x
}

// catchUp begins to read logs, or ends one of the readings.
func (m *lineModel) catchUp(c *subscription) bool {
	if len(c.readings) == 0 {
		c.startReading(m, c.doubts.take(headBatch), false)
		return len(c.readings) > 0
	}
	one := c.readings[0]
	c.readings = c.readings[1:]
	again := false
	if one.whole {
		again = c.goOn(one.doubtful, &one.found)
	} else {
		again = !c.endDoubt(one.doubtful, &one.found)
	}
	if again {
		c.startReading(m, []string{one.channel}, true)
	}
	return true
}

func (c *subscription) startReading(m *lineModel, channels []string, whole bool) {
	for _, d := range c.beginReading(channels) {
		c.readings = append(c.readings, modelReading{d, m.log(c.names.topicOf(d.channel), d.since), whole})
	}
}

func (m *lineModel) channel(topic string) string { return m.r.names.topic(topic) }

func (m *lineModel) follow(topic string, loop int) {
	h := m.topics[topic]
	m.wanted[topic] = m.wanted[topic].With(loop)
	m.asked++
	calls := 0
	m.r.Follow(topic, loop, func(err error) {
		m.answered++
		if calls++; calls > 1 {
			m.rt.Fatalf("%s was answered twice", topic)
		}
		switch {
		case !m.wanted[topic].Has(loop):
		case err == nil:
			if h.next[loop] == 0 {
				h.next[loop] = h.published + 1
			}
			h.untold[loop] = false
		default:
			h.torn = true
			if h.next[loop] == 0 {
				h.untold[loop] = true
			}
		}
	})
}

func (m *lineModel) unfollow(topic string, loop int) {
	h := m.topics[topic]
	m.wanted[topic] = m.wanted[topic].Without(loop)
	delete(h.next, loop)
	delete(h.untold, loop)
	m.r.Unfollow(topic, loop)
}

// move gives a partition to another node, nil for nobody. The old one ends its subscriptions.
func (m *lineModel) move(p byte, to *node) {
	from := m.owners[p]
	if from == to || to != nil && to.of != nil {
		return
	}
	m.owners[p] = to
	if from == nil || from.conn == nil {
		return
	}
	for topic := range m.topics {
		if channel := m.channel(topic); partition(topic) == p && from.conn.subscribed[channel] {
			delete(from.conn.subscribed, channel)
			from.conn.answers = append(from.conn.answers, heard{signal: unsubscribed, channel: channel})
		}
	}
}

// failOver makes a replica of a node, and another one the master of its partitions. Its connections stay.
func (m *lineModel) failOver(from, to *node) {
	if from == to || to.of != nil {
		return
	}
	from.of = to
	for p, owner := range m.owners {
		if owner == from {
			m.owners[p] = to
		}
	}
	for _, n := range m.nodes {
		if n.of == from {
			n.of = to
		}
	}
}

// arrange has the broker take over a map.
func (m *lineModel) arrange(owners *[partitions]*node) {
	var l layout
	for p, n := range owners {
		if n != nil {
			l.partitions[p] = n.addr
		}
	}
	_, gone := m.r.arrange(l)
	for _, master := range gone {
		_ = master.close()
	}
}

// stop ends the connection to a node that the broker needs no more.
func (m *lineModel) stop(n *node) {
	if n.conn != nil && n.conn.master != m.r.masterAt(n.addr) {
		m.disconnect(n)
	}
}

func (m *lineModel) connect(n *node) {
	master := m.r.masterAt(n.addr)
	if master == nil || n.conn != nil && n.conn.master == master || n.of != nil {
		return
	}
	n.conn = &subscription{subscriber: &subscriber{
		Redis: m.r, link: master.link, master: master, sharded: true, doubts: doubts{work: make(chan struct{}, 1)}, reasons: map[string]error{},
	}, node: n, subscribed: map[string]bool{}}
	n.conn.begin()
}

func (m *lineModel) disconnect(n *node) {
	if n.conn != nil {
		m.r.follows.end(n.conn.line)
		n.conn = nil
	}
}

// send is the connection's writer.
func (c *subscription) send() bool {
	b := c.follows.next(c.line)
	if b.len() == 0 {
		return false
	}
	c.sent = append(c.sent, c.commands(b)...)
	return true
}

// execute has the node do the oldest command.
func (m *lineModel) execute(c *subscription) bool {
	if len(c.sent) == 0 {
		return false
	}
	cmd := c.sent[0]
	c.sent = c.sent[1:]
	answer := func(s signal, channel, text string) {
		c.answers = append(c.answers, heard{signal: s, channel: channel, payload: []byte(text)})
	}
	if cmd.name == "PING" {
		answer(pong, "", cmd.args[0])
		return true
	}
	slot := slotOf(cmd.args[0])
	owner := m.owners[partitionOf(slot)]
	for _, channel := range cmd.args {
		if slotOf(channel) != slot {
			m.rt.Fatalf("%q in one command", cmd.args)
		}
	}
	for _, channel := range cmd.args {
		if m.denied[channel] && cmd.name == "SSUBSCRIBE" {
			answer(refused, "", "NOPERM this user has no permissions")
			return true
		}
	}
	switch {
	case c.node.down:
		answer(refused, "", "CLUSTERDOWN The cluster is down")
	case owner == nil:
		answer(refused, "", "CLUSTERDOWN Hash slot not served")
	case owner != c.node:
		answer(refused, "", fmt.Sprintf("MOVED %d %s", slot, owner.addr))
	default:
		for _, channel := range cmd.args {
			if cmd.name == "SSUBSCRIBE" {
				c.subscribed[channel] = true
				answer(subscribed, channel, "")
			} else {
				delete(c.subscribed, channel)
				answer(unsubscribed, channel, "")
			}
		}
	}
	return true
}

// read is the connection's reader.
func (m *lineModel) read(c *subscription) bool {
	if len(c.answers) == 0 {
		return false
	}
	h := c.answers[0]
	c.answers = c.answers[1:]
	if err := c.handle(h); err != nil {
		m.disconnect(c.node)
	}
	return true
}

// again is what the connection does from time to time.
func (m *lineModel) again(c *subscription) { c.follows.again(c.line) }

func (m *lineModel) publish(topic string) {
	owner := m.owners[partition(topic)]
	if owner == nil {
		return
	}
	h := m.topics[topic]
	h.published++
	ev := m.event(topic, h.published)
	payload := ev.Data
	if m.kept(topic) {
		payload = appendEnvelope(nil, ev)
	}
	for _, n := range m.nodes {
		if c := n.conn; (n == owner || n.of == owner) && c != nil && c.subscribed[m.channel(topic)] {
			c.answers = append(c.answers, heard{signal: message, channel: m.channel(topic), payload: payload})
		}
	}
}

func (m *lineModel) expire(after time.Duration) {
	for {
		late, next := m.r.follows.expire(m.r.follows.clock() + int64(after))
		for _, done := range late {
			done(ErrUnavailable)
		}
		if next == 0 || next > m.r.follows.clock()+int64(after) {
			return
		}
	}
}

// quiesce heals all servers, and goes on until nothing is under way.
func (m *lineModel) quiesce() {
	clear(m.denied)
	for _, n := range m.nodes {
		if n.down = false; n.of != nil { // it comes back, and has nothing
			m.disconnect(n)
			n.of = nil
		}
	}
	m.expire(time.Hour)
	published := false
	for round := 0; ; round++ {
		if round == 1000 {
			m.rt.Fatalf("it does not come to rest")
		}
		m.arrange(&m.owners)
		busy := false
		for _, n := range m.nodes {
			m.stop(n)
			m.connect(n)
			if n.conn == nil {
				continue
			}
			m.again(n.conn)
			busy = n.conn.send() || busy
			for n.conn != nil && m.execute(n.conn) {
				busy = true
			}
			for n.conn != nil && m.read(n.conn) {
				busy = true
			}
			for n.conn != nil && m.catchUp(n.conn) {
				busy = true
			}
		}
		switch {
		case busy:
		case published:
			return
		default: // what is left subscribed by mistake shows when there is something to hear
			published = true
			for topic := range m.topics {
				m.publish(topic)
			}
		}
	}
}

// assertPromises compares the broker, at rest, with the promises.
func (m *lineModel) assertPromises() {
	if m.asked != m.answered {
		m.rt.Errorf("%d answers to %d follows", m.answered, m.asked)
	}
	for topic, h := range m.topics {
		channel, owner := m.channel(topic), m.owners[partition(topic)]
		f, known := m.r.follows.topics.get(channel)
		if wanted := m.wanted[topic] != 0; known != wanted || f.loops != m.wanted[topic] {
			m.rt.Errorf("%s is wanted: %b, and in the table: %t, %b", topic, m.wanted[topic], known, f.loops)
		}
		for _, n := range m.nodes {
			want := n == owner && m.wanted[topic] != 0
			if got := n.conn != nil && n.conn.subscribed[channel]; got != want {
				m.rt.Errorf("%s is subscribed at %s: %t, want %t (phase %d, queued %t)", topic, n.addr, got, want, f.phase, f.queued)
			}
		}
		if owner == nil {
			continue
		}
		for loop := range m.wanted[topic].All {
			if h.untold[loop] {
				if m.kept(topic) {
					continue // the events' links show what it missed
				}
				m.rt.Errorf("%s: loop %d was refused, and never told that events arrive", topic, loop)
			}
			if h.next[loop] != h.published+1 {
				m.rt.Errorf("%s: loop %d has what lies before %d, and %d were published", topic, loop, h.next[loop], h.published)
			}
		}
	}
}

// modelTopics are two topics in each of three partitions.
func modelTopics() (list []string, parts []byte) {
	for _, first := range []string{"a", "b", "c"} {
		list = append(list, first, neighbour(first))
		parts = append(parts, partition(first))
	}
	return list, parts
}

// TestFollowersHearOfEveryEventOnLinesThatChange moves partitions between servers, there and back and to nobody,
// while topics are followed and left, maps are late, connections end and servers refuse: each Follow is answered
// once, no event comes twice or is missing untold, and when all is quiet exactly the topics that somebody follows
// are subscribed, each at the server that has it.
func TestFollowersHearOfEveryEventOnLinesThatChange(t *testing.T) {
	topics, parts := modelTopics()
	rapid.Check(t, func(rt *rapid.T) {
		r, err := NewRedis(RedisConfig{URL: "redis+cluster://127.0.0.1:1", Node: "n", FollowTimeout: time.Minute, Linger: time.Nanosecond, History: History{{Prefix: "c:", Count: 10}}})
		if err != nil {
			rt.Fatal(err)
		}
		defer r.closeMasters()
		m := &lineModel{rt: rt, r: r, denied: map[string]bool{}, topics: map[string]*heardTopic{}, wanted: map[string]Loops{}}
		r.delivery.sink = m
		for i := range 3 {
			m.nodes = append(m.nodes, &node{addr: fmt.Sprint("127.0.0.1:", i+1)})
		}
		for i, p := range parts {
			m.owners[p] = m.nodes[i]
		}
		for _, topic := range topics {
			m.topics[topic] = &heardTopic{next: map[int]int{}, untold: map[int]bool{}}
		}
		topic, loop := rapid.SampledFrom(topics), rapid.IntRange(0, 1)
		anyNode := rapid.SampledFrom(m.nodes)
		somebody := rapid.SampledFrom(append([]*node{nil}, m.nodes...))
		connected := func(rt *rapid.T) *subscription {
			n := anyNode.Draw(rt, "node")
			if n.conn == nil {
				rt.Skip()
			}
			return n.conn
		}
		m.arrange(&m.owners)
		rt.Repeat(map[string]func(*rapid.T){
			"follow":   func(rt *rapid.T) { m.follow(topic.Draw(rt, "topic"), loop.Draw(rt, "loop")) },
			"unfollow": func(rt *rapid.T) { m.unfollow(topic.Draw(rt, "topic"), loop.Draw(rt, "loop")) },
			"publish":  func(rt *rapid.T) { m.publish(topic.Draw(rt, "topic")) },
			"time":     func(*rapid.T) { m.expire(0) },
			"late":     func(*rapid.T) { m.expire(time.Hour) },
			"move": func(rt *rapid.T) {
				m.move(rapid.SampledFrom(parts).Draw(rt, "partition"), somebody.Draw(rt, "to"))
			},
			"failover": func(rt *rapid.T) { m.failOver(anyNode.Draw(rt, "from"), anyNode.Draw(rt, "to")) },
			"recover": func(rt *rapid.T) {
				if n := anyNode.Draw(rt, "node"); n.of != nil && n.conn == nil {
					n.of = nil
				}
			},
			"catch up": func(rt *rapid.T) { m.catchUp(connected(rt)) },
			"look":     func(*rapid.T) { m.arrange(&m.owners) },
			"stale": func(rt *rapid.T) {
				stale := m.owners
				for _, p := range parts {
					stale[p] = somebody.Draw(rt, "believed")
				}
				m.arrange(&stale)
			},
			"stop":       func(rt *rapid.T) { m.stop(anyNode.Draw(rt, "node")) },
			"connect":    func(rt *rapid.T) { m.connect(anyNode.Draw(rt, "node")) },
			"disconnect": func(rt *rapid.T) { m.disconnect(anyNode.Draw(rt, "node")) },
			"deny": func(rt *rapid.T) {
				channel := m.channel(topic.Draw(rt, "topic"))
				m.denied[channel] = !m.denied[channel]
			},
			"down":    func(rt *rapid.T) { n := anyNode.Draw(rt, "node"); n.down = !n.down },
			"again":   func(rt *rapid.T) { m.again(connected(rt)) },
			"send":    func(rt *rapid.T) { connected(rt).send() },
			"execute": func(rt *rapid.T) { m.execute(connected(rt)) },
			"read":    func(rt *rapid.T) { m.read(connected(rt)) },
			"batch": func(rt *rapid.T) {
				c := connected(rt)
				for c.send(); m.execute(c); {
				}
				for c.node.conn == c && m.read(c) {
				}
			},
		})
		m.quiesce()
		m.assertPromises()
	})
}
