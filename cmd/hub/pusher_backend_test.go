package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	pusherhttp "github.com/pusher/pusher-http-go/v5"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
	"wshub/session/pusher"
)

// pusherBackend is Pusher's Go library for a hub.
func (p *process) pusherBackend() *pusherhttp.Client {
	u, _ := url.Parse(p.control) // startHub made it
	return &pusherhttp.Client{AppID: "1", Key: "app-key", Secret: "app-secret", Host: u.Host}
}

// dialPusher makes a client of the tests' application, and returns its socket_id.
func (p *process) dialPusher(name string) (c *client, socket string) {
	p.t.Helper()
	return dialPusher(p.t, p.addr(), name)
}

// dialPusher makes a client of the tests' application at a hub's public address, and returns its socket_id.
func dialPusher(t *testing.T, addr, name string) (c *client, socket string) {
	t.Helper()
	c = dial(t, name, "ws://"+addr+pusher.Path+"app-key?protocol=7", "")
	var established struct{ Data string }
	var data struct {
		Socket string `json:"socket_id"`
	}
	text := c.want(`{"event":"pusher:connection_established"`)
	if err := json.Unmarshal([]byte(text), &established); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(established.Data), &data); err != nil {
		t.Fatal(err)
	}
	return c, data.Socket
}

// subscribePusher subscribes to a channel with what the library signs for a user, "" for none.
func subscribePusher(t *testing.T, c *client, b *pusherhttp.Client, socket, channel, user string) {
	t.Helper()
	params := []byte(url.Values{"socket_id": {socket}, "channel_name": {channel}}.Encode())
	signed, err := []byte("{}"), error(nil)
	switch {
	case user != "":
		signed, err = b.AuthorizePresenceChannel(params, pusherhttp.MemberData{UserID: user, UserInfo: map[string]string{"name": "user " + user}})
	case strings.HasPrefix(channel, "private-"):
		signed, err = b.AuthorizePrivateChannel(params)
	}
	var data map[string]string
	if err == nil {
		err = json.Unmarshal(signed, &data)
	}
	if err != nil {
		t.Fatal(err)
	}
	data["channel"] = channel
	text, _ := json.Marshal(map[string]any{"event": "pusher:subscribe", "data": data}) // texts can always be marshalled
	c.say(string(text))
	c.want(`{"event":"pusher_internal:subscription_succeeded","channel":"` + channel + `"`)
}

