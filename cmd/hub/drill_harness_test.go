package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// scale is how large the drills are. WSHUB_DRILL=full makes them as large as the promise.
type scale struct {
	full            bool
	topics          int
	followers       int             // of each topic
	each            int             // topics that one client follows
	every           time.Duration   // between two events of one topic
	crowd           int             // clients that come back at once
	killing         time.Duration   // of subscriber connections
	standstill      time.Duration   // of Redis amid resumes
	stands          []time.Duration // of the master that sentinels watch
	clusterStands   []time.Duration // of a master in a cluster
	stuck           time.Duration   // of a slot that is moved
	freezes, deaths []time.Duration
}

func drillScale(t *testing.T) scale {
	t.Helper()
	if drills.IsFull(t) {
		return scale{
			full: true, topics: 200, followers: 10, each: 5, every: 100 * time.Millisecond, crowd: 10_000,
			killing: 30 * time.Second, standstill: 7 * time.Second,
			stands: []time.Duration{3 * time.Second, 20 * time.Second}, clusterStands: []time.Duration{3 * time.Second, 20 * time.Second}, stuck: 5 * time.Second,
			freezes: []time.Duration{2 * time.Second, 10 * time.Second}, deaths: []time.Duration{time.Second, 10 * time.Second},
		}
	}
	return scale{
		topics: 20, followers: 5, each: 2, every: 100 * time.Millisecond, crowd: 500,
		killing: 5 * time.Second, standstill: time.Second, stands: []time.Duration{3 * time.Second}, clusterStands: []time.Duration{6 * time.Second}, stuck: time.Second,
		freezes: []time.Duration{2 * time.Second, 6 * time.Second}, deaths: []time.Duration{time.Second, 6 * time.Second}, // a Follow waits for 5 s
	}
}

// drillPatience is how long the clients may take to catch up when the failure is over. It takes seconds.
const drillPatience = 90 * time.Second

// drill is some hubs, publishers that number the events of each topic, and clients that check the numbers.
type drill struct {
	t     *testing.T
	scale scale
	path  string // of the program
	redis *redistest.Server
	// servers may serve topics, if what a failover loses has to be read from their logs: see drillLog.
	servers []*redistest.Server
	args    []string
	tls     []string // further ones, of hubs that speak TLS
	token   string   // the clients' JWT
	calm    bool     // hasty clients are not
	began   time.Time

	http       *http.Client
	pad        atomic.Int64 // bytes that make an event large
	publishers sync.WaitGroup
	stop       context.CancelFunc // ends the publishers, each after its last event is acknowledged
	clients    []*follower
	running    sync.WaitGroup // clients
	gate       gate           // clients that are away come back through it
	far        gate           // and those that are far come back through this one
	traps      []*trap
	topics     []*drillTopic

	mu      sync.Mutex
	hubs    []*process
	wrong   []string // the first things that clients or publishers saw and must not see
	count   drillCount
	strides []stride  // to be judged by the logs
	flowing time.Time // when publishing began
}

// drillCount is what happened. mu of the drill guards it.
type drillCount struct {
	events, acked, deliveries                   int
	reconnects, resumes, recovered, unrecovered int
	gaps, told, unsureTwice                     int    // losses that clients were told, and events in them
	away, unheard                               int    // events that clients without positions missed: before they came, and later
	mute                                        int    // events that plain clients published and did not hear
	lost, repeated, reordered                   int    // those that nobody was told of
	again                                       string // the last one that was repeated
	unanswered                                  int    // requests
	failedOver                                  int    // events that were acknowledged, and lost by a failover
	retried, refused                            map[string]int
	closes                                      map[ws.StatusCode]int
	late                                        []time.Duration // from publishing to delivery
}

func newDrillCount() drillCount {
	return drillCount{retried: map[string]int{}, refused: map[string]int{}, closes: map[ws.StatusCode]int{}}
}

// resumeKeyText is the key that all hubs of a drill share.
const resumeKeyText = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

// newDrill starts Redis (with redisArgs) for what follows.
func newDrill(t *testing.T, path string, redisArgs ...string) *drill {
	t.Helper()
	d := newDrillWithout(t, path)
	d.redis = redistest.Start(t, redisArgs...)
	return d
}

