package pubsub

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// growing notes the last position of each topic: those that come later must be behind it.
type growing map[string]Position

// publish publishes n events to each of topics.
func (g growing) publish(t *testing.T, r *Redis, n int, topics ...string) {
	t.Helper()
	for i := range n {
		batch := make([]Publication, len(topics))
		for k, topic := range topics {
			batch[k] = Publication{Topic: topic, Data: []byte(fmt.Sprint(i))}
		}
		for k, res := range r.Publish(t.Context(), batch) {
			topic := topics[k]
			if res.Err != nil {
				t.Fatal(res.Err)
			}
			if was := g[topic]; was.Epoch == res.Position.Epoch && was.ID.Compare(res.Position.ID) >= 0 {
				t.Fatalf("%s: %s was given after %s", topic, res.Position, was)
			}
			g[topic] = res.Position
		}
	}
}

// publishing waits until r can publish again.
func publishing(t *testing.T, r *Redis) {
	t.Helper()
	eventually(t, "publishing", func() bool {
		return r.Publish(t.Context(), []Publication{{Topic: "h:other", Data: []byte("1")}})[0].Err == nil
	})
}

// follower starts a replica of master, whose clock is ahead of this machine's.
func follower(t *testing.T, master *redistest.Server, ahead time.Duration) *redistest.Server {
	t.Helper()
	replica := redistest.Start(t)
	if ahead != 0 {
		replica.SetClock(ahead)
		replica.Restart()
	}
	replica.Follow(master)
	return replica
}

// TestNoPositionIsGivenTwiceByAReplicaThatLacksTheLast promotes replicas whose clocks are behind: the lost
// events' topics go on behind them, one that lost its record too.
func TestNoPositionIsGivenTwiceByAReplicaThatLacksTheLast(t *testing.T) {
	t.Parallel()
	for _, clock := range drills.Sample(t, 1, 0, -2*time.Second, -30*time.Minute, 2*time.Second) {
		t.Run(clock.String(), func(t *testing.T) {
			master := redistest.Start(t)
			replica := follower(t, master, clock)
			proxy := redistest.NewProxy(t, master.Addr())
			r, _ := running(t, RedisConfig{URL: proxy.URL(), History: keepAll})
			given := growing{}
			given.publish(t, r, 10, "h:a", "h:b")
			replica.CatchUp(master)
			replica.Promote()
			given.publish(t, r, 100, "h:a", "h:new")
			master.Kill()
			proxy.Point(replica.Addr())
			publishing(t, r)
			given.publish(t, r, 10, "h:a", "h:b", "h:new")
		})
	}
}

// TestNoPositionIsGivenTwiceByTheSecondOfTwoFailovers has neither server know of the one before it.
func TestNoPositionIsGivenTwiceByTheSecondOfTwoFailovers(t *testing.T) {
	t.Parallel()
	first := redistest.Start(t)
	second, third := follower(t, first, time.Second), follower(t, first, -time.Second)
	proxy := redistest.NewProxy(t, first.Addr())
	r, _ := running(t, RedisConfig{URL: proxy.URL(), History: keepAll})
	given := growing{}
	given.publish(t, r, 10, "h:a")
	second.CatchUp(first)
	third.CatchUp(first)
	third.Promote()
	for _, server := range []*redistest.Server{second, third} {
		server.Promote()
		given.publish(t, r, 10, "h:a")
		proxy.Point(server.Addr())
		publishing(t, r)
		given.publish(t, r, 10, "h:a", "h:new")
	}
}

func TestNoPositionIsGivenTwiceAfterASnapshotIsRestored(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.SetClock(-2 * time.Second)
	r, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	given := growing{}
	given.publish(t, r, 10, "h:a")
	server.CLI("save")
	given.publish(t, r, 100, "h:a", "h:new")
	server.Restart()
	publishing(t, r)
	given.publish(t, r, 10, "h:a", "h:new")
}

// lead is how far a position is ahead of this machine's clock.
func lead(p Position) time.Duration { return time.Until(time.UnixMilli(int64(p.ID.Ms))) }

