package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// sdksSeeWhoIsThere: presence, its counts, join and leave, by both builds of centrifuge-js.
func sdksSeeWhoIsThere(s *sdkTest) {
	h := s.hub("--jwt-secret="+secret, "--default-subscribe=room:*", "--presence=room:*", "--presence-grace=100ms")
	s.each(func(t *testing.T, c *sdk) {
		if !strings.HasPrefix(c.name, "TestSDKs/company/js") {
			t.Skip("its program does not tell of joins")
		}
		room := "room:" + c.name
		came := func(name string, claims jwt.MapClaims) *sdk {
			other := c.program.client(t, c.name+" "+name, c.build)
			claims["sub"], claims["info"] = name, map[string]string{"name": name}
			other.open(sdkOptions{url: endpoint(h.addr()), tokens: []string{sign(t, time.Hour, claims)}})
			other.connect()
			other.order("subscribe", map[string]any{"channel": room, "joinLeave": true})
			other.want("subscribed", room)
			return other
		}
		ann := came("ann", jwt.MapClaims{"presence": []string{"room:*"}})
		bob := came("bob", jwt.MapClaims{})
		is := func(event, user string) func(sdkEvent) bool {
			return func(e sdkEvent) bool {
				return e.Event == event && e.Channel == room && e.User == user && e.Data == `{"name":"`+user+`"}`
			}
		}
		ann.until("bob's join", is("join", "bob"))
		if e := ann.ask(0, "presence", room, "", sdkHistory{}); !slices.Equal(e.Users, []string{"ann", "bob"}) {
			t.Errorf("there are %q", e.Users)
		}
		if e := ann.ask(0, "presenceStats", room, "", sdkHistory{}); e.NumClients != 2 || e.NumUsers != 2 {
			t.Errorf("counted: %+v", e)
		}
		bob.ask(103, "presence", room, "", sdkHistory{})
		bob.ask(103, "presenceStats", room, "", sdkHistory{})
		ann.ask(108, "presence", "news", "", sdkHistory{})
		bob.unsubscribe(room)
		ann.until("bob's leave", is("leave", "bob"))
		eve := came("eve", jwt.MapClaims{})
		ann.until("eve's join", is("join", "eve"))
		eve.order("disconnect", nil)
		ann.until("eve's leave, behind the grace", is("leave", "eve"))
		for _, e := range slices.Concat(bob.all(), eve.all()) {
			if e.Event == "join" || e.Event == "leave" {
				t.Errorf("who may not see it is told: %s", e)
			}
		}
	})
}