// newDrillWithout has no Redis yet.
func newDrillWithout(t *testing.T, path string) *drill {
	t.Helper()
	s := drillScale(t)
	d := &drill{
		t: t, scale: s, path: path, began: time.Now(),
		args: []string{
			"--log-level=info", "--history=drill:*=100000,10m", "--replay-limit=100000",
			"--resume-key=" + resumeKeyText,
			"--drain-grace=100ms", "--drain-window=500ms", "--workers=8",
		},
		http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: s.topics}},
		stop: func() {},
	}
	for _, g := range []*gate{&d.gate, &d.far} {
		g.shut()
		g.let()
	}
	d.count = newDrillCount()
	for i := range s.topics {
		d.topics = append(d.topics, newDrillTopic(fmt.Sprintf("drill:%d", i)))
	}
	return d
}

// startHubs starts n hubs that find Redis at url.
func (d *drill) startHubs(n int, url string, args ...string) {
	d.t.Helper()
	var started []*process
	for range n {
		started = append(started, startHub(d.t, d.path, url, slices.Concat(d.args, d.tls, args)...))
	}
	for _, h := range started {
		(&threeHubs{t: d.t}).awaitReady(h)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hubs = append(d.hubs, started...)
}

// leave takes h off the list of hubs: clients and publishers look for others.
func (d *drill) leave(h *process) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hubs = slices.DeleteFunc(d.hubs, func(other *process) bool { return other == h })
}

// hub is one of the hubs, the i'th or any.
func (d *drill) hub(i int) *process {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i < 0 {
		i = rand.IntN(len(d.hubs))
	}
	return d.hubs[i%len(d.hubs)]
}

// follow connects the clients, spread over the hubs, and returns when each follows its topics.
func (d *drill) follow() {
	d.t.Helper()
	s := d.scale
	for i := range s.topics * s.followers / s.each {
		var topics []int
		for j := range s.each {
			topics = append(topics, (i*s.each+j)%s.topics)
		}
		d.join(i, i, topics)
	}
	d.await("followed", (*follower).follows)
}

// join connects client number i, which follows topics and begins at that hub.
func (d *drill) join(i, hub int, topics []int) *follower {
	return d.add(newFollower(d, i, hub, topics))
}

// add lets a client begin.
func (d *drill) add(f *follower) *follower {
	d.mu.Lock()
	d.clients = append(d.clients, f)
	d.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	d.running.Go(func() { f.run(ctx) })
	d.t.Cleanup(cancel)
	return f
}

// pass lets time go by while events flow.
func (d *drill) pass(while time.Duration) {
	d.t.Helper()
	d.until("", while, func() bool { return false })
}

// until returns when done is true. After limit it fails, if there is a name for what is waited for.
func (d *drill) until(what string, limit time.Duration, done func() bool) {
	d.t.Helper()
	over, again := time.NewTimer(limit), time.NewTicker(20*time.Millisecond)
	defer over.Stop()
	defer again.Stop()
	for !done() {
		select {
		case <-again.C:
		case <-over.C:
			if what != "" {
				d.t.Fatalf("%s: not in %s\n%s\nnot answered: %q\n%s", what, limit, d.line(), d.unanswered(), strings.Join(d.wrongs(), "\n"))
			}
			return
		}
	}
}

// await returns when fact is true of all clients.
func (d *drill) await(what string, fact func(*follower) bool) {
	d.t.Helper()
	d.until(what, drillPatience, func() bool {
		return !slices.ContainsFunc(d.clients, func(f *follower) bool { return !fact(f) })
	})
}

// endRound ends publishing and waits until each client has all that was acknowledged. Then it judges, prints
// what happened under that name, and returns it. The count begins anew.
func (d *drill) endRound(name string) drillCount {
	d.t.Helper()
	d.quiet()
	late, nudge := time.After(drillPatience), time.NewTicker(500*time.Millisecond)
	poll := time.NewTicker(20 * time.Millisecond)
	defer nudge.Stop()
	defer poll.Stop()
	for behind(d.clients)+len(d.unanswered()) > 0 {
		select {
		case <-poll.C:
		case <-nudge.C:
			for _, i := range d.doubtful() {
				d.publishNext(i) // a client was told of a loss, and only the next event shows how much it was
			}
		case <-late:
			return d.judge(name)
		}
	}
	return d.judge(name)
}

// unanswered are the clients' requests that wait for their answers.
func (d *drill) unanswered() (list []string) {
	for _, f := range d.clients {
		list = append(list, f.unanswered()...)
	}
	return list
}

// quiet ends publishing; what was begun is acknowledged.
func (d *drill) quiet() {
	d.stop()
	d.publishers.Wait()
}

