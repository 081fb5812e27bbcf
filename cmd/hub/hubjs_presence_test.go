package main

import (
	"testing"

	"wshub/pubsub/redistest"
)

// jsSeesWhoIsThere: all at first, then who joins and leaves; nobody is told of one that breaks off and comes back.
func jsSeesWhoIsThere(s *jsTest) {
	h := s.hub("--presence=room:*", "--presence-grace=5m")
	s.each(func(t *testing.T, p *jsProgram) {
		room := "room:" + p.name
		watches := func(url, user string) *jsClient {
			c := p.open(t, url+"?user="+user)
			c.order("subscribe", map[string]any{"topic": room, "presence": true})
			return c
		}
		told := func(reason, data string) func(jsEvent) bool {
			return func(e jsEvent) bool {
				return e.Event == "presence" && e.Topic == room && e.Reason == reason && string(e.Data) == data
			}
		}
		ann := watches(hubV1(h.addr()), "ann")
		ann.ever("she is there", told("whole", `[1,1,"ann"]`))
		door := redistest.NewProxy(t, h.addr())
		bob := watches(hubV1(door.Addr()), "bob")
		bob.ever("both are there", told("whole", `[2,2,"ann","bob"]`))
		ann.ever("bob joined", told("joined", `[2,2,"ann","bob"]`))
		at := bob.mark()
		door.Reset()
		bob.since(at, "the end", inState("waiting"))
		bob.since(at, "both are still there", told("whole", `[2,2,"ann","bob"]`))

		if e := ann.ask("presence", map[string]any{"topic": room, "limit": 1}); string(e.Data) != `["ann","bob"]` || e.Pages != 2 {
			t.Errorf("read by pages there are %s in %d", e, e.Pages)
		}
		if e := ann.ask("presenceStats", map[string]any{"topic": room}); string(e.Data) != `{"clients":2,"users":2}` {
			t.Errorf("counted: %s", e)
		}
		if e := ann.ask("presence", map[string]any{"topic": "news"}); e.Code != "no_presence" {
			t.Errorf("of a topic without presence: %s", e)
		}
		at = ann.mark()
		eve := p.open(t, hubV1(h.addr())+"?user=eve")
		eve.ever("she is online", inState("online")) // so that she subscribes, and does not resume
		eve.order("subscribe", map[string]any{"topic": room, "presence": true})
		eve.ever("all are there", told("whole", `[3,3,"ann","bob","eve"]`))
		eve.order("unsubscribe", map[string]any{"topic": room})
		ann.since(at, "eve left", told("left", `[2,2,"ann","bob"]`))
		bob.ever("eve left", told("left", `[2,2,"ann","bob"]`))
		for _, reason := range []string{"joined", "left"} {
			n := ann.count(func(e jsEvent) bool { return e.Event == "presence" && e.Reason == reason })
			if want := map[string]int{"joined": 2, "left": 1}[reason]; n != want {
				t.Errorf("ann was told %d times that somebody %s, want %d", n, reason, want)
			}
		}
	})
}
