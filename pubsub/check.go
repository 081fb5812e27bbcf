package pubsub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Report is what Check found: who was asked for the masters, then the masters, by their address.
type Report []Finding

// Finding is what Check found at one server.
type Finding struct {
	// Server is what it is and where, as in "redis 127.0.0.1:6379".
	Server string
	// Facts are for people.
	Facts []string
	// Doubts say what may fail one day, Faults why a hub can't use the server.
	Doubts, Faults []string
}

func (f *Finding) fact(format string, args ...any) {
	f.Facts = append(f.Facts, fmt.Sprintf(format, args...))
}

func (f *Finding) doubt(format string, args ...any) {
	f.Doubts = append(f.Doubts, fmt.Sprintf(format, args...))
}

func (f *Finding) fault(format string, args ...any) {
	f.Faults = append(f.Faults, fmt.Sprintf(format, args...))
}

// String is one line.
func (f Finding) String() string {
	parts := slices.Clone(f.Facts)
	for _, doubt := range f.Doubts {
		parts = append(parts, "doubtful: "+doubt)
	}
	for _, fault := range f.Faults {
		parts = append(parts, "FAULT: "+fault)
	}
	return f.Server + ": " + strings.Join(parts, "; ")
}

// Err is nil if a hub can use all servers.
func (list Report) Err() error {
	var errs []error
	for _, f := range list {
		for _, fault := range f.Faults {
			errs = append(errs, fmt.Errorf("%s: %s", f.Server, fault))
		}
	}
	return errors.Join(errs...)
}

// trialTime is how long what a check writes lives.
const trialTime = 2 * time.Second

// Check tries, on each master, all that Run and the other methods will do there, with what the user may do. It uses
// topics and keys of its own, of random names, which expire within two seconds: nobody hears anything. A missing right
// is named as a word of ACL SETUSER, all of them at once. It ends with ctx at the latest. The broker is of no use
// after it.
func (r *Redis) Check(ctx context.Context) Report {
	defer r.closeMasters()
	l, report := r.topology.inspect(ctx)
	r.arrange(l)
	masters := r.allMasters()
	findings := make([]Finding, len(masters))
	var running sync.WaitGroup
	for i, m := range masters {
		running.Go(func() { findings[i] = r.checkMaster(ctx, m, masters[(i+1)%len(masters)]) })
	}
	running.Wait()
	report = append(report, findings...)
	if missing := l.unowned(); missing > 0 && len(masters) > 0 {
		report = append(report, Finding{Server: "cluster", Faults: []string{
			fmt.Sprintf("nobody serves %d of %d partitions", missing, partitions),
		}})
	}
	return report
}

// trial is a check of one master.
type trial struct {
	*Redis
	*Finding
	m    *master
	p    byte   // one of its partitions
	name string // of the trial's topic, and of what else is its own
}

// checkMaster checks m. other is another master, or m if there is none.
func (r *Redis) checkMaster(ctx context.Context, m, other *master) Finding {
	f := Finding{Server: "redis " + m.addr}
	p, ok := r.partitionAt(m)
	if !ok {
		return f
	}
	t := trial{r, &f, m, p, "check:" + randomName()}
	if err := t.describe(ctx); err != nil && !isPermission(err) {
		f.fault("%s", remedied(err))
		return f
	}
	short, err := r.tryRights(ctx, m, p)
	if len(short.spare) > 0 {
		f.doubt("the user should have %s, to tell replicas from masters and one server from another", strings.Join(short.spare, " "))
	}
	switch {
	case len(short.lacks) > 0:
		f.fault("redis-cli ACL SETUSER grants what is missing to the user of --redis-url: %s", short.String())
		return f
	case err != nil:
		f.fault("%s", remedied(err))
		return f
	}
	for _, part := range []struct {
		what string
		try  func(context.Context) error
	}{
		{"publishing", t.publishing},
		{"publishing over the cluster's bus", func(ctx context.Context) error { return t.bus(ctx, other) }},
		{"presence", t.membership},
		{"the keys that all hubs share", t.shared},
		{"the format", t.format},
	} {
		if err := t.try(ctx, part.try); err != nil {
			f.fault("%s: %s", part.what, remedied(err))
		}
	}
	return f
}