// behind is how many events clients still miss.
func behind(clients []*follower) (missing int) {
	for _, f := range clients {
		for _, n := range f.missing() {
			missing += n
		}
	}
	return missing
}

// doubtful are the topics in which a client was told of a loss and got no event since.
func (d *drill) doubtful() []int {
	topics := map[int]bool{}
	for _, f := range d.clients {
		f.mu.Lock()
		for _, p := range f.places {
			if p.told && p.live {
				topics[p.topic] = true
			}
		}
		f.mu.Unlock()
	}
	return slices.Sorted(maps.Keys(topics))
}

// judge fails the test for what must not be, and prints the line of the drill.
func (d *drill) judge(name string) drillCount {
	d.t.Helper()
	for _, f := range d.clients {
		for i, n := range f.missing() {
			if n > 0 {
				d.counted(func(c *drillCount) { c.lost += n })
				d.oddity("client %d waits in vain for %d events of %s behind %d", f.number, n, d.topics[f.places[i].topic].name, f.places[i].last)
			}
		}
	}
	for _, what := range d.unanswered() {
		d.counted(func(c *drillCount) { c.unanswered++ })
		d.oddity("never answered: %s", what)
	}
	d.judgeStrides()
	d.t.Logf("%s: %s", name, d.line())
	for _, text := range d.wrongs() {
		d.t.Error(text)
	}
	d.mu.Lock()
	c := d.count
	d.count, d.wrong, d.began = newDrillCount(), nil, time.Now()
	d.mu.Unlock()
	if c.lost+c.repeated+c.reordered+c.unanswered > 0 {
		d.t.Errorf("%s: silently %d lost, %d repeated, %d reordered; %d requests not answered; %s", name, c.lost, c.repeated, c.reordered, c.unanswered, c.again)
	}
	if c.acked == 0 || c.deliveries+c.told == 0 {
		d.t.Errorf("%s: %d events acknowledged and %d delivered prove nothing", name, c.acked, c.deliveries)
	}
	return c
}

// line is what happened, in one line.
func (d *drill) line() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &d.count
	return fmt.Sprintf("events %d, acknowledged %d, deliveries %d, reconnects %d, resumes %d (recovered %d, not %d), gaps %d, told lost %d, without positions %d and %d and %d, "+
		"lost by failover %d, LOST %d, REPEATED %d, REORDERED %d, UNANSWERED %d, p99 %s; publishers retried %v, refused %v; unsure twice %d; closes %v; %.1f s",
		c.events, c.acked, c.deliveries, c.reconnects, c.resumes, c.recovered, c.unrecovered, c.gaps, c.told, c.away, c.unheard, c.mute,
		c.failedOver, c.lost, c.repeated, c.reordered, c.unanswered, percentile(c.late, 99), c.retried, c.refused, c.unsureTwice, c.closes, time.Since(d.began).Seconds())
}

// costsNothing fails the test if a client was told of a loss or can't be, or a publisher was told that it need not
// retry.
func (d *drill) costsNothing(c drillCount) {
	d.t.Helper()
	if c.gaps+c.unrecovered+c.told > 0 {
		d.t.Errorf("%d gaps, %d recovered:false, %d events told lost; want none", c.gaps, c.unrecovered, c.told)
	}
	if c.unheard > 0 {
		d.t.Errorf("clients that have no positions did not hear %d events on one connection; want none", c.unheard)
	}
	if len(c.refused) > 0 {
		d.t.Errorf("publishers were refused: %v", c.refused)
	}
}

func (d *drill) counted(f func(*drillCount)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(&d.count)
}

// reading is the count so far.
func (d *drill) reading() drillCount {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count
}

// oddity notes what must not happen. The first few are told.
func (d *drill) oddity(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.wrong) < 10 {
		d.wrong = append(d.wrong, fmt.Sprintf(format, args...))
	}
}

func (d *drill) wrongs() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.wrong)
}

// end ends the clients.
func (d *drill) end() {
	for _, f := range d.clients {
		f.end()
	}
	for _, t := range d.traps {
		t.let()
	}
	d.gate.let()
	d.far.let()
	d.running.Wait()
	d.http.CloseIdleConnections()
}

// percentile is that of list, which it sorts.
func percentile(list []time.Duration, percent int) time.Duration {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[(len(list)-1)*percent/100].Round(100 * time.Microsecond)
}

// gate is where clients wait that must stay away.
type gate struct {
	mu   sync.Mutex
	open chan struct{} // closed while clients may pass
}

func (g *gate) passing() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

func (g *gate) let() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
	default:
		close(g.open)
	}
}
