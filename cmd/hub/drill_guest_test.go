package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// guest is a hub.v1 client that follows some topics with presence, and perhaps watches who is there. It comes back to any hub, as
// its earlier session or as a new one, and asks for all that it wants until it has it.
type guest struct {
	// Fixed at birth.
	d         *presenceDrill
	number    int
	user, jwt string
	watches   bool

	mu      sync.Mutex
	conn    *websocket.Conn // nil between connections
	session string          // "" for none that it could resume
	token   string
	wants   map[string]bool
	asked   map[int]string // topics of requests that wait for their answers; "" is a resume
	lastID  int
	away    time.Duration // how long it is so when its connection ends
	gone    bool          // it stays away
	back    chan struct{} // is sent to when it is not gone any more
	folds   map[string]*fold
}

func (d *presenceDrill) newGuest(number int, watches bool, wants []string) *guest {
	g := &guest{
		d: d, number: number, user: fmt.Sprint("u", number/2), watches: watches,
		wants: map[string]bool{}, back: make(chan struct{}, 1),
	}
	for _, topic := range wants {
		g.wants[topic] = true
	}
	g.jwt = d.mintGuest(g.user, number)
	return g
}

// run comes, and comes back, until ctx ends.
func (g *guest) run(ctx context.Context) {
	for ctx.Err() == nil {
		came := g.visit(ctx)
		g.mu.Lock()
		wait, gone := g.away, g.gone
		g.away = 0
		g.mu.Unlock()
		if gone {
			select {
			case <-ctx.Done():
			case <-g.back:
			}
			continue
		}
		if wait == 0 && !came {
			wait = rand.N(200 * time.Millisecond)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// announced says in a URL that the client comes back, "" for one that does not.
func (g *guest) announced() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.token == "" {
		return ""
	}
	return "&resume=" + url.QueryEscape(g.token)
}

// visit is one connection from dial to end. came is true if a hub let it in.
func (g *guest) visit(ctx context.Context) (came bool) {
	dialing, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(dialing, g.d.hub(-1).public+"?token="+g.jwt+g.announced(), &websocket.DialOptions{Subprotocols: []string{"hub.v1.json"}})
	if err != nil {
		return false
	}
	c.SetReadLimit(-1)
	defer func() { _ = c.CloseNow() }()
	for {
		_, text, err := c.Read(ctx)
		g.mu.Lock()
		if err != nil {
			if code := websocket.CloseStatus(err); code == websocket.StatusCode(replacedCode) {
				g.d.oddity("client %d is replaced, and by nobody", g.number)
			}
			g.conn, g.asked, g.folds = nil, nil, nil
			g.mu.Unlock()
			return came
		}
		var m told
		if err := json.Unmarshal(text, &m); err != nil {
			g.d.oddity("client %d: %v in %s", g.number, err, text)
		}
		if m.Type == "welcome" {
			came = true
			g.welcome(c, &m)
		} else if g.conn == c { // else it was cut meanwhile
			g.take(&m)
		}
		g.mu.Unlock()
	}
}

// welcome begins on connection c, by resuming if there is something to resume. The caller holds mu, here and below.
func (g *guest) welcome(c *websocket.Conn, m *told) {
	g.conn, g.asked, g.folds = c, map[int]string{}, map[string]*fold{}
	if g.gone {
		g.hangUp()
		return
	}
	if g.session == "" {
		g.session, g.token = m.Session, m.Token
		for topic := range g.wants {
			if g.conn != nil {
				g.ask("subscribe", topic)
			}
		}
		return
	}
	request := map[string]any{"type": "resume", "token": g.token, "positions": map[string]any{}}
	for topic := range g.wants {
		request["positions"].(map[string]any)[topic] = nil
		if g.watches {
			g.folds[topic] = new(fold)
		}
	}
	if g.watches {
		request["presence"] = slices.Collect(maps.Keys(g.wants))
	}
	g.say("", request)
}

// ask subscribes or unsubscribes a topic.
func (g *guest) ask(kind, topic string) {
	request := map[string]any{"type": kind, "topic": topic}
	if kind == "subscribe" && g.watches {
		request["presence"] = true
	}
	g.say(topic, request)
}

// say sends a request that is about topic.
func (g *guest) say(topic string, request map[string]any) {
	g.lastID++
	request["id"] = g.lastID
	g.asked[g.lastID] = topic
	text, _ := json.Marshal(request)
	if err := g.conn.Write(context.Background(), websocket.MessageText, text); err != nil {
		g.hangUp()
	}
}

// hangUp breaks the connection, if there is one.
func (g *guest) hangUp() {
	if c := g.conn; c != nil {
		g.conn = nil
		_ = c.CloseNow()
	}
}

// take takes a message.
func (g *guest) take(m *told) {
	id := 0
	_ = json.Unmarshal(m.ID, &id)
	topic := g.asked[id]
	delete(g.asked, id)
	switch m.Type {
	case "subscribed":
		if g.watches && id > 0 {
			g.folds[m.Topic] = new(fold)
			g.judge(m, g.folds[m.Topic].whole(m))
		}
	case "resumed":
		if m.Session != g.session {
			g.d.oddity("client %d resumed %s as %s", g.number, g.session, m.Session)
		}
		g.token = m.Token
		for name, one := range m.Topics {
			if one.Error != "" && one.Retry {
				g.askLater(name)
			} else if one.Error != "" {
				g.d.oddity("client %d resumed without %s: %s", g.number, name, one.Error)
			}
		}
	case "presence", "joined", "left":
		g.hear(m)
	case "goodbye":
		g.away = time.Duration(m.AfterMS) * time.Millisecond
	case "error":
		g.refused(m, id, topic)
	}
}

// hear takes what is told of a topic's presence.
func (g *guest) hear(m *told) {
	f := g.folds[m.Topic]
	if f == nil {
		g.d.oddity("client %d does not watch %s, and hears that %s %s", g.number, m.Topic, m.Session, m.Type)
		return
	}
	if m.Type == "presence" {
		g.d.wholes.Add(1)
		g.judge(m, f.whole(m))
		return
	}
	g.d.changes.Add(1)
	g.judge(m, f.change(m))
}

func (g *guest) judge(m *told, err error) {
	if err != nil {
		g.d.oddity("client %d, who watches %s: %v", g.number, m.Topic, err)
	}
}

// refused takes an error: what may be tried again is.
func (g *guest) refused(m *told, id int, topic string) {
	switch {
	case id > 0 && topic == "": // the resume
		if !m.Retry {
			g.d.oddity("client %d can't resume: %s %s", g.number, m.Code, m.Message)
			g.session = ""
		}
		g.away = rand.N(200 * time.Millisecond)
		g.hangUp()
	case id > 0 && (m.Retry || m.Code == "not_subscribed"):
		g.askLater(topic)
	case id == 0 && m.Topic != "":
		delete(g.folds, m.Topic)
		g.askLater(m.Topic)
	default:
		g.d.oddity("client %d: %s %s %s", g.number, m.Code, m.Message, m.Presence)
	}
}

// askLater asks again for a topic, if it is still wanted then, and else to be out of it.
func (g *guest) askLater(topic string) {
	g.lastID++
	id, c, asked := g.lastID, g.conn, g.asked
	asked[id] = topic // it is not steady meanwhile
	time.AfterFunc(100*time.Millisecond+rand.N(200*time.Millisecond), func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if delete(asked, id); g.conn == c && g.wants[topic] {
			g.ask("subscribe", topic)
		}
	})
}

// steady reports whether the client has all that it wants, or is gone for good.
func (g *guest) steady() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.gone && g.conn == nil || g.conn != nil && len(g.asked) == 0 && !g.gone
}

// toggle follows a topic, or leaves it.
func (g *guest) toggle(topic string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conn == nil || len(g.asked) > 0 || g.watches {
		return
	}
	if g.wants[topic] {
		delete(g.wants, topic)
		g.ask("unsubscribe", topic)
	} else {
		g.wants[topic] = true
		g.ask("subscribe", topic)
	}
}

// cut breaks the connection; the client is back after a while, as the same session or as another one.
func (g *guest) cut(away time.Duration, same bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conn == nil {
		return
	}
	if g.away = away; !same {
		g.session = ""
	}
	g.hangUp()
}

// leave has the client stay away from now on, comeBack ends that.
func (g *guest) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gone = true
	g.hangUp()
}

func (g *guest) comeBack() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		g.gone = false
		select {
		case g.back <- struct{}{}:
		default: // it has not even left
		}
	}
}

func (g *guest) isGone() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.gone
}
