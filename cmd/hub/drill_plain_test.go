package main

import (
	"fmt"
	"time"

	"github.com/gobwas/ws"
)

// This file is what a plain client without positions does. It follows topics as they are now, and a topic of its
// own, to which it publishes at once: it must hear that.

func (f *follower) echoTopic() string { return fmt.Sprintf("drill:echo:%d", f.number) }

// begins is the beginning of such a client's connection. Events since the last one are lost to it.
func (f *follower) begins() {
	for _, p := range f.places {
		p.live, p.told = true, true
	}
	f.echo()
}

// echoPatience is how long a client waits for what it published before it publishes another one.
const echoPatience = 2 * time.Second

// echo publishes something that is heard only if the topic is followed before it is published.
func (f *follower) echo() {
	if f.d.calm { // a Redis that forgets may lose it, and nobody is told
		return
	}
	f.lastID++
	n, conn := f.lastID, f.conn
	said := fmt.Appendf(nil, `{"of":%q,"n":%d,"at":%d}`, f.echoTopic(), n, time.Now().UnixNano())
	f.asked[n] = drillRequest{string(said), func(*heard, []byte) {}}
	f.write(ws.NewTextFrame(said))
	time.AfterFunc(echoPatience, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if _, waits := f.asked[n]; waits && f.conn == conn {
			f.echo()
		}
	})
}

// echoed takes what the client published itself. Those before it will not come any more.
func (f *follower) echoed(h *heard) {
	for n := range f.asked {
		if n < h.N {
			delete(f.asked, n)
			f.d.counted(func(c *drillCount) { c.mute++ })
		}
	}
	delete(f.asked, h.N)
}

// erred takes an error that answers no request: the echo was not published, or perhaps; or rights have ended.
func (f *follower) erred(h *heard, text []byte) {
	if f.denied != nil && h.Code == "forbidden" { // so it is told that it follows a topic no more
		return
	}
	if f.way != verbatim || !h.Retry && h.Code != "refused" {
		f.d.oddity("client %d hears %s", f.number, text)
		return
	}
	f.again(func() {
		clear(f.asked)
		f.echo()
	})
}

// hearThemselves fails the test if a plain client did not hear what it published. Only while Redis is away may that
// be so.
func (d *drill) hearThemselves(c drillCount) {
	d.t.Helper()
	if c.mute > 0 {
		d.t.Errorf("plain clients did not hear %d of their own events", c.mute)
	}
}