// Pusher's Go library does all that it can do, and over the topics that an application shares its events meet those of the other
// protocols.
func TestPusherBackendsInGoReachEveryProtocol(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	h := startHub(t, buildHub(t), "", "--pusher-app="+pusherApp, "--pusher-share=1", "--pusher-subscription-count")
	b := h.pusherBackend()
	c, socket := h.dialPusher("pusher")
	subscribePusher(t, c, b, socket, "news", "")
	c.want(`{"event":"pusher_internal:subscription_count","channel":"news","data":"{\"subscription_count\":1}"}`)
	subscribePusher(t, c, b, socket, "private-news", "")
	subscribePusher(t, c, b, socket, "presence-news", "7")

	plain := dial(t, "plain", h.public+"?topic=news", "")
	v1 := dial(t, "hub.v1", h.public, "hub.v1.json")
	v1.say(`{"type":"subscribe","id":1,"topic":"news"}`)
	v1.want(`{"type":"subscribed"`)
	centrifuge := dial(t, "centrifugo", endpoint(h.addr()), "")
	centrifuge.say(`{"id":1,"connect":{}}` + "\n" + `{"id":2,"subscribe":{"channel":"news"}}`)
	centrifuge.want(`{"id":2,"subscribe":`)
	stream := readStream(t, h.public, "?topic=news")
	c.want(`{"event":"pusher_internal:subscription_count","channel":"news","data":"{\"subscription_count\":5}"}`)

	if err := b.Trigger("news", "my-event", map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	const seen = `{"event":"my-event","data":{"a":1}}`
	c.want(`{"event":"my-event","channel":"news","data":"{\"a\":1}"}`)
	plain.want(seen)
	v1.wantEvent("news", seen)
	centrifuge.want(`{"push":{"channel":"news","pub":{"data":` + seen)
	stream.want(`{"type":"subscribed","topic":"news"}`)
	stream.want(seen)
	for i, publish := range []func(text string){
		plain.say,
		func(text string) { v1.say(`{"type":"publish","id":2,"topic":"news","data":` + text + `}`) },
		func(text string) { centrifuge.say(`{"id":3,"publish":{"channel":"news","data":` + text + `}}`) },
		func(text string) { h.send(t, []map[string]any{{"topic": "news", "data": json.RawMessage(text)}}) },
		func(text string) { // as clients of a stream publish
			if status, answer, _ := ask(t, "POST", "http"+strings.TrimPrefix(h.public, "ws"), `{"topic":"news","data":`+text+`}`, "Content-Type", "application/json"); status != 200 {
				t.Errorf("%d %s", status, answer)
			}
		},
	} {
		publish(fmt.Sprintf(`{"from":%d}`, i))
		c.want(fmt.Sprintf(`{"event":"message","channel":"news","data":"{\"from\":%d}"}`, i))
		stream.want(fmt.Sprintf(`{"from":%d}`, i))
	}

	batch, err := b.TriggerBatch([]pusherhttp.Event{
		{Channel: "news", Name: "b1", Data: "text", Info: ptr("subscription_count")}, {Channel: "presence-news", Name: "b2", Data: 2, SocketID: &socket, Info: ptr("user_count")},
	})
	if err != nil || len(batch.Batch) != 2 || *batch.Batch[0].SubscriptionCount != 5 || *batch.Batch[1].UserCount != 1 {
		t.Errorf("%+v, %v", batch, err)
	}
	c.want(`{"event":"b1","channel":"news","data":"text"}`)
	channels, err := b.Channels(pusherhttp.ChannelsParams{FilterByPrefix: ptr("presence-"), Info: ptr("user_count")})
	if err != nil || len(channels.Channels) != 1 || channels.Channels["presence-news"].UserCount != 1 {
		t.Errorf("%+v, %v", channels, err)
	}
	channel, err := b.Channel("news", pusherhttp.ChannelParams{Info: ptr("subscription_count")})
	if err != nil || !channel.Occupied || channel.SubscriptionCount != 5 {
		t.Errorf("%+v, %v", channel, err)
	}
	users, err := b.GetChannelUsers("presence-news")
	if err != nil || len(users.List) != 1 || users.List[0].ID != "7" {
		t.Errorf("%+v, %v", users, err)
	}
	signed, err := b.AuthenticateUser([]byte(url.Values{"socket_id": {socket}}.Encode()), map[string]any{"id": "ada"})
	if err != nil {
		t.Fatal(err)
	}
	c.say(`{"event":"pusher:signin","data":` + string(signed) + `}`)
	c.want(`{"event":"pusher:signin_success"`)
	if err := b.SendToUser("ada", "hello", "x"); err != nil {
		t.Fatal(err)
	}
	c.want(`{"event":"hello","channel":"#server-to-user-ada","data":"x"}`)
	if c.count(`"event":"b2"`) > 0 {
		t.Error("the socket that was excepted got the event")
	}
	if code := terminatePusher(t, h, "ada", c); code != 4009 {
		t.Errorf("closed with %d", code)
	}
}

// terminatePusher ends a user's connections, for which the library has no call, and returns the code by which its client is closed.
func terminatePusher(t *testing.T, h *process, user string, c *client) int {
	t.Helper()
	path := "/apps/1/users/" + user + "/terminate_connections"
	q := signPusher(&pusher.App{ID: "1", Key: "app-key", Secret: "app-secret"}, "POST", path, url.Values{}, "{}")
	if status, answer, _ := ask(t, "POST", h.control+path+"?"+q.Encode(), "{}", "Content-Type", "application/json"); status != 200 || strings.TrimSpace(answer) != "{}" {
		t.Fatalf("%d %s", status, answer)
	}
	c.want(`{"event":"pusher:error","data":{"code":4009,`)
	return c.wantEnd()
}

func ptr[T any](v T) *T { return &v }

// Of 50 users on three hubs, one of which is killed, each is added once, and only who does not come back is removed, once.
func TestPusherPresenceOutlivesAKilledHub(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	path, redis := buildHub(t), redistest.Start(t)
	var hubs []*process
	for range 3 {
		h := startHub(t, path, redis.URL(), "--log-level=info", "--pusher-app="+pusherApp)
		(&threeHubs{t: t}).awaitReady(h)
		hubs = append(hubs, h)
	}
	const channel, users = "presence-room", 50
	b := hubs[0].pusherBackend()
	watcher, socket := hubs[0].dialPusher("watcher")
	subscribePusher(t, watcher, b, socket, channel, "watcher")
	join := func(h *process, user string) {
		c, socket := h.dialPusher(user)
		subscribePusher(t, c, b, socket, channel, user)
	}
	for i := range users {
		join(hubs[i%3], fmt.Sprint("u", i))
	}
	added := func(i int) string {
		return fmt.Sprintf(`{"event":"pusher_internal:member_added","channel":"presence-room","data":"{\"user_id\":\"u%d\",`, i)
	}
	removed := func(i int) string {
		return fmt.Sprintf(`{"event":"pusher_internal:member_removed","channel":"presence-room","data":"{\"user_id\":\"u%d\"}"}`, i)
	}
	eventually(t, func() error {
		for i := range users {
			if n := watcher.count(added(i)); n != 1 {
				return fmt.Errorf("u%d is added %d times", i, n)
			}
		}
		return nil
	})
	if err := hubs[2].cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-hubs[2].exited
	var stay []string
	for i := range users {
		switch {
		case i%3 != 2:
			stay = append(stay, fmt.Sprint("u", i))
		case i%2 == 0: // comes back at once, as pusher-js does
			stay = append(stay, fmt.Sprint("u", i))
			join(hubs[1], fmt.Sprint("u", i))
		}
	}
	slices.Sort(stay)
	eventually(t, func() error {
		for i := range users {
			want := 0
			if i%3 == 2 && i%2 == 1 {
				want = 1
			}
			if n := watcher.count(removed(i)); n != want {
				return fmt.Errorf("u%d is removed %d times, want %d", i, n, want)
			}
		}
		return nil
	})
	got, err := hubs[1].pusherBackend().GetChannelUsers(channel)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, u := range got.List {
		ids = append(ids, u.ID)
	}
	slices.Sort(ids)
	if want := append(slices.Clone(stay), "watcher"); !slices.Equal(ids, want) {
		t.Errorf("users %v, want %v", ids, want)
	}
	eventually(t, func() error { // the dead connections of who came back are swept, too
		info, err := b.Channel(channel, pusherhttp.ChannelParams{Info: ptr("user_count,subscription_count")})
		if err != nil || info.UserCount != len(stay)+1 || info.SubscriptionCount != len(stay)+1 {
			return fmt.Errorf("%+v, %v; want %d of both", info, err, len(stay)+1)
		}
		return nil
	})
	for i := range users {
		if n, gone := watcher.count(added(i)), watcher.count(removed(i)); n != 1 || gone > 1 {
			t.Errorf("u%d is added %d times, removed %d", i, n, gone)
		}
	}
}