// try runs part, for two seconds at most.
func (t *trial) try(ctx context.Context, part func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	err := part(ctx)
	if err != nil && ctx.Err() != nil {
		return errors.New("no answer in time")
	}
	return err
}

// describe finds out what the server is. An error says that it can't be reached or is the wrong one.
func (t *trial) describe(ctx context.Context) error {
	conn := t.m.pub.Conn()
	defer conn.Close()
	pipe, began := conn.Pipeline(), time.Now()
	info, role, clock := pipe.Info(ctx), pipe.Do(ctx, "role"), pipe.Time(ctx)
	if err := exec(ctx, pipe); err != nil {
		return err
	}
	if err := info.Err(); err != nil && !redis.IsPermissionError(err) {
		return err
	}
	if _, err := t.identify(ctx, t.m, conn); err != nil {
		return err
	}
	if version := infoField(info.Val(), "redis_version"); version != "" {
		t.fact("version %s", version)
	}
	t.fact("%s", t.rank(role))
	t.Doubts = append(t.Doubts, troubles(info.Val())...)
	if policy := infoField(info.Val(), "maxmemory_policy"); policy != "" {
		t.fact("maxmemory-policy %s", policy)
	}
	if clock.Err() == nil {
		apart := clock.Val().Sub(began.Add(time.Since(began) / 2)).Round(time.Millisecond)
		t.fact("its clock is %s from this one", apart.Abs())
		if apart.Abs() > maxClockDifference {
			t.doubt("the clocks are %s apart: a failover may give positions twice, or lead to gaps", apart.Abs())
		}
	}
	return nil
}

// rank says what the server is.
func (t *trial) rank(role *redis.Cmd) string {
	if role.Err() != nil {
		return "its role is not known"
	}
	list, _ := role.Slice()
	replicas, _ := at(list, 2).([]any)
	text := fmt.Sprintf("%s, replicas: %d", str(list, 0), len(replicas))
	if t.names.sharded {
		served := 0
		for p := range t.routes {
			if t.routes[p].Load() == t.m {
				served++
			}
		}
		text += fmt.Sprintf(", serves %d of %d partitions", served, partitions)
	}
	return text
}

// publishing publishes to a topic of the trial's own, with history if any topic has one, hears it and reads it back.
func (t *trial) publishing(ctx context.Context) error {
	channel := t.names.channel(t.p, "t:"+t.name)
	feed, end, err := t.dialFeed(ctx, t.m)
	if err != nil {
		return err
	}
	defer end()
	on, off := "SUBSCRIBE", "UNSUBSCRIBE"
	if t.names.sharded {
		on, off = "SSUBSCRIBE", "SUNSUBSCRIBE"
	}
	if err := feed.send(on, channel); err != nil {
		return err
	}
	if _, err := await(feed, subscribed, channel); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	life := trialTime.Milliseconds()
	sent := t.names.tagged(t.p, "i:"+t.name)
	if err := t.run(ctx, []call{{kind: once, partition: t.p, keys: []string{sent + ":once"}, args: []any{channel, "1", life}}})[0].Err(); err != nil {
		return err
	}
	if data, err := await(feed, message, channel); err != nil || string(data) != "1" {
		return fmt.Errorf("a published event does not arrive: %w", cmp.Or(err, errProtocol))
	}
	t.fact("an event was published and heard")
	if len(t.cfg.History) > 0 {
		if err := t.keeping(ctx, feed, channel, sent); err != nil {
			return err
		}
	}
	if err := feed.send(off, channel); err != nil {
		return err
	}
	if _, err := await(feed, unsubscribed, channel); err != nil {
		return fmt.Errorf("unsubscribe: %w", err)
	}
	return nil
}

