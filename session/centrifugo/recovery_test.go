package centrifugo_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "github.com/centrifugal/protocol"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
	"wshub/session/centrifugo/offset"
	"wshub/session/token"
)

func TestRecovery(t *testing.T) {
	both(t, func(t *testing.T, binary bool) {
		n := start(t, session.Config{ReplayLimit: 10}, engine.Config{})
		c, _ := n.connect(binary, "")
		n.publish("news", `1`, `2`)
		at := c.subscribe("news")
		n.publish("news", `3`)
		if p := c.wantPub("news", `3`); p.Offset <= at.Offset {
			t.Errorf("%d behind %d", p.Offset, at.Offset)
		}
		_ = c.conn.CloseNow()
		n.publish("news", `4`)

		again := func(r *pb.SubscribeRequest) (*client, *pb.SubscribeResult) {
			c, _ := n.connect(binary, "")
			r.Channel, r.Recover = "news", true
			answer := c.ask(&pb.Command{Subscribe: r})
			if answer.Subscribe == nil {
				t.Fatalf("%+v: %+v", r, answer)
			}
			return c, answer.Subscribe
		}
		for name, r := range map[string]*pb.SubscribeRequest{
			"by epoch":     {Epoch: at.Epoch, Offset: at.Offset},
			"of any epoch": {Offset: at.Offset},
		} {
			c, sub := again(r)
			if !sub.WasRecovering || !sub.Recovered || sub.Offset != at.Offset || sub.Epoch != at.Epoch {
				t.Errorf("%s: %+v, want offset %d", name, sub, at.Offset)
			}
			c.wantPub("news", `3`)
			c.wantPub("news", `4`)
		}
		c, sub := again(&pb.SubscribeRequest{})
		if !sub.Recovered || sub.Offset != 0 || sub.Epoch != at.Epoch {
			t.Errorf("from the beginning: %+v", sub)
		}
		for _, data := range []string{`1`, `2`, `3`, `4`} {
			c.wantPub("news", data)
		}
		for name, r := range map[string]*pb.SubscribeRequest{
			"_":                  {Epoch: "_", Offset: at.Offset},
			"another epoch":      {Epoch: strings.Repeat("0", 15) + "1", Offset: at.Offset},
			"no epoch":           {Epoch: "zzz", Offset: at.Offset},
			"beyond all offsets": {Epoch: at.Epoch, Offset: 1 << 60},
		} {
			_, sub := again(r)
			if !sub.WasRecovering || sub.Recovered || sub.Epoch != at.Epoch || sub.Offset <= at.Offset {
				t.Errorf("%s: %+v", name, sub)
			}
		}
		c, _ = n.connect(binary, "")
		c.wantError(112, &pb.Command{Subscribe: &pb.SubscribeRequest{Channel: "news", Recover: true, Epoch: "_", Flag: 1 << 1}})
		if sub := c.subscribe("news"); sub.Offset <= at.Offset {
			t.Errorf("after error 112: %+v", sub)
		}
		n.publish("news", `5`, `6`, `7`, `8`, `9`, `10`, `11`, `12`)
		if _, sub := again(&pb.SubscribeRequest{Epoch: at.Epoch, Offset: at.Offset}); !sub.Recovered {
			t.Errorf("as many as may be: %+v", sub)
		}
		n.publish("news", `13`)
		if _, sub := again(&pb.SubscribeRequest{Epoch: at.Epoch, Offset: at.Offset}); sub.Recovered {
			t.Errorf("more than may be: %+v", sub)
		}
	})
}

