package pubsub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// link is what lives on from one subscriber connection to the next.
type link struct {
	line *line
	// probed is when a probe last came back, by the broker's stopwatch; before the first the time of birth.
	probed    atomic.Int64
	connected atomic.Bool
	// silent is true while there is no connection and no probe has come back for ProbeDeadline: who asks the server
	// something would wait in vain, and others with it.
	silent atomic.Bool
	// round numbers the probes, through all connections.
	round atomic.Uint64
	// again has a probe sent at once.
	again chan struct{}
}

func (r *Redis) newLink() *link {
	l := &link{line: newLine(), again: make(chan struct{}, 1)}
	l.probed.Store(r.stopwatch.now())
	return l
}

// ready is nil while probes come back by l from the server at addr.
func (l *link) ready(r *Redis, addr string) error {
	age := l.age(r)
	switch {
	case !l.connected.Load():
		return fmt.Errorf("%w: not connected to redis %s", ErrUnavailable, addr)
	case age > r.cfg.ProbeDeadline:
		return fmt.Errorf("%w: no probe came back from redis %s for %s", ErrUnavailable, addr, age.Round(time.Millisecond))
	}
	return nil
}

// age is the time since a probe last came back.
func (l *link) age(r *Redis) time.Duration {
	return time.Duration(r.stopwatch.now() - l.probed.Load())
}

// subscriber is one connection's life.
type subscriber struct {
	*Redis
	*link
	master *master
	feed   *feed
	// bus is true if classic channels are heard, sharded if those of partitions are heard by SSUBSCRIBE.
	bus, sharded bool
	// base are the channels that are always heard and not acknowledged yet. Owned by receive until ready.
	base []string
	// trial is the partition that probes go through, where that is sharded. Owned by ask.
	trial byte
	// estranged is true since the server ended the subscription of a channel of the node's own.
	estranged atomic.Bool
	// pong and probe are the last round that came back, each its own way; returned is the last
	// that came back both ways, or the last one before this connection. Owned by receive.
	pong, probe, returned uint64
	// refusal is the last error that the server answered to a batch of commands, reasons those that it answered to
	// commands of one channel. Owned by receive.
	refusal error
	reasons map[string]error
	// ready is closed when all of base is acknowledged.
	ready chan struct{}
	// answered is when a PING was last answered, by the broker's stopwatch.
	answered atomic.Int64
	// doomed ends the connection unless a round comes back in time.
	doomed *time.Timer
	// doubts are the topics whose log must be read.
	doubts doubts
}

var errLate = errors.New("no probe came back in time")