// keeping publishes an event that is kept, as publishing does.
func (t *trial) keeping(ctx context.Context, feed *feed, channel, sent string) error {
	life := trialTime.Milliseconds()
	server := t.m.scripts.Swap(nil).server // the scripts are sent in full then: replicas are waited for once only
	// As if the partition had been on this server before: nothing has to be written that does not expire.
	log := []string{t.names.alive(t.p, t.name), t.names.tagged(t.p, "s:"+t.name), t.names.tagged(t.p, "r:"+t.name)}
	state := freshEpoch() + strings.Repeat("\x00", 16) + server
	replies := t.run(ctx, []call{
		{partition: t.p, topic: t.name, args: []any{"set", log[0], state, "px", life}},
		{partition: t.p, topic: t.name, kind: publish, stores: true, keys: append(slices.Clone(log), sent), args: []any{
			channel, "2", 1, life, life, freshEpoch(), life, time.Now().UnixMilli(),
		}},
		{partition: t.p, topic: t.name, kind: read, keys: log, args: []any{Start.ID.String(), 10, 0, freshEpoch(), ""}},
		{partition: t.p, topic: t.name, kind: remove, keys: log, args: []any{channel, string([]byte{removedMark})}},
	})
	for i, reply := range replies {
		switch err := reply.Err(); {
		case errors.Is(err, errFewReplicas):
			t.fault("too few replicas confirm an event, wanted are %d: %s", t.cfg.Wait, err)
		case err != nil:
			return fmt.Errorf("%s: %w", []string{"begin", "publish", "read", "remove"}[i], err)
		}
	}
	x := t.parseExcerpt(t.name, replies[2].Val())
	if x.err != nil || len(x.events) != 1 || string(x.events[0].Data) != "2" {
		return fmt.Errorf("a stored event is not read back: %w", cmp.Or(x.err, errBadLog))
	}
	data, err := await(feed, message, channel)
	if ev, ok := parsePayload(data); err != nil || !ok || ev.Position != x.events[0].Position {
		return fmt.Errorf("a stored event does not arrive: %w", cmp.Or(err, errProtocol))
	}
	t.fact("one was stored and read back")
	if t.cfg.Wait > 0 && len(t.Faults) == 0 {
		t.fact("confirmed by replicas: %d", t.cfg.Wait)
	}
	return nil
}

// await waits for an answer, or for a message, on channel.
func await(f *feed, want signal, channel string) (payload []byte, err error) {
	for {
		h, err := f.hear()
		switch {
		case err != nil:
			return nil, err
		case h.signal == refused:
			return nil, refusalError(h.payload)
		case h.signal == want && h.channel == channel:
			return h.payload, nil
		}
	}
}

// bus tries whether a classic message that is published at other arrives here.
func (t *trial) bus(ctx context.Context, other *master) error {
	if !t.names.sharded {
		return nil
	}
	channel := t.names.classicNode(t.name)
	feed, end, err := t.dialFeed(ctx, t.m)
	if err != nil {
		return err
	}
	defer end()
	if err := feed.send("SUBSCRIBE", channel); err != nil {
		return err
	}
	if _, err := await(feed, subscribed, channel); err != nil {
		return err
	}
	if err := other.pub.Publish(ctx, channel, "1").Err(); err != nil {
		return err
	}
	if _, err := await(feed, message, channel); err != nil {
		return fmt.Errorf("an event published at redis %s does not arrive: %w", other.addr, err)
	}
	t.fact("one came over the bus from %s", other.addr)
	return nil
}

// shared tries, at the server that has them, the list of revocations, the resume key and the list of nodes.
func (t *trial) shared(ctx context.Context) error {
	if t.routes[common].Load() != t.m {
		return nil
	}
	// A token like that of a node that goes through the list. It would go with old revocations.
	token, revoked := wholeMark+" "+t.name, t.names.revoked()
	if err := t.command(ctx, common, "zadd", revoked, time.Now().Add(trialTime).Unix(), token).Err(); err != nil {
		return fmt.Errorf("write revocations: %w", err)
	}
	_, _, scanned := t.revokedPage(ctx, 0)
	removed, err := t.command(ctx, common, "zrem", revoked, token).Int()
	switch err := cmp.Or(scanned, err); {
	case err != nil:
		return fmt.Errorf("read revocations: %w", err)
	case removed != 1:
		return errors.New("a revocation that was written is gone")
	}
	t.fact("revocations can be written and read")
	key, err := t.command(ctx, common, "get", t.names.resumeKey()).Text()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("resume key: %w", err)
	} else if err == nil && len(key) != ResumeKeySize {
		return fmt.Errorf("resume key: %s does not hold %d bytes", t.names.resumeKey(), ResumeKeySize)
	}
	list := t.names.alive(common, t.name+":nodes")
	err = leaseScript.Run(ctx, t.m.pub, []string{list}, t.name, trialTime.Milliseconds(), trialTime.Milliseconds(), int(NotReady)).Err()
	if _, gone := t.command(ctx, common, "zrem", list, t.name).Int(); err != nil || gone != nil {
		return fmt.Errorf("lease: %w", cmp.Or(err, gone))
	}
	return nil
}

