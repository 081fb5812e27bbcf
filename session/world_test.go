package session

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"pgregory.net/rapid"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session/token"
)

// world is the model: one client of one session on a node whose broker is a puppet.
type world struct {
	t      *rapid.T
	n      *node
	broker *puppet
	signer token.SigningKey

	conn   *websocket.Conn
	sync   int
	next   int                 // the next request's id
	asked  map[string]string   // requests without an answer: id to what was asked
	topics map[string]*heardOf // what the client follows, as it was told
	// kept is what a careful client keeps over connections.
	kept   map[string]string
	ticket string
	rights []string // patterns that the present token allows
	deaf   bool     // the client's connection has broken: what comes is not heard
}

// heardOf is a followed topic as the client sees it.
type heardOf struct {
	last int // the number of the last event that it has, or counts as having; -1: any may come
}

var modelTopics = []string{"a", "b", "c", "raw"}

const modelUser = "u"

func (w *world) fatal(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf(format, args...)
}

// dial opens a connection with rights for the given patterns.
func (w *world) dial(patterns []string) {
	raw, err := token.Mint(w.signer, token.Grant{Subject: modelUser, TTL: time.Hour, Subscribe: patterns})
	if err != nil {
		w.fatal("%v", err)
	}
	conn, _, err := websocket.Dial(context.Background(), "ws://"+w.n.server.Addr().String()+"/notification",
		&websocket.DialOptions{Subprotocols: []string{protocolV1, "bearer." + raw}})
	if err != nil {
		w.fatal("%v", err)
	}
	conn.SetReadLimit(1 << 24)
	w.conn, w.rights, w.deaf = conn, patterns, false
	w.asked, w.topics = map[string]string{}, map[string]*heardOf{}
	w.quiesce()
}

// bystander follows topics too, and is not looked at.
func (w *world) bystander(topics ...string) {
	raw, err := token.Mint(w.signer, token.Grant{Subject: "bystander", TTL: time.Hour, Subscribe: []string{"*"}})
	if err != nil {
		w.fatal("%v", err)
	}
	conn, _, err := websocket.Dial(context.Background(), "ws://"+w.n.server.Addr().String()+"/notification?topic="+strings.Join(topics, "&topic="),
		&websocket.DialOptions{Subprotocols: []string{protocolPlain, "bearer." + raw}})
	if err != nil {
		w.fatal("%v", err)
	}
	conn.SetReadLimit(1 << 24)
	go func() {
		for err := error(nil); err == nil; {
			_, _, err = conn.Read(context.Background())
		}
	}()
}

// ask sends a request, and notes that it has to be answered.
func (w *world) ask(format string, args ...any) {
	w.next++
	id := fmt.Sprint(w.next)
	body := fmt.Sprintf(format, args...)
	w.asked[id] = body
	w.send(`{"id":` + id + `,` + body + `}`)
}

func (w *world) send(text string) {
	w.t.Log("C", text)
	if err := w.conn.Write(context.Background(), websocket.MessageText, []byte(text)); err != nil {
		w.fatal("write: %v", err)
	}
}

// quiesce waits until the hub has done all that it can do by itself, reads what it sent, and inspects it.
func (w *world) quiesce() {
	w.n.idle()
	w.sync++
	want := fmt.Sprint("sync-", w.sync)
	w.send(`{"type":"ping","id":"` + want + `"}`)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		_, data, err := w.conn.Read(ctx)
		cancel()
		if err != nil {
			w.fatal("read: %v; not answered: %v", err, w.asked)
		}
		var h heardAll
		if err := json.Unmarshal(data, &h); err != nil {
			w.fatal("%s: %v", data, err)
		}
		if string(h.ID) == `"`+want+`"` {
			break
		}
		w.t.Logf("S %.200s", data)
		if !w.deaf {
			w.hear(&h, data)
		}
	}
	w.n.inspect(w.t)
}

type heardAll struct {
	heard
	ID json.RawMessage
}

// answered notes an answer: there may be only one.
func (w *world) answered(h *heardAll, data []byte) (asked string) {
	if h.ID == nil {
		return ""
	}
	asked, ok := w.asked[string(h.ID)]
	if !ok {
		w.fatal("an answer to nothing, or a second one: %s", data)
	}
	delete(w.asked, string(h.ID))
	return asked
}

