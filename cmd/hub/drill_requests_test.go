package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"time"

	"github.com/gobwas/ws"
)

// heard is whatever a hub says.
type heard struct {
	Type, Topic, Position, Token, Code string
	ID                                 *int
	Recovered                          *bool
	Retry                              bool
	AfterMS                            int `json:"after_ms"`
	Topics                             map[string]struct {
		Recovered       *bool
		Position, Error string
		Retry           bool
	}
	Data       drillEvent
	drillEvent // to a plain client without positions it is the message
}

// drillEvent is the data of an event.
type drillEvent struct {
	Of string // its topic
	N  int    // its number there
	At int64  // when it was published, in ns
}

// drillRequest is what a client asked and has no answer to.
type drillRequest struct {
	what string
	// answer is called with the answer, or without if the connection ends before.
	answer func(h *heard, text []byte)
}

// ask sends a request, which is to be answered once.
func (f *follower) ask(members map[string]any, answer func(h *heard, text []byte)) {
	f.lastID++
	members["id"] = f.lastID
	b, _ := json.Marshal(members) // plain values can always be written
	f.asked[f.lastID] = drillRequest{string(b), answer}
	f.write(ws.NewTextFrame(b))
}

// write writes one frame. If it fails, the next read does.
func (f *follower) write(frame ws.Frame) {
	b, _ := ws.CompileFrame(ws.MaskFrameInPlace(frame)) // in memory
	if f.out != nil {
		_, _ = f.out.Write(b)
	} else {
		_, _ = f.conn.Write(b)
	}
}

// together has all frames that do writes leave in one write, if there is a connection.
func (f *follower) together(do func()) {
	if f.conn == nil {
		return
	}
	f.out = &bytes.Buffer{}
	do()
	_, _ = f.conn.Write(f.out.Bytes())
	f.out = nil
}

// unanswered are the requests of the present connection that wait for their answers.
func (f *follower) unanswered() (list []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.asked {
		list = append(list, r.what)
	}
	return list
}

// hear takes what a hub says, and returns the stage that the client has come to by it.
func (f *follower) hear(h *heard, text []byte) stage {
	if h.ID != nil {
		r, ok := f.asked[*h.ID]
		if !ok {
			f.d.oddity("client %d hears a second answer: %s", f.number, text)
			return underway
		}
		delete(f.asked, *h.ID)
		r.answer(h, text)
		return f.progress(h)
	}
	switch h.Type {
	case "welcome":
		f.next = h.Token
		f.comeBack()
		return waiting
	case "":
		if h.Of == f.echoTopic() {
			f.echoed(h)
		} else if p := f.place(h.Of); p != nil {
			f.event(p, h.drillEvent, "")
		}
	case "event":
		if p := f.place(h.Topic); p != nil {
			f.event(p, h.Data, h.Position)
		}
	case "gap":
		if p := f.place(h.Topic); p != nil {
			f.d.counted(func(c *drillCount) { c.gaps++ })
			f.noteLoss(p, h.Position)
		}
	case "subscribed": // as the URL says, or its user's own
		if p := f.place(h.Topic); p != nil {
			f.comesTo(p, h.Recovered, h.Position)
		}
	case "error":
		f.erred(h, text)
	case "goodbye":
		f.after = time.Duration(h.AfterMS) * time.Millisecond
	default:
		f.d.oddity("client %d hears %s", f.number, text)
	}
	return f.progress(h)
}

// comeBack asks for the topics, from where the client left off.
func (f *follower) comeBack() {
	f.together(func() {
		if f.way == resumes && f.token != "" {
			f.resume()
		} else {
			f.subscribeAll()
		}
		if f.also != nil {
			f.also()
			f.also = nil
		}
	})
}

func (f *follower) subscribeAll() {
	f.token, f.established = f.next, true
	for _, p := range f.places {
		f.subscribe(p)
	}
}

func (f *follower) subscribe(p *place) {
	topic := f.d.topics[p.topic].name
	p.left = false
	f.ask(map[string]any{"type": "subscribe", "topic": topic, "since": p.position}, func(h *heard, text []byte) {
		switch {
		case h == nil:
		case h.Type == "subscribed" && h.Topic == topic:
			f.comesTo(p, h.Recovered, h.Position)
		case h.Type == "error" && h.Retry:
			f.subscribeLater(p)
		case h.Code == "already_subscribed" && p.retried: // it was asked for by itself meanwhile
		case f.refused(p, h.Code):
		default:
			f.d.oddity("client %d subscribes %s and hears %s", f.number, topic, text)
		}
	})
}

// subscribeLater asks for a topic once more in a moment, if it is not followed by then.
func (f *follower) subscribeLater(p *place) {
	f.again(func() {
		if !p.live {
			p.retried = true
			f.subscribe(p)
		}
	})
}

// refused reports whether a topic may be refused: the client's token does not allow it, or the client has left it.
func (f *follower) refused(p *place, code string) bool {
	return code == "forbidden" && f.denied[f.d.topics[p.topic].name] || code == "not_subscribed" && p.left
}

// leave leaves a topic.
func (f *follower) leave(p *place) {
	p.left = true
	f.ask(map[string]any{"type": "unsubscribe", "topic": f.d.topics[p.topic].name}, func(h *heard, text []byte) {
		switch {
		case h == nil:
		case h.Type == "ok":
			p.live = false
		case h.Code == "not_subscribed" && f.denied[f.d.topics[p.topic].name]: // its token has ended that
		default:
			f.d.oddity("client %d leaves a topic and hears %s", f.number, text)
		}
	})
}

func (f *follower) resume() {
	positions := map[string]string{}
	for _, p := range f.places {
		p.left = false
		positions[f.d.topics[p.topic].name] = p.position
	}
	f.ask(map[string]any{"type": "resume", "token": f.token, "positions": positions}, func(h *heard, text []byte) {
		switch {
		case h == nil:
		case h.Type == "resumed":
			f.resumed(h)
		case h.Type == "error" && h.Retry:
			f.again(f.resume)
		default:
			f.d.oddity("client %d can't resume: %s", f.number, text)
			f.subscribeAll()
		}
	})
}

func (f *follower) resumed(h *heard) {
	f.token, f.established = h.Token, true
	f.d.counted(func(c *drillCount) { c.resumes++ })
	for _, p := range f.places {
		switch r, ok := h.Topics[f.d.topics[p.topic].name]; {
		case !ok:
			f.d.oddity("client %d: resumed without one of its topics", f.number)
		case f.refused(p, r.Error):
		case r.Error != "":
			if !r.Retry {
				f.d.oddity("client %d: resumed with %s", f.number, r.Error)
			}
			f.subscribeLater(p)
		default:
			f.comesTo(p, r.Recovered, r.Position)
		}
	}
}

// again asks once more in a moment, if the connection still stands.
func (f *follower) again(ask func()) {
	conn := f.conn
	time.AfterFunc(100*time.Millisecond+rand.N(100*time.Millisecond), func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.conn == conn {
			ask()
		}
	})
}
