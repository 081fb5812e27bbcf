// Command centrifugego runs clients of centrifuge-go, unchanged, for the tests of the SDKs. It takes the orders of
// centrifuge.mjs and tells what happened as that does. It is a program of its own because the SDK has data races, which
// the race detector would lay to the tests.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

const patience = 30 * time.Second

const (
	// The delays between two tries.
	soon, later = 20 * time.Millisecond, 500 * time.Millisecond
	// pingDelay is how late a ping may be, less than usual: the tests do not want to wait.
	pingDelay = 3 * time.Second
)

type order struct {
	Client, Do, Build, URL, Channel string
	Tokens                          []string
	Ask                             int
	Data                            json.RawMessage
	Options                         struct {
		Limit   int32
		Reverse bool
		Since   *centrifuge.StreamPosition
	}
}

// event is what happened; see sdkEvent in the tests.
type event map[string]any

var output = struct {
	sync.Mutex
	*json.Encoder
}{Encoder: json.NewEncoder(os.Stdout)}

// client is one client of the SDK.
type client struct {
	name string
	*centrifuge.Client
}

func (c *client) report(kind string, e event) {
	if e == nil {
		e = event{}
	}
	e["client"], e["event"] = c.name, kind
	output.Lock()
	defer output.Unlock()
	if err := output.Encode(e); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	clients := map[string]*client{}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		switch c := clients[o.Client]; o.Do {
		case "open":
			clients[o.Client] = open(&o)
		case "connect":
			_ = c.Connect() // an error comes as an event, too
		case "disconnect":
			_ = c.Disconnect()
		case "subscribe":
			c.subscribe(&o)
		case "unsubscribe":
			sub, _ := c.GetSubscription(o.Channel)
			_ = sub.Unsubscribe()
		default:
			go c.ask(&o)
		}
	}
}

// supplier hands out tokens in turn, the last one for ever, and says so.
func (c *client) supplier(tokens []string, channel string) func() (string, error) {
	var next atomic.Int64
	return func() (string, error) {
		token := tokens[min(int(next.Add(1)), len(tokens)-1)]
		c.report("token", event{"channel": channel})
		return token, nil
	}
}

func open(o *order) *client {
	c := &client{name: o.Client}
	cfg := centrifuge.Config{MinReconnectDelay: soon, MaxReconnectDelay: later, MaxServerPingDelay: pingDelay}
	if len(o.Tokens) > 0 {
		cfg.Token = o.Tokens[0]
	}
	if len(o.Tokens) > 1 {
		supply := c.supplier(o.Tokens, "")
		cfg.GetToken = func(centrifuge.ConnectionTokenEvent) (string, error) { return supply() }
	}
	if o.Build == "protobuf" {
		c.Client = centrifuge.NewProtobufClient(o.URL, cfg)
	} else {
		c.Client = centrifuge.NewJsonClient(o.URL, cfg)
	}
	c.OnConnecting(func(e centrifuge.ConnectingEvent) { c.report("connecting", event{"code": e.Code, "reason": e.Reason}) })
	c.OnConnected(func(centrifuge.ConnectedEvent) { c.report("connected", event{"transport": "websocket"}) })
	c.OnDisconnected(func(e centrifuge.DisconnectedEvent) {
		c.report("disconnected", event{"code": e.Code, "reason": e.Reason})
	})
	c.OnError(func(e centrifuge.ErrorEvent) { c.report("error", failure(e.Error)) })
	c.OnSubscribing(func(e centrifuge.ServerSubscribingEvent) {
		c.report("subscribing", event{"channel": e.Channel, "server": true})
	})
	c.OnUnsubscribed(func(e centrifuge.ServerUnsubscribedEvent) {
		c.report("unsubscribed", event{"channel": e.Channel, "server": true})
	})
	c.OnSubscribed(func(e centrifuge.ServerSubscribedEvent) {
		s := subscribed(e.Channel, e.StreamPosition, e.WasRecovering, e.Recovered, e.Recoverable)
		s["server"] = true
		c.report("subscribed", s)
	})
	c.OnPublication(func(e centrifuge.ServerPublicationEvent) {
		p := publication(e.Channel, &e.Publication)
		p["server"] = true
		c.report("publication", p)
	})
	return c
}

func (c *client) subscribe(o *order) {
	channel := o.Channel
	sub, ok := c.GetSubscription(channel)
	if ok {
		_ = sub.Subscribe()
		return
	}
	cfg := centrifuge.SubscriptionConfig{MinResubscribeDelay: soon, MaxResubscribeDelay: later}
	if len(o.Tokens) > 0 {
		cfg.Token = o.Tokens[0]
	}
	if len(o.Tokens) > 1 {
		supply := c.supplier(o.Tokens, channel)
		cfg.GetToken = func(centrifuge.SubscriptionTokenEvent) (string, error) { return supply() }
	}
	sub, _ = c.NewSubscription(channel, cfg) // the channel is new
	sub.OnSubscribing(func(e centrifuge.SubscribingEvent) {
		c.report("subscribing", event{"channel": channel, "code": e.Code, "reason": e.Reason})
	})
	sub.OnSubscribed(func(e centrifuge.SubscribedEvent) {
		c.report("subscribed", subscribed(channel, e.StreamPosition, e.WasRecovering, e.Recovered, e.Recoverable))
	})
	sub.OnUnsubscribed(func(e centrifuge.UnsubscribedEvent) {
		c.report("unsubscribed", event{"channel": channel, "code": e.Code, "reason": e.Reason})
	})
	sub.OnError(func(e centrifuge.SubscriptionErrorEvent) {
		f := failure(e.Error)
		f["channel"] = channel
		c.report("error", f)
	})
	sub.OnPublication(func(e centrifuge.PublicationEvent) { c.report("publication", publication(channel, &e.Publication)) })
	_ = sub.Subscribe() // an error comes as an event, too
}

func (c *client) ask(o *order) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer := event{}
	var err error
	switch o.Do {
	case "publish":
		_, err = c.Publish(ctx, o.Channel, o.Data)
	case "presence":
		_, err = c.Presence(ctx, o.Channel)
	case "presenceStats":
		_, err = c.PresenceStats(ctx, o.Channel)
	case "history":
		var r centrifuge.HistoryResult
		r, err = c.History(ctx, o.Channel, centrifuge.WithHistoryLimit(o.Options.Limit),
			centrifuge.WithHistoryReverse(o.Options.Reverse), centrifuge.WithHistorySince(o.Options.Since))
		var list []event
		for i := range r.Publications {
			list = append(list, publication(o.Channel, &r.Publications[i]))
		}
		answer["offset"], answer["epoch"], answer["publications"] = r.Offset, r.Epoch, list
	}
	if err != nil {
		answer = failure(err)
	}
	answer["ask"] = o.Ask
	c.report("answer", answer)
}

// failure is what is told of an error.
func failure(err error) event {
	e := event{"code": -1, "reason": err.Error()}
	var of *centrifuge.Error
	if errors.As(err, &of) {
		e["code"] = of.Code
	}
	return e
}

func publication(channel string, p *centrifuge.Publication) event {
	e := event{"channel": channel, "data": string(p.Data), "offset": p.Offset, "tags": p.Tags}
	if p.Info != nil {
		e["user"] = p.Info.User
	}
	return e
}

func subscribed(channel string, at *centrifuge.StreamPosition, wasRecovering, recovered, recoverable bool) event {
	e := event{"channel": channel, "wasRecovering": wasRecovering, "recovered": recovered, "recoverable": recoverable}
	if at != nil {
		e["offset"], e["epoch"] = at.Offset, at.Epoch
	}
	return e
}