// allowed reports whether the session may follow topic by the last token that was accepted.
func (w *world) allowed(topic string) bool {
	return topic == userPrefix+modelUser || slices.Contains(w.rights, topic) || slices.Contains(w.rights, "*")
}

// number is the number of the event at a position.
func (w *world) number(position string) int {
	if position == "0" {
		return 0
	}
	p, err := pubsub.ParsePosition(position)
	if err != nil || p.Epoch != puppetEpoch {
		w.fatal("a position of nowhere: %q, %v", position, err)
	}
	return int(p.ID.Ms - 1_000_000)
}

// begin is told to the client: it follows topic from a position on.
func (w *world) begin(topic, position string) {
	if !w.allowed(topic) {
		w.fatal("%s is followed without a right to", topic)
	}
	f := &heardOf{last: -1}
	if position != "" {
		f.last = w.number(position)
		w.kept[topic] = position
	} else if w.broker.keeps(topic) && topic != userPrefix+modelUser {
		w.fatal("%s is followed without a position", topic)
	}
	w.topics[topic] = f
}

func (w *world) hear(h *heardAll, data []byte) {
	switch h.Type {
	case "welcome":
		if w.ticket == "" {
			w.ticket = h.Token
		}
	case "subscribed":
		w.answered(h, data)
		w.begin(h.Topic, h.Position)
	case "resumed":
		asked := w.answered(h, data)
		w.ticket = h.Token
		for topic, r := range h.Topics {
			if r.Error != "" {
				continue
			}
			if *r.Recovered && !strings.Contains(asked, fmt.Sprintf("%q:", topic)) {
				w.fatal("%s was not asked for: %s", topic, data)
			}
			w.begin(topic, r.Position)
		}
		var want struct{ Positions map[string]json.RawMessage }
		_ = json.Unmarshal([]byte("{"+asked+"}"), &want)
		for topic := range want.Positions {
			if _, ok := h.Topics[topic]; !ok {
				w.fatal("nothing is said of %s: %s", topic, data)
			}
		}
	case "event":
		w.event(h, data)
	case "gap":
		f := w.topics[h.Topic]
		if f == nil {
			w.fatal("a gap of a topic that is not followed: %s", data)
		}
		f.last = -1
		if h.Position != "" {
			f.last = w.number(h.Position)
			w.kept[h.Topic] = h.Position
		}
	case "ok":
		asked := w.answered(h, data)
		var of struct{ Type, Topic, Rights string }
		_ = json.Unmarshal([]byte("{"+asked+"}"), &of)
		switch of.Type {
		case "unsubscribe":
			delete(w.topics, of.Topic)
		case "auth":
			w.rights = strings.Split(of.Rights, " ")
			for topic := range w.topics {
				if !w.allowed(topic) {
					delete(w.topics, topic)
				}
			}
		}
	case "error":
		if h.ID != nil {
			w.answered(h, data)
		}
	case "history", "pong":
		w.answered(h, data)
	default:
		w.fatal("unheard of: %s", data)
	}
}

// event is one that the client hears: it must be the next one of a topic that it follows.
func (w *world) event(h *heardAll, data []byte) {
	f := w.topics[h.Topic]
	if f == nil || !w.allowed(h.Topic) {
		w.fatal("an event of a topic that is not followed, or may not be: %s", data)
	}
	var body []any
	_ = json.Unmarshal(h.Data, &body)
	n := int(body[0].(float64))
	if f.last >= 0 && n != f.last+1 {
		w.fatal("%s: event %d behind %d", h.Topic, n, f.last)
	}
	f.last = n
	if h.Position != "" {
		w.kept[h.Topic] = h.Position
	}
}