func TestHistory(t *testing.T) {
	both(t, func(t *testing.T, binary bool) {
		n := start(t, session.Config{ReplayLimit: 5}, engine.Config{})
		n.publish("news", `1`, `2`, `3`, `4`, `5`, `6`)
		c, _ := n.connect(binary, "")
		ask := func(r *pb.HistoryRequest) (data string, result *pb.HistoryResult) {
			t.Helper()
			r.Channel = "news"
			answer := c.ask(&pb.Command{History: r})
			if answer.History == nil {
				t.Fatalf("%+v: %+v", r, answer)
			}
			for _, p := range answer.History.Publications {
				data += string(p.Data)
			}
			return data, answer.History
		}
		if data, r := ask(&pb.HistoryRequest{}); data != "" || r.Offset == 0 || r.Epoch == "" {
			t.Errorf("the position: %s %+v", data, r)
		}
		data, r := ask(&pb.HistoryRequest{Limit: 2})
		if data != "12" {
			t.Errorf("the first two: %s", data)
		}
		since := &pb.StreamPosition{Epoch: r.Epoch, Offset: r.Publications[1].Offset}
		if data, _ := ask(&pb.HistoryRequest{Limit: 3, Since: since}); data != "345" {
			t.Errorf("the next three: %s", data)
		}
		if data, _ := ask(&pb.HistoryRequest{Limit: -1}); data != "12345" {
			t.Errorf("as many as may be: %s", data)
		}
		if data, _ := ask(&pb.HistoryRequest{Limit: 2, Reverse: true}); data != "65" {
			t.Errorf("the last two: %s", data)
		}
		if data, _ := ask(&pb.HistoryRequest{Limit: 3, Reverse: true, Since: since}); data != "1" {
			t.Errorf("before the second: %s", data)
		}
		c.wantError(112, &pb.Command{History: &pb.HistoryRequest{Channel: "news", Limit: 1, Since: &pb.StreamPosition{Epoch: "_", Offset: 1}}})
		c.wantError(108, &pb.Command{History: &pb.HistoryRequest{Channel: "raw", Limit: 1}})
	})
}

// Clients take an answer with fewer events than they asked for as the end of the history.
func TestAHistoryIsAnsweredWhole(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, binary bool) {
		n := start(t, session.Config{ReplayLimit: 500}, engine.Config{})
		large := strings.Repeat("x", 10_000)
		var all []string
		for i := range 150 { // 1.5 MB
			all = append(all, fmt.Sprintf(`{"n":%d,"pad":%q}`, i, large))
		}
		n.publish("news", all...)
		c, _ := n.connect(binary, "")
		ask := func(r *pb.HistoryRequest, first, step, events int) []*pb.Publication {
			t.Helper()
			r.Channel = "news"
			answer := c.ask(&pb.Command{History: r})
			if answer.History == nil || len(answer.History.Publications) != events {
				t.Fatalf("%d events: error %v, got %d", events, answer.Error, len(answer.History.GetPublications()))
			}
			for i, p := range answer.History.Publications {
				if string(p.Data) != all[first+i*step] {
					t.Fatalf("%d events: the %dth is %.20s", events, i, p.Data)
				}
			}
			return answer.History.Publications
		}
		page := ask(&pb.HistoryRequest{Limit: 100}, 0, 1, 100)
		top := c.ask(&pb.Command{History: &pb.HistoryRequest{Channel: "news"}}).History
		since := &pb.StreamPosition{Epoch: top.Epoch, Offset: page[99].Offset}
		if rest := ask(&pb.HistoryRequest{Limit: 100, Since: since}, 100, 1, 50); rest[49].Offset != top.Offset {
			t.Errorf("the last one is at %d, the top at %d", rest[49].Offset, top.Offset)
		}
		ask(&pb.HistoryRequest{Limit: 100, Reverse: true}, 149, -1, 100)
		ask(&pb.HistoryRequest{Limit: 100, Reverse: true, Since: since}, 98, -1, 99)
		c.wantError(106, &pb.Command{History: &pb.HistoryRequest{Channel: "news", Limit: 200}})
		if r := c.ask(&pb.Command{History: &pb.HistoryRequest{Channel: "news", Limit: -1}}); len(r.History.GetPublications()) < 100 {
			t.Errorf("as many as may be: %d, %v", len(r.History.GetPublications()), r.Error)
		}
		n.eventually("nothing is owed", func() bool { return n.server.Stats().Backlog == 0 })
	})
}

