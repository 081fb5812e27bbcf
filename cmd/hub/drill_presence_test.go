package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
	"wshub/session/token"
)

// TestPresenceDrills breaks what can break while clients come and go. Behind each failure the presence of every hub and what those
// who watch it were told must be the truth within 15 s, and no change may contradict the ones before it; clients that resume, and
// failures of Redis alone, are never told as changes.
func TestPresenceDrills(t *testing.T) {
	drills.Programs(t) // and nothing beside them: they have seconds to come to the truth
	path := buildHub(t)
	for _, one := range []struct {
		name string
		run  func(d *presenceDrill)
	}{
		{"clients resume", clientsResume},
		{"hubs are killed", hubsAreKilled},
		{"rolling restart", hubsAreReplaced},
		{"redis is away", redisIsAway},
		{"redis forgets", redisForgetsMembers},
		{"a hub stands still", aHubStandsStill},
		{"network", hubsAreCutOff},
	} {
		t.Run(one.name, func(t *testing.T) {
			drills.SideBySide(t)
			d := newPresenceDrill(t, path)
			defer d.end()
			one.run(d)
		})
	}
}

// presenceLate is within what time presence must be the truth again.
const presenceLate = 15 * time.Second

// presenceDrill is some hubs, clients that come and go, and the truth.
type presenceDrill struct {
	*drill
	proxy  *redistest.Proxy // between the hubs and Redis
	rooms  []string
	guests []*guest
	// chronicle reads the lifecycle meanwhile; nil where Redis is several servers.
	chronicle *chronicle
	// churning is how long clients come and go, by pace changes a second.
	churning time.Duration
	pace     int

	master func() string // the address of the only one, where there are sentinels

	changes, wholes atomic.Int64 // that those who watch were told
}

// Each room has some that watch it, on each hub.
const watchersEach = 2

func newPresenceDrill(t *testing.T, path string) *presenceDrill {
	t.Helper()
	one := newDrill(t, path, "--appendonly", "yes", "--appendfsync", "always")
	proxy := redistest.NewProxy(t, one.redis.Addr())
	d := newPresenceDrillAt(t, one, proxy.URL())
	d.proxy = proxy
	return d
}

// newPresenceDrillAt is a drill whose hubs find Redis at url. Its chronicle reads from one's server, if there is one.
func newPresenceDrillAt(t *testing.T, one *drill, url string) *presenceDrill {
	t.Helper()
	d := &presenceDrill{drill: one, churning: 4 * time.Second, pace: 60}
	guests, rooms := 150, 50
	if d.scale.full {
		guests, d.churning, d.pace = 2000, 20*time.Second, 300
	}
	d.args = []string{
		"--log-level=info", "--resume-key=" + resumeKeyText, "--jwt-secret=" + secret, "--api-key=" + apiKey, "--workers=8",
		"--drain-grace=100ms", "--drain-window=1s", "--presence=room:*", "--presence-grace=5s", "--lifecycle=on",
	}
	for i := range rooms {
		d.rooms = append(d.rooms, fmt.Sprint("room:", i))
	}
	d.startHubs(3, url)
	if d.redis != nil {
		d.chronicle = newChronicle(t, d.redis, d.hub(0))
	}
	for i := range guests {
		if watcher := i < 3*watchersEach*5; watcher { // a fifth of the rooms each
			d.guests = append(d.guests, d.newGuest(i, true, slices.Collect(func(yield func(string) bool) {
				for j := i % 5; j < rooms && yield(d.rooms[j]); j += 5 {
				}
			})))
			continue
		}
		d.guests = append(d.guests, d.newGuest(i, false, []string{d.rooms[i%rooms], d.rooms[(i*7+3)%rooms]}))
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var running sync.WaitGroup
	for _, g := range d.guests {
		running.Go(func() { g.run(ctx) })
	}
	if d.chronicle != nil {
		running.Go(func() { d.chronicle.follow(ctx) })
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	d.settle("the beginning")
	return d
}

// mintGuest is the JWT of a client.
func (d *presenceDrill) mintGuest(user string, number int) string {
	return d.mint(secret, token.Grant{
		Subject: user, Subscribe: []string{"room:*"}, Presence: []string{"room:*"}, Info: json.RawMessage(fmt.Sprintf(`{"n":%d}`, number)),
	})
}

func (d *presenceDrill) hubCount() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.hubs)
}