// answerAll has the broker do everything that it is asked, without errors, until nobody asks any more.
func (w *world) answerAll() {
	w.broker.punctual()
	for range 1000 {
		w.n.idle() // what the broker could not do has come to the loop, to be tried again
		w.n.onLoop(func() {
			for s := range w.n.sessions() {
				if work := s.busy(); work != nil {
					for _, sub := range slices.Clone(work.pending) {
						if sub.timer != nil {
							sub.again()
						}
					}
				}
				s.followOwn()
			}
		})
		w.quiesce() // so that the pumps go on
		pumping := w.pumping()
		w.n.idle() // what a pump asked for last has come to the broker
		b := w.broker
		b.mu.Lock()
		follows, reads := b.follows, b.reads
		b.follows, b.reads = nil, nil
		b.mu.Unlock()
		if len(follows)+len(reads) == 0 && !pumping {
			w.quiesce()
			return
		}
		for _, f := range follows {
			f.done(nil)
		}
		for _, r := range reads {
			r.answer <- nil
		}
		w.n.idle()
	}
	w.fatal("the hub asks for ever")
}

// pumping reports whether something waits for a client to read on.
func (w *world) pumping() (waits bool) {
	w.n.onLoop(func() {
		for s := range w.n.sessions() {
			work := s.busy()
			waits = waits || work != nil && work.pumping || s.conn.Queued() > 0
		}
	})
	return waits
}

// sessions are all sessions of the first loop. On the loop.
func (n *node) sessions() map[*Session]struct{} {
	all := map[*Session]struct{}{}
	n.server.Loops()[0].Each(func(c *engine.Conn) {
		if s, ok := c.Peer().(*Session); ok {
			all[s] = struct{}{}
		}
	})
	return all
}

// idle waits until loop and readers have nothing to do but what the broker is asked.
func (n *node) idle() {
	deadline := time.Now().Add(10 * time.Second)
	for quiet := 0; quiet < 3; {
		if time.Now().After(deadline) {
			n.t.Fatal("it never comes to rest")
		}
		busy := false
		n.onLoop(func() {
			sh := n.hub.shards[0]
			sh.mu.Lock()
			busy = len(sh.inbox) > 0 || sh.posted
			sh.mu.Unlock()
		})
		if p, ok := n.broker.(*puppet); ok {
			p.mu.Lock()
			busy = busy || int(n.hub.readers.pending.Load()) != len(p.reads)
			p.mu.Unlock()
		}
		if busy {
			quiet = 0
		} else {
			quiet++
		}
	}
}

// inspect walks the first loop's state: everything that is on its way has an owner that drives it on.
func (n *node) inspect(t *rapid.T) {
	n.onLoop(func() {
		sh := n.hub.shards[0]
		subs := 0
		for s := range n.sessions() {
			subs += s.topics()
			work := s.busy()
			if work == nil {
				continue
			}
			for _, sub := range work.pending {
				driven := true
				switch sub.stage {
				case asking:
					driven = sub.t.asked || sub.timer != nil
				case reading:
					driven = sub.read != nil
				case gathered:
					r, ok := sub.owner.(*group)
					driven = ok && r.waiting > 0
				case replaying:
					driven = slices.Contains(work.replays, sub) && (work.paging != nil || sub.timer != nil || work.pumping)
				case trailing:
					driven = sub.t.last.Compare(sub.cursor.ID) < 0
				case over:
					driven = false
				}
				if !driven {
					t.Fatalf("%s: nobody drives on what is in stage %d", sub.t.name, sub.stage)
				}
				if sub.t.ext == nil || sub.t.ext.waiting[sub.at] != sub || sub.t.dead {
					t.Fatalf("%s: a subscription is not where it thinks", sub.t.name)
				}
			}
			for i, r := range work.reads {
				if i > 0 && r.dropped.Load() {
					continue
				}
			}
		}
		if subs != sh.subs {
			t.Fatalf("%d subscriptions, counted %d", subs, sh.subs)
		}
	})
}