func TestPositionsLeapOnceWhenTheServerRestarts(t *testing.T) {
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	r, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	other, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	topics := []string{"h:a", "h:b", "h:c"}
	given := growing{}
	given.publish(t, r, 1, topics...)
	given.publish(t, other, 1, topics...)
	if d := lead(given["h:a"]); d > time.Second {
		t.Errorf("the first publications are %s ahead", d)
	}
	server.Kill()
	server.Restart()
	publishing(t, r)
	publishing(t, other)
	for range 3 {
		given.publish(t, r, 1, topics...)
		given.publish(t, other, 1, topics...)
		server.CLI("script", "flush")
		server.CLI("client", "kill", "type", "pubsub")
		for _, topic := range topics {
			if d := lead(given[topic]); d < leap-10*time.Second || d > leap {
				t.Errorf("%s is %s ahead", topic, d)
			}
		}
	}
}

// TestLeapsDoNotAddUpOverPartitions: each partition leaps by itself, and not behind the one that leapt before it.
func TestLeapsDoNotAddUpOverPartitions(t *testing.T) {
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	r, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	var topics []string
	for i := range 16 {
		topics = append(topics, fmt.Sprint("h:", i))
	}
	given := growing{}
	given.publish(t, r, 1, topics...)
	server.Kill()
	server.Restart()
	publishing(t, r)
	for _, topic := range topics {
		given.publish(t, r, 1, topic)
		if lead := time.Duration(r.ids.lead.Load()); lead > leap+10*time.Second {
			t.Fatalf("%s: an ID is %s ahead", topic, lead)
		}
	}
}

// TestNodesThatKnowAServerByDifferentNamesDoNotRaceAhead has a replica come, for which the server begins a new
// line of replication: who connects later knows it by another name.
func TestNodesThatKnowAServerByDifferentNamesDoNotRaceAhead(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	early, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	given := growing{}
	given.publish(t, early, 1, "h:a")
	follower(t, server, 0)
	late, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	for range 20 {
		given.publish(t, late, 1, "h:a")
		given.publish(t, early, 1, "h:a")
	}
	if early.only().scripts.Load().server == late.only().scripts.Load().server {
		t.Error("the server has one name")
	}
	if d := lead(given["h:a"]); d > leap {
		t.Errorf("%s ahead", d)
	}
}

// TestAMasterThatIsPromotedAgainIsAnotherServer comes back to a process that has seen nothing of the time
// between.
func TestAMasterThatIsPromotedAgainIsAnotherServer(t *testing.T) {
	first := redistest.Start(t)
	second := follower(t, first, 0)
	proxy := redistest.NewProxy(t, first.Addr())
	r, _ := running(t, RedisConfig{URL: proxy.URL(), History: keepAll})
	given := growing{}
	given.publish(t, r, 1, "h:a")
	second.CatchUp(first)
	second.Promote()
	first.Follow(second)
	first.Promote()
	proxy.Point(second.Addr())
	publishing(t, r)
	given.publish(t, r, 100, "h:a", "h:new")
	proxy.Point(first.Addr())
	publishing(t, r)
	given.publish(t, r, 1, "h:a", "h:new")
}

func TestALeapDoesNotAgeEvents(t *testing.T) {
	const events = 250
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	r, _ := running(t, RedisConfig{URL: server.URL(), History: History{{Prefix: "h:", Count: 1000, Age: leap / 2}}})
	at := number(t, r, "h:a", 1, events)
	server.Kill()
	server.Restart()
	publishing(t, r)
	after := number(t, r, "h:a", events+1, events+1)
	wantReplay(t, "over the restart", replay(t, r, "h:a", at[1], 1000), after[events+1], true, 2, events+1)
}

func TestSequencesStayBelow4096(t *testing.T) {
	server := redistest.Start(t)
	r, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	mustPublish(t, r, "h:a", "1")
	ahead := time.Now().Add(time.Hour).UnixMilli()
	setRecord(t, r, "h:a", ID{uint64(ahead), 4094}, 1)
	for _, want := range []ID{{uint64(ahead), 4095}, {uint64(ahead) + 1, 1}, {uint64(ahead) + 1, 2}} {
		if at := mustPublish(t, r, "h:a", "2"); at.ID != want {
			t.Errorf("published at %s, want %s", at, want)
		}
	}
	m := NewMemory(MemoryConfig{})
	l := &memoryLog{last: ID{1000, 4094}}
	for _, want := range []ID{{1000, 4095}, {1001, 1}, {1001, 2}} {
		var ev Event
		if m.add(l, &ev, 1000, keepAll[0]); ev.Position.ID != want {
			t.Errorf("in memory: published at %s, want %s", ev.Position.ID, want)
		}
	}
}