// get asks a hub's API.
func (d *presenceDrill) get(h *process, path string, answer *told) error {
	r, err := http.NewRequestWithContext(d.t.Context(), http.MethodGet, h.control+"/api/"+path, nil)
	if err != nil {
		return err
	}
	r.Header.Set("X-Api-Key", apiKey)
	res, err := d.http.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s is answered %d %s", path, res.StatusCode, text)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(text, answer)
}

// churn has clients come and go while fault runs, and for a while before and behind it.
func (d *presenceDrill) churn(fault func()) {
	d.t.Helper()
	ctx, cancel := context.WithCancel(d.t.Context())
	var churning sync.WaitGroup
	defer churning.Wait()
	defer cancel()
	churning.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(d.pace))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				d.stir()
			}
		}
	})
	d.pass(d.churning / 2)
	fault()
	d.pass(d.churning / 2)
}

// stir has one client do something.
func (d *presenceDrill) stir() {
	g := d.guests[rand.IntN(len(d.guests))]
	if g.watches && rand.IntN(4) > 0 {
		return
	}
	switch n := rand.IntN(12); {
	case g.isGone():
		g.comeBack()
	case g.watches || n < 3:
		g.cut(rand.N(time.Second), true)
	case n == 3:
		g.cut(rand.N(time.Second), false)
	case n == 4:
		g.cut(rand.N(8*time.Second), true) // perhaps longer than the grace
	case n == 5:
		g.leave()
	default:
		g.toggle(d.rooms[rand.IntN(len(d.rooms))])
	}
}

// settle waits until all clients have what they want. Then presence must be the truth in time.
func (d *presenceDrill) settle(behind string) {
	d.t.Helper()
	begin := time.Now()
	d.until("clients are back behind "+behind, drillPatience, func() bool {
		return !slices.ContainsFunc(d.guests, func(g *guest) bool { return !g.steady() })
	})
	steady, truth, wrong := time.Now(), d.truth(), ""
	alive := d.alive(truth)
	over, again := time.NewTimer(presenceLate), time.NewTicker(100*time.Millisecond)
	defer over.Stop()
	defer again.Stop()
	for {
		if wrong = d.contradiction(truth); wrong == "" && d.chronicle != nil {
			wrong = d.chronicle.misses(d.t.Context(), alive)
		}
		if wrong == "" {
			break
		}
		select {
		case <-again.C:
			continue
		case <-over.C:
		}
		d.t.Errorf("behind %s presence is wrong for %s: %s; of hubs: %q", behind, presenceLate, wrong, d.hubsContradict(truth))
		if d.master != nil {
			d.dump(d.master(), truth)
		}
		break
	}
	took, wholes := time.Since(steady), d.wholes.Load()
	d.pass(time.Second)
	if n := d.wholes.Load() - wholes; n > 0 {
		d.t.Errorf("behind %s those who watch were told %d wholes in a second while nothing happened", behind, n)
	}
	members := 0
	for _, f := range truth {
		members += len(f)
	}
	d.t.Logf("%s: clients are back after %s, %d members of %d rooms are right after %s more; those who watch were told %d changes and %d wholes",
		behind, steady.Sub(begin).Round(time.Millisecond), members, len(d.rooms), took.Round(time.Millisecond), d.changes.Load(), d.wholes.Load())
	for _, text := range d.wrongs() {
		d.t.Error(text)
	}
	d.mu.Lock()
	d.wrong = nil
	d.mu.Unlock()
}

// quietly runs what nobody may be told of.
func (d *presenceDrill) quietly(what string, do func()) {
	d.t.Helper()
	before, changes := d.since(), d.changes.Load()
	entries, known := d.chronicle.counts()
	do()
	d.settle(what)
	if n, now := d.chronicle.counts(); now != known {
		d.t.Errorf("%s: the lifecycle told %d changes, in %d entries", what, now-known, n-entries)
	} else {
		d.t.Logf("%s: %d entries of the lifecycle", what, n-entries)
	}
	if n := d.changes.Load() - changes; n > 0 {
		d.t.Errorf("%s: those who watch were told %d changes", what, n)
	}
	if after := d.since(); !maps.Equal(before, after) { // a member that left meanwhile is there since later
		for member, at := range before {
			if after[member] != at {
				d.t.Errorf("%s: %s is there since %d, before it was %d", what, member, after[member], at)
				break
			}
		}
	}
}