// format compares the format of the data with ours, at the server that has it.
func (t *trial) format(ctx context.Context) error {
	if t.layout.Load().format != t.m.addr {
		return nil
	}
	found, err := t.m.pub.Get(ctx, t.names.format()).Result()
	switch {
	case errors.Is(err, redis.Nil): // no hub was here before
		return nil
	case err != nil:
		return err
	}
	return t.judgeFormat(found)
}

// inspect implements topology.
func (s single) inspect(context.Context) (layout, Report) { return s.layout(), nil }

// inspect implements topology. A sentinel that is of no use is no fault while most of them are.
func (s *sentinels) inspect(ctx context.Context) (l layout, report Report) {
	defer s.close()
	report = make(Report, len(s.list))
	var running sync.WaitGroup
	for i, sentinel := range s.list {
		report[i].Server = "sentinel " + s.r.address.Hosts[i]
		running.Go(func() { s.inspectOne(ctx, sentinel, &report[i]) })
	}
	running.Wait()
	addr, err := s.master(ctx)
	if addr != "" {
		return single{addr}.layout(), report
	}
	fault := fmt.Sprintf("no majority of them names a master %q", s.name)
	if err != nil {
		fault += ": " + remedied(err)
	}
	return l, append(report, Finding{Server: "sentinels", Faults: []string{fault}})
}

func (s *sentinels) inspectOne(ctx context.Context, sentinel *redis.SentinelClient, f *Finding) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var t trials
	addr, err := sentinel.GetMasterAddrByName(ctx, s.name).Result()
	t.note(&need{args: []string{"sentinel", "get-master-addr-by-name"}}, err)
	switch {
	case errors.Is(err, redis.Nil):
		f.doubt("it knows no master %q", s.name)
	case err != nil && !isPermission(err):
		f.doubt("%s", err)
		return
	case err == nil:
		f.fact("names %s", strings.Join(addr, ":"))
	}
	t.note(&need{args: []string{"ping"}}, sentinel.Ping(ctx).Err())
	subscriber := sentinel.Subscribe(ctx, switchMaster)
	defer subscriber.Close()
	_, err = subscriber.Receive(ctx)
	t.note(&need{args: []string{"subscribe"}, object: "&" + switchMaster}, err)
	if short := t.String(); short != "" {
		f.doubt("%s", short)
	} else if err != nil {
		f.doubt("%s", err)
	}
}

// inspect implements topology. A node of the URL that is of no use is no fault while another one is.
func (c *cluster) inspect(ctx context.Context) (l layout, report Report) {
	defer c.close()
	best, err := c.discover(ctx)
	for _, addr := range c.r.address.Hosts {
		if f := c.inspectOne(ctx, addr); len(f.Doubts) > 0 {
			report = append(report, f)
		}
	}
	if best == nil {
		fault := "no node says who serves which slots"
		if err != nil {
			fault += ": " + remedied(err)
		}
		return l, append(report, Finding{Server: "cluster", Faults: []string{fault}})
	}
	if !best.ok {
		report = append(report, Finding{Server: "node " + best.addr, Doubts: []string{"cluster_state is not ok"}})
	}
	return c.layout(best), report
}

func (c *cluster) inspectOne(ctx context.Context, addr string) Finding {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	client := c.newClient(addr)
	defer client.Close()
	pipe := client.Pipeline()
	info, slots := pipe.ClusterInfo(ctx), pipe.ClusterSlots(ctx)
	failed := exec(ctx, pipe)
	f := Finding{Server: "node " + addr}
	if err := cmp.Or(failed, info.Err(), slots.Err()); err != nil && !isPermission(err) {
		f.doubt("%s", err)
		return f
	}
	var t trials
	t.note(&need{args: []string{"cluster", "info"}}, info.Err())
	t.note(&need{args: []string{"cluster", "slots"}}, slots.Err())
	if short := t.String(); short != "" {
		f.doubt("%s", short)
	}
	return f
}