// Where events are lost a subscription ends, and the SDK begins another one; a server-side one ends with the connection.
func TestALossEndsTheSubscription(t *testing.T) {
	both(t, func(t *testing.T, binary bool) {
		n := closed(t, session.Config{})
		c, _ := n.connect(binary, mint(t, token.Grant{Subject: "42", TTL: time.Hour, Subscribe: []string{"news"}}))
		other, _ := n.connect(!binary, mint(t, token.Grant{Subject: "43", TTL: time.Hour, Subscribe: []string{"news"}}))
		c.subscribe("news")
		other.subscribe("news")
		n.publish("news", `1`)
		p := c.wantPub("news", `1`)
		other.wantPub("news", `1`)
		epoch := strings.Repeat("0", 15) + "9"
		at, err := offset.Position(epoch, p.Offset+100)
		if err != nil {
			t.Fatal(err)
		}
		both := pubsub.Loops(0).With(0).With(1)
		n.hub.Gap("news", both, pubsub.Loss{At: at})
		n.hub.HandOver()
		for _, c := range []*client{c, other} {
			if r := c.hear(); r.Push == nil || r.Push.Channel != "news" || r.Push.Unsubscribe == nil || r.Push.Unsubscribe.Code != 2500 {
				t.Fatalf("%+v", r)
			}
		}
		n.eventually("both have left it", func() bool { return n.hub.Stats().Subscriptions == 2 })
		c.subscribe("news")
		n.hub.Gap("user:42", both, pubsub.Loss{At: pubsub.Position{}})
		n.hub.HandOver()
		c.wantClose(3010)
		other.subscribe("news")
	})
}

// A client that reads nothing catches up in its pump, and a loss that comes meanwhile ends it there.
func TestALossBehindWhatLags(t *testing.T) {
	n := start(t, session.Config{}, engine.Config{MaxQueued: 64 << 10, SendBuffer: 4 << 10})
	c, _ := n.connect(false, "")
	sub := c.subscribe("news")
	data := `"` + strings.Repeat("x", 8000) + `"`
	n.publish("news", slices.Repeat([]string{data}, 200)...) // at once: who reads nothing for a second is cut
	at, err := offset.Position(strings.Repeat("0", 15)+"9", sub.Offset)
	if err != nil {
		t.Fatal(err)
	}
	n.hub.Gap("news", pubsub.Loops(0).With(0).With(1), pubsub.Loss{At: at})
	n.hub.HandOver()
	n.publish("news", `"behind"`)
	for i := 0; ; i++ {
		r := c.hear()
		if r.Push.Unsubscribe != nil {
			if i != 200 || r.Push.Unsubscribe.Code != 2500 {
				t.Errorf("after %d events: %+v", i, r)
			}
			break
		}
		if string(r.Push.Pub.Data) != data {
			t.Fatalf("event %d: %.40s", i, r.Push.Pub.Data)
		}
	}
	if sub := c.subscribe("news"); sub.WasRecovering {
		t.Errorf("%+v", sub)
	}
	if b := n.server.Stats().Backlog; b != 0 {
		t.Errorf("%d bytes of backlog, and nothing waits", b)
	}
}

// betweenPages is a broker that calls publish before the second page of a history is read.
type betweenPages struct {
	*pubsub.Memory
	pages   atomic.Int32
	publish func()
}

func (b *betweenPages) Replay(ctx context.Context, topic string, since pubsub.Position, limit pubsub.Limit) (pubsub.Replay, error) {
	if b.pages.Add(1) == 2 {
		b.publish()
	}
	return b.Memory.Replay(ctx, topic, since, limit)
}

// A reader of a history that goes on at its offset does not get again what is in it.
func TestTheOffsetOfAHistoryIsNoOlderThanItsLastEvent(t *testing.T) {
	b := &betweenPages{Memory: pubsub.NewMemory(pubsub.MemoryConfig{History: history})}
	n := startOn(t, session.Config{}, engine.Config{}, b)
	b.publish = func() {
		for _, r := range b.Memory.Publish(context.Background(), []pubsub.Publication{{Topic: "news", Data: []byte(`"last"`)}}) {
			if r.Err != nil {
				t.Error(r.Err)
			}
		}
	}
	large := `"` + strings.Repeat("x", 40<<10) + `"` // two do not fit into a page
	n.publish("news", large, large)
	c, _ := n.connect(false, "")
	r := c.ask(&pb.Command{History: &pb.HistoryRequest{Channel: "news", Limit: 100}})
	if r.History == nil || len(r.History.Publications) != 3 {
		t.Fatalf("%+v", r)
	}
	if last := r.History.Publications[2].Offset; r.History.Offset != last {
		t.Errorf("the offset is %d, that of the last event %d", r.History.Offset, last)
	}
}