// since is when each member came.
func (d *presenceDrill) since() map[string]int64 {
	d.t.Helper()
	all := map[string]int64{}
	for _, topic := range d.rooms {
		_, since, err := d.readPresence(d.hub(0), topic)
		if err != nil {
			d.t.Fatal(err)
		}
		for session, at := range since {
			all[topic+" "+session] = at
		}
	}
	return all
}

// happened fails the drill if the hubs that are left have not counted an outcome: then nothing was proved.
func (d *presenceDrill) happened(outcome string) {
	d.t.Helper()
	if d.metric(fmt.Sprintf("wshub_broker_presence_total{outcome=%q}", outcome)) == 0 {
		d.t.Errorf("no hub has %s anything", outcome)
	}
}

// clientsResume at once, on whichever hub; then some come and go.
func clientsResume(d *presenceDrill) {
	d.quietly("all clients resume", func() {
		for _, g := range d.guests {
			g.cut(rand.N(time.Second), true)
		}
	})
	d.churn(func() {})
	d.settle("coming and going")
}

// hubsAreKilled, one after the other; some of their clients do not come back.
func hubsAreKilled(d *presenceDrill) {
	d.churn(func() {
		for range 2 {
			h := d.hub(0)
			d.leave(h)
			for _, g := range d.guests {
				if g.number%5 == 4 {
					g.leave()
				}
			}
			h.signal(syscall.SIGKILL)
			d.startHubs(1, d.proxy.URL())
		}
	})
	d.settle("two hubs were killed")
	d.happened("swept")
}

// replace restarts all hubs, as a deployment does.
func (d *presenceDrill) replace() {
	d.t.Helper()
	for range 3 {
		old := d.hub(0)
		d.startHubs(1, d.proxy.URL())
		d.leave(old)
		old.terminate()
		if code := old.exitCode(); code != 0 {
			d.t.Errorf("a drained hub exits with %d", code)
		}
	}
}

func hubsAreReplaced(d *presenceDrill) {
	d.quietly("a rolling restart", func() {
		d.replace()
		d.pass(2 * d.churning) // until the old hubs' members would have been taken off
	})
	d.churn(d.replace)
	d.settle("a rolling restart amid coming and going")
}

// redisIsAway, killed or frozen, for longer than hubs are waited for.
func redisIsAway(d *presenceDrill) {
	d.quietly("redis is killed for 12 s", func() {
		d.redis.Kill()
		d.pass(12 * time.Second)
		d.redis.Restart()
		d.pass(5 * time.Second)
	})
	d.churn(func() {
		d.redis.Freeze()
		d.pass(3 * time.Second)
		d.redis.Thaw()
		d.pass(time.Second)
		d.redis.Kill()
		d.pass(time.Second)
		d.redis.Restart()
	})
	d.settle("redis was away amid coming and going")
}

func redisForgetsMembers(d *presenceDrill) {
	d.redis.CLI("flushall")
	d.settle("FLUSHALL")
	d.churn(func() {
		for range 3 {
			d.redis.CLI("flushall")
			d.pass(d.churning / 4)
		}
	})
	d.settle("FLUSHALL amid coming and going")
	d.happened("repaired")
}

// aHubStandsStill for so long that others take it for dead, and comes back. Half of its clients go elsewhere meanwhile.
func aHubStandsStill(d *presenceDrill) {
	h := d.hub(0)
	d.churn(func() {
		d.leave(h)
		h.signal(syscall.SIGSTOP)
		d.pass(20 * time.Second)
		h.signal(syscall.SIGCONT)
		d.mu.Lock()
		d.hubs = append(d.hubs, h)
		d.mu.Unlock()
	})
	d.settle("a hub stood still for 20 s")
	d.happened("swept")
	d.happened("fenced")
}

// hubsAreCutOff from Redis: one in both ways, one does not hear.
func hubsAreCutOff(d *presenceDrill) {
	d.churn(func() {
		d.proxy.CutOffProcess(d.hub(0).cmd.Process.Pid, redistest.Both)
		d.proxy.CutOffProcess(d.hub(1).cmd.Process.Pid, redistest.ToClient)
		d.pass(18 * time.Second)
		// A busy machine may keep the third hub from a vigil without a break, and so from the sweep.
		d.until("a hub sweeps", drillPatience, func() bool { return d.metric(`wshub_broker_presence_total{outcome="swept"}`) > 0 })
		d.proxy.RejoinProcess()
	})
	d.settle("two hubs were cut off from redis")
	d.happened("swept")
	d.happened("fenced")
}