// stayConnected is one connection after the other, each to the master that pick says, until ctx ends.
func (r *Redis) stayConnected(ctx context.Context, l *link, bus bool, pick func(attempt int) *master) {
	for attempt := 0; ; attempt++ {
		wasConnected, addr, err := false, "", error(errNobody)
		if m := pick(attempt); m != nil {
			addr = m.addr
			wasConnected, err = r.connection(ctx, l, bus, m)
			if ctx.Err() == nil && err != nil && isPermission(err) {
				err = r.denied(ctx, m, err)
			}
		}
		if ctx.Err() != nil {
			return
		}
		r.stats.reconnects.Add(1)
		if l.age(r) >= r.cfg.ProbeDeadline {
			l.silent.Store(true)
		}
		if wasConnected && !errors.Is(err, errRefused) {
			attempt = 0
		}
		wait := r.backoff(attempt)
		r.trouble.Warn().Func(Because(err)).Str("redis", addr).Int64("retry_in_ms", wait.Milliseconds()).Msg("not connected to redis")
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// connection dials, subscribes and receives until ctx ends or the connection does, which err explains.
// wasConnected reports whether the server heard us.
func (r *Redis) connection(ctx context.Context, l *link, bus bool, m *master) (wasConnected bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	doomed := time.AfterFunc(r.cfg.ProbeDeadline, func() { cancel(errLate) })
	defer doomed.Stop()
	feed, end, err := r.dialFeed(ctx, m)
	if err != nil {
		r.triggers.pull(onDialError)
		return false, errors.Join(context.Cause(ctx), err)
	}
	defer end()
	s := &subscriber{
		Redis: r, link: l, master: m, feed: feed, bus: bus, sharded: r.names.sharded && !bus,
		ready: make(chan struct{}), returned: l.round.Load(), doomed: doomed,
		doubts: doubts{work: make(chan struct{}, 1)}, reasons: map[string]error{},
	}
	feed.flow.drained = s.delivery.handOver
	if err := s.subscribeBase(); err != nil {
		return false, fmt.Errorf("subscribe: %w", err)
	}
	parts := []func(context.Context) error{s.receive, s.write, s.ask}
	if s.hearsTopics() {
		parts = append(parts, s.catchUp)
	}
	var running sync.WaitGroup
	for _, part := range parts {
		running.Go(func() { cancel(part(ctx)) })
	}
	running.Wait()
	r.delivery.handOver() // what came before the end
	l.connected.Store(false)
	r.follows.end(l.line)
	if s.isHome() {
		r.list.setUnread("not connected to redis")
	}
	if err = context.Cause(ctx); errors.Is(err, errLate) && s.stopwatch.now()-s.answered.Load() < int64(s.cfg.ProbeDeadline/2) {
		err = cmp.Or(m.denial(), err) // it answers, and lets no probe through
	}
	return len(s.base) == 0, err
}

// hearsTopics reports whether topics are subscribed on this connection.
func (s *subscriber) hearsTopics() bool { return !s.bus || !s.names.sharded }

// isHome reports whether others reach this node by this connection.
func (s *subscriber) isHome() bool {
	return s.hearsTopics() && s.routes[s.Redis.home].Load() == s.master
}

// subscribeBase subscribes the channels that are always heard.
func (s *subscriber) subscribeBase() error {
	if s.sharded {
		s.trial = s.trialPartition()
		s.base = []string{s.names.node(s.trial, s.cfg.Node)}
		if s.isHome() && s.trial != s.Redis.home {
			s.base = append(s.base, s.mailbox)
		}
		for _, channel := range s.base {
			if err := s.feed.send("SSUBSCRIBE", channel); err != nil {
				return err
			}
		}
		return nil
	}
	s.base = []string{s.names.classicNode(s.cfg.Node), s.names.addressed, s.names.broadcast}
	if s.hearsTopics() {
		s.base = append(s.base, s.names.everyNode)
	} else {
		s.base = append(s.base, s.names.attributed)
	}
	return s.feed.send("SUBSCRIBE", s.base...)
}

// trialPartition is the partition that probes go through.
func (s *subscriber) trialPartition() byte {
	if p, ok := s.partitionAt(s.master); ok {
		return p
	}
	return s.trial
}

// receive takes what comes in, until the connection ends.
func (s *subscriber) receive(context.Context) error {
	for {
		h, err := s.feed.hear()
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		if err := s.handle(h); err != nil {
			return err
		}
	}
}

// handle takes one thing that was heard. After an error the connection is of no use.
func (s *subscriber) handle(h heard) error {
	if !s.expects(h) {
		return fmt.Errorf("%w: of channel %q", errProtocol, clip(h.channel))
	}
	switch h.signal {
	case message:
		s.dispatch(h.channel, h.payload)
	case oversize:
		s.stats.received.Add(1)
		s.drop(TooBig, h.channel)
	case pong:
		s.ponged(string(h.payload))
	case refused:
		return s.refuse(string(h.payload))
	case subscribed:
		s.acknowledge(h.channel)
	case unsubscribed:
		s.unsubscribed(h.channel)
	}
	return nil
}

// expects reports whether h is of a channel that this connection may hear of. The end of one that is always heard is
// not expected.
func (s *subscriber) expects(h heard) bool {
	switch h.signal {
	case pong, refused:
		return true
	case subscribed:
		return slices.Contains(s.base, h.channel) || s.isNode(h.channel) || s.names.isTopic(h.channel)
	case unsubscribed:
		return s.isNode(h.channel) && s.sharded || s.names.isTopic(h.channel)
	}
	return s.names.isTopic(h.channel) || s.isNode(h.channel) || s.bus && s.isClassic(h.channel)
}

// isClassic reports whether channel is one of those that are no topic's and no node's.
func (s *subscriber) isClassic(channel string) bool {
	n := &s.names
	return channel == n.broadcast || channel == n.addressed || channel == n.everyNode || n.sharded && channel == n.attributed
}

// acknowledge takes an answer to SUBSCRIBE.
func (s *subscriber) acknowledge(channel string) {
	if channel == s.mailbox && s.hearsTopics() {
		s.list.setUnread("others have come to reach this node just now") // what was said before was said to nobody
		wake(s.list.work)
	}
	switch {
	case len(s.base) > 0:
		if s.base = slices.DeleteFunc(s.base, func(base string) bool { return base == channel }); len(s.base) == 0 {
			close(s.ready)
			s.silent.Store(false)
			s.begin()
		}
	case s.isNode(channel):
	case s.follows.subscribed(s.line, channel):
		s.putInDoubt(channel)
	default:
		s.delivery.mu.Lock()
		done := s.confirm(channel, nil)
		s.delivery.unlock()
		answer(done)
	}
}

// begin has the topics subscribed, or where there are none, tells those who may have missed something on the bus.
func (s *subscriber) begin() {
	s.master.scripts.Store(nil) // the server may be another one, or have become a master again
	if s.hearsTopics() {
		s.presence.dueNow(s.partitionsAt(s.master)...) // it may have lost members
		s.follows.begin(s.line)
		return
	}
	if s.returned == 0 {
		return // nobody has heard anything yet
	}
	s.follows.each(func(channel string) {
		s.delivery.mu.Lock()
		defer s.delivery.unlock()
		if loops, c, _ := s.follows.followers(channel); c == nil {
			s.deliverStep(s.names.topicOf(channel), loops, nil, step{})
		} else if c.raw {
			s.deliverStep(s.names.topicOf(channel), loops, nil, step{at: c.last})
		}
	})
}

// isNode reports whether channel is one of this node's own.
func (s *subscriber) isNode(channel string) bool {
	return strings.HasSuffix(channel, s.ownSuffix) && s.own[channel]
}

// unsubscribed takes an answer to UNSUBSCRIBE, or the news that the server serves the channel's slot no more.
func (s *subscriber) unsubscribed(channel string) {
	switch {
	case s.isNode(channel):
		if channel == s.mailbox {
			s.list.setUnread("others can't reach this node")
		}
		s.estranged.Store(true)
		wake(s.again)
		s.lost(slotOf(channel))
	case !s.follows.unsubscribed(s.line, channel):
		s.lost(slotOf(channel))
	}
}

// lost says that the server does not serve a slot any more: its partition must be found again.
func (s *subscriber) lost(slot uint16) {
	p := partitionOf(slot)
	if slotOf("{"+tags[p]+"}") == slot && s.follows.lose(s.line, p) {
		s.triggers.pull(onUnheard)
	}
}

// partitionOf is the partition whose slot, if it has that of a partition, slot is.
func partitionOf(slot uint16) byte { return byte(slot / (clusterSlots / partitions)) }

// A PING with fenceMark is behind each batch of commands: when it is answered, the batch is. Where each channel has a
// command of its own, one with fenceOf and the channel is behind that.
const (
	fenceMark = "batch"
	fenceOf   = "of "
)

// ponged takes the answer to a PING: of a probe, or of a batch.
func (s *subscriber) ponged(text string) {
	if channel, one := strings.CutPrefix(text, fenceOf); one {
		if s.refusal != nil && len(s.reasons) < followBatch {
			s.reasons[channel] = s.refusal
		}
		s.refusal = nil
		return
	}
	if text != fenceMark {
		s.pong, _ = strconv.ParseUint(text, 10, 64)
		s.answered.Store(s.stopwatch.now())
		s.roundTrip()
		return
	}
	s.refusal = nil
	if refused := s.follows.answered(s.line); len(refused) > 0 {
		s.refuseChannels(refused)
	}
	clear(s.reasons)
}

// refuseChannels answers the Follows of channels that the server's ACL forbids with ErrRefused. Where the server only
// can't serve a channel for now, its Follows wait on.
func (s *subscriber) refuseChannels(channels []string) {
	var why error
	for _, channel := range channels {
		if why = s.reasons[channel]; why != nil && isPermission(why) {
			s.follows.refuse(channel, fmt.Errorf("follow: %w: %s", ErrRefused, why))
		} else if s.sharded {
			s.triggers.pull(onMoved)
		}
	}
	s.trouble.Error().Func(Because(why)).Int("topics", len(channels)).Msg("redis does not let topics be subscribed")
}

// refuse takes an error that the server answers: to a command of a batch, whose answers end with the fence. Before
// that, or where it is about the server as a whole, it ends the connection.
func (s *subscriber) refuse(text string) error {
	err := fmt.Errorf("%w: %s", errRefused, text)
	if len(s.base) > 0 && s.sharded {
		s.triggers.pull(onMoved)
	}
	if len(s.base) > 0 || !isPermission(err) && !(s.sharded && isOfSlot(text)) {
		return err // a fence may have been refused too, by a server that is loading
	}
	s.refusal = err
	if slot, ok := movedSlot(text); ok {
		s.estranged.Store(true) // it may have been a channel of this node's
		s.lost(slot)
	}
	return nil
}

// isOfSlot reports whether an error is about a command's slot, and not about the server.
func isOfSlot(text string) bool {
	switch kind, _, _ := strings.Cut(text, " "); kind {
	case "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN":
		return true
	}
	return false
}

// movedSlot is the slot that an error says another server serves.
func movedSlot(text string) (slot uint16, ok bool) {
	fields := strings.Fields(text)
	if len(fields) < 3 || fields[0] != "MOVED" && fields[0] != "ASK" {
		return 0, false
	}
	n, err := strconv.ParseUint(fields[1], 10, 16)
	return uint16(n), err == nil && n < clusterSlots
}

// write sends what the table of follows wants, batch after batch, each with a fence behind it.
func (s *subscriber) write(ctx context.Context) error {
	for {
		if b := s.follows.next(s.line); b.len() > 0 {
			if err := s.feed.sendAll(s.commands(b)); err != nil {
				return fmt.Errorf("subscribe: %w", err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.line.work:
		}
	}
}

// commands are those of a batch, with a fence behind them.
func (s *subscriber) commands(b batch) (list []command) {
	on, off := "SUBSCRIBE", "UNSUBSCRIBE"
	if s.sharded {
		on, off = "SSUBSCRIBE", "SUNSUBSCRIBE"
	}
	if b.apart {
		for _, channel := range b.subscribe {
			list = append(list, command{on, []string{channel}}, command{"PING", []string{fenceOf + channel}})
		}
	} else {
		for _, channels := range s.groups(b.subscribe) {
			list = append(list, command{on, channels})
		}
	}
	for _, channels := range s.groups(b.unsubscribe) {
		list = append(list, command{off, channels})
	}
	return append(list, command{"PING", []string{fenceMark}})
}

// groups are channels as commands may name them together: of one slot, where that matters.
func (s *subscriber) groups(channels []string) (groups [][]string) {
	switch {
	case len(channels) == 0:
		return nil
	case !s.sharded:
		return [][]string{channels}
	}
	var of [partitions][]string
	for _, channel := range channels {
		p := partition(s.names.topicOf(channel))
		of[p] = append(of[p], channel)
	}
	for _, group := range of {
		if len(group) > 0 {
			groups = append(groups, group)
		}
	}
	return groups
}

// dispatch hands one message to its receiver, or drops it.
func (s *subscriber) dispatch(channel string, data []byte) {
	s.stats.received.Add(1)
	switch {
	case s.bus && channel == s.names.broadcast:
		s.arrive(s.broadcastChannel, Event{Data: data}, false)
	case s.bus && channel == s.names.addressed:
		topic, data, why, ok := parseAddressed(data, s.cfg.MaxMessage)
		if !ok {
			s.drop(why, channel)
			return
		}
		s.arrive(s.names.topic(topic), Event{Data: data}, true)
	case s.bus && channel == s.names.attributed:
		if ev, ok := parsePayload(data); ok && ev.Position.IsZero() { // what has a position comes from its log's server
			s.arrive(s.broadcastChannel, ev, false)
		} else {
			s.drop(BadEnvelope, channel)
		}
	case s.bus && channel == s.names.everyNode, s.isNode(channel):
		s.hear(channel, string(data))
	case s.names.sharded && !s.follows.hears(channel, s.line): // it has moved
		s.follows.stray(s.line, channel)
	default:
		s.hearTopic(channel, data)
	}
}

// hearTopic takes a message on a topic's channel.
func (s *subscriber) hearTopic(channel string, data []byte) {
	if last, ok := parseRemoved(data); ok {
		s.forgetUpTo(s.names.topicOf(channel), last)
		return
	}
	if isMoved(data) {
		s.hearMoved(channel, data)
		return
	}
	ev, ok := parsePayload(data)
	if !ok {
		s.drop(BadEnvelope, channel)
		return
	}
	if !s.arrive(channel, ev, false) {
		s.follows.stray(s.line, channel)
	}
}

func (r *Redis) drop(why Drop, channel string) { r.drops(why, 1, channel) }

// drops counts n, which may be none, and logs in samples that there were some.
func (r *Redis) drops(why Drop, n uint64, channel string) {
	if n == 0 {
		return
	}
	r.stats.drops[why].Add(n)
	r.flood.Warn().Stringer("reason", why).Str("channel", channel).Msg("dropped a message from redis")
}