// TestAServerThatHidesItsNameIsUsed forbids INFO.
func TestAServerThatHidesItsNameIsUsed(t *testing.T) {
	server := redistest.Start(t)
	server.CLI("acl", "setuser", "default", "-info")
	r, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	at := number(t, r, "h:a", 1, 2)
	wantReplay(t, "nameless", replay(t, r, "h:a", at[1], 10), at[2], true, 2, 2)
	server.CLI("acl", "setuser", "default", "+info")
	server.CLI("client", "kill", "type", "pubsub")
	eventually(t, "reconnected", func() bool { return r.Stats().Reconnects > 0 && r.Ready() == nil })
	number(t, r, "h:a", 3, 4)
	if name := r.only().scripts.Load().server; len(name) != 16 {
		t.Errorf("its name is %q", name)
	}
}

func TestClocksThatDifferAreToldOf(t *testing.T) {
	server := redistest.Start(t)
	server.SetClock(-time.Minute)
	server.Restart()
	var log lines
	r, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll, Log: log.logger()})
	eventually(t, "the difference is known", func() bool {
		d := r.Stats().ClockDifference
		return d < -50*time.Second && d > -70*time.Second
	})
	eventually(t, "it is logged", func() bool { return log.contains("the clocks of redis and of this machine differ") })
}

// TestTheServersClockIsAskedAgain sets it back while the hub runs: positions do not go back, and the lead shows.
func TestTheServersClockIsAskedAgain(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	var log lines
	r, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll, Log: log.logger()})
	given := growing{}
	given.publish(t, r, 1, "h:a")
	server.Kill()
	server.SetClock(-10 * time.Minute)
	server.Restart()
	publishing(t, r)
	eventually(t, "the clock is known", func() bool { return r.Stats().ClockDifference < -time.Minute })
	given.publish(t, r, 2, "h:a")
	if d := r.Stats().PositionLead; d < 9*time.Minute {
		t.Errorf("the position is %s ahead", d)
	}
	eventually(t, "it is logged", func() bool { return log.contains("positions are ahead of redis's clock") })
}

// TestAPlaceHoldsThoughTheServersClockIsSetBack hands places back that were given while the clock was ahead, before anything was
// published: the client gets all that was published since, or is told that it does not.
func TestAPlaceHoldsThoughTheServersClockIsSetBack(t *testing.T) {
	t.Parallel()
	for ahead, recovered := range map[time.Duration]bool{10 * time.Minute: true, 5 * time.Hour: false} {
		t.Run(ahead.String(), func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
			server.SetClock(ahead)
			server.Restart()
			r, _ := running(t, RedisConfig{URL: server.URL(), History: keepAll})
			publishing(t, r)
			got, err := r.Replay(t.Context(), "h:a", Start, Limit{})
			if err != nil {
				t.Fatal(err)
			}
			place := got.Head
			server.Kill()
			server.SetClock(0)
			server.Restart()
			publishing(t, r)
			for _, data := range []string{"1", "2"} {
				mustPublish(t, r, "h:a", data)
			}
			got, err = r.Replay(t.Context(), "h:a", place, Limit{Events: 10})
			if err != nil || got.Recovered != recovered || recovered && got.Missed != 2 {
				t.Errorf("recovered is %t, %d missed of 2, %v", got.Recovered, got.Missed, err)
			}
		})
	}
}

func TestNothingIsStoredThatIsRefused(t *testing.T) {
	for _, right := range []string{"-publish", "-xadd", "-pexpire", "-set", "resetchannels"} {
		for _, key := range []string{"", "k"} {
			t.Run(right+key, func(t *testing.T) {
				server := redistest.Start(t)
				r := newRedis(t, RedisConfig{URL: server.URL(), History: keepAll})
				start(t, r)
				publishing(t, r)
				at := number(t, r, "h:a", 1, 1)
				server.CLI("acl", "setuser", "default", right)
				server.CLI("acl", "setuser", "default", "&hub:nowhere")
				batch := []Publication{{Topic: "h:a", Data: []byte("2"), Key: key}}
				if err := r.Publish(context.Background(), batch)[0].Err; !errors.Is(err, ErrRefused) {
					t.Errorf("got %v", err)
				}
				server.CLI("acl", "setuser", "default", "+@all", "allchannels")
				wantReplay(t, "what was refused", replay(t, r, "h:a", Start, 10), at[1], true, 1, 1)
				two := r.Publish(context.Background(), batch)[0]
				wantReplay(t, "allowed again", replay(t, r, "h:a", Start, 10), two.Position, true, 1, 2)
			})
		}
	}
}