// assertAtRest fails unless every request was answered and every topic is up to date. Nothing may be on its way.
func (w *world) assertAtRest() {
	if len(w.asked) > 0 {
		w.fatal("never answered: %v", w.asked)
	}
	own := userPrefix + modelUser
	if w.topics[own] == nil {
		w.fatal("the own topic is not followed")
	}
	for topic, f := range w.topics {
		w.broker.mu.Lock()
		published := len(w.broker.log(topic).events)
		w.broker.mu.Unlock()
		if w.broker.keeps(topic) && f.last >= 0 && f.last != published {
			w.fatal("%s: has %d of %d events, and was told nothing", topic, f.last, published)
		}
	}
	w.n.onLoop(func() {
		sh := w.n.hub.shards[0]
		for s := range w.n.sessions() {
			if s.user() != modelUser {
				continue
			}
			var followed []string
			for _, f := range s.subs {
				followed = append(followed, f.topic.name)
			}
			if work := s.busy(); work != nil {
				for _, sub := range work.pending {
					// To trail is to follow, as far as the client can tell: where another follower came without a
					// position, as the broker did not answer, only the next event shows that the loop is there.
					if sub.stage == trailing && sub.t.followers.len() > 0 {
						followed = append(followed, sub.t.name)
					}
				}
				rest := *work
				rest.pending = nil
				if !rest.idle() {
					w.t.Errorf("work is left: %+v", *work)
				}
			}
			slices.Sort(followed)
			if known := slices.Sorted(maps.Keys(w.topics)); !slices.Equal(followed, known) {
				w.t.Errorf("%v are followed, the client knows of %v", followed, known)
			}
		}
		sh.mu.Lock()
		defer sh.mu.Unlock()
		if sh.bytes != 0 {
			w.t.Errorf("%d bytes are counted, and nothing waits", sh.bytes)
		}
	})
	if b := w.n.server.Stats().Backlog; b != 0 {
		w.t.Errorf("%d bytes of backlog, and nothing waits", b)
	}
	if p := w.n.server.Stats().Panics; p != 0 {
		w.t.Errorf("%d panics", p)
	}
}

func (w *world) resume() {
	positions := map[string]json.RawMessage{}
	for topic, p := range w.kept {
		if rapid.IntRange(0, 4).Draw(w.t, "name "+topic) > 0 {
			positions[topic] = json.RawMessage(`"` + p + `"`)
		}
	}
	for _, topic := range slices.Sorted(maps.Keys(map[string]bool{"raw": true, "c": true, "$x": true})) {
		if rapid.IntRange(0, 9).Draw(w.t, "odd "+topic) == 0 {
			positions[topic] = json.RawMessage(rapid.SampledFrom([]string{`""`, `null`, `"0"`, `"x"`, `7`}).Draw(w.t, "position"))
		}
	}
	list, _ := json.Marshal(positions)
	w.ask(`"type":"resume","token":%q,"positions":%s`, w.ticket, list)
}

const modelSecret = "a secret of thirty-two bytes, at least"

func (w *world) run() (stop func()) {
	verifier, err := token.NewVerifier(token.Config{Secrets: []string{modelSecret}})
	if err != nil {
		w.fatal("%v", err)
	}
	hub, err := newHub(Config{
		History: pubsub.History{{Prefix: "raw"}, {Count: 1000}}, Verifier: verifier, MessageRate: -1, ReplayLimit: 20, MaxHold: 16 << 10,
		PublishTimeout: time.Hour, Workers: 64, MaxInbox: 64 << 10,
	}, w.broker)
	if err != nil {
		w.fatal("%v", err)
	}
	sealer, err := token.NewSealer(token.SealerConfig{Keys: [][]byte{make([]byte, 32)}})
	if err != nil {
		w.fatal("%v", err)
	}
	hub.UseSealer(sealer)
	server, err := engine.New(engine.Config{Addr: "127.0.0.1:0", Pollers: 1, MaxQueued: 16 << 10, SendBuffer: 4 << 10}, hub)
	if err != nil {
		w.fatal("%v", err)
	}
	hub.Attach(server)
	ctx, cancel := context.WithCancel(context.Background())
	serverCtx, cancelServer := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- server.Run(serverCtx) }()
	go func() { err := hub.Run(ctx); cancelServer(); ended <- err }()
	<-w.broker.ready
	w.n = &node{t: tbOf{t: w.t}, hub: hub, server: server, broker: w.broker}
	return func() {
		_ = w.conn.CloseNow()
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				w.t.Error(err)
			}
		}
		if st := hub.Stats(); st.open()+st.Topics+st.Subscriptions != 0 {
			w.t.Errorf("left behind: %+v", st)
		}
	}
}

// tbOf lets helpers that want a testing.TB fail a rapid check.
type tbOf struct {
	testing.TB // nil: what is not below is not used
	t          *rapid.T
}

func (t tbOf) Helper()           {}
func (t tbOf) Fatal(args ...any) { t.t.Fatal(args...) }
func (t tbOf) Error(args ...any) { t.t.Error(args...) }
