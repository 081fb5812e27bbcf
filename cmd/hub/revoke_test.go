package main

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
	"wshub/session/token"
)

// pair is two hubs on one Redis whose clients need tokens.
type pair struct {
	t    *testing.T
	hubs [2]*process
	life time.Duration // of the last token: no two are the same
}

func startPair(t *testing.T) *pair {
	t.Helper()
	server, path := redistest.Start(t), buildHub(t)
	p := &pair{t: t, life: time.Hour}
	for i := range p.hubs {
		p.hubs[i] = startHub(t, path, server.URL(), "--jwt-secret="+secret, "--api-key="+apiKey)
	}
	for _, h := range p.hubs {
		eventually(t, func() error {
			if status, reason, _ := ask(t, "GET", h.control+"/readyz", ""); status != 200 {
				return errors.New(reason)
			}
			return nil
		})
	}
	return p
}

// issued is a token that was issued to a user at that time, and like no other.
func (p *pair) issued(user string, at time.Time) string {
	p.t.Helper()
	key, err := token.SecretSigner(secret)
	if err != nil {
		p.t.Fatal(err)
	}
	p.life += time.Second
	text, err := token.Mint(key, token.Grant{Subject: user, TTL: p.life, Now: at})
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

func (p *pair) enter(h *process, jwt string) *client {
	p.t.Helper()
	return dialWith(p.t, "v1", h.public, websocket.DialOptions{
		Subprotocols: []string{"hub.v1.json"}, HTTPHeader: http.Header{"Authorization": {"Bearer " + jwt}},
	})
}

// revoke asks the first hub.
func (p *pair) revoke(body string) {
	p.t.Helper()
	if status, answer, _ := ask(p.t, "POST", p.hubs[0].control+"/api/revoke", body, withKey...); status != 200 {
		p.t.Fatalf("answered %d %s", status, answer)
	}
}

// Revoke, and log in again in the same second: ten of ten are let in, on either hub, and the old tokens on none.
func TestALoginOfTheSecondOfARevocationIsLetIn(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	p := startPair(t)
	for round := range 10 {
		user := fmt.Sprint(round)
		old := []string{p.issued(user, time.Now()), p.issued(user, time.Now())}
		var there []*client
		for i, h := range p.hubs {
			c := p.enter(h, old[i])
			c.want(`{"type":"welcome"`)
			there = append(there, c)
		}
		p.revoke(`{"user":"` + user + `"}`)
		fresh := p.issued(user, time.Now())
		for i, c := range there {
			if code := c.wantEnd(); code != 4001 {
				t.Errorf("closed with %d", code)
			}
			p.enter(p.hubs[i], fresh).want(`{"type":"welcome"`)
		}
		for _, h := range p.hubs {
			for _, jwt := range old {
				eventually(t, func() error {
					c := p.enter(h, jwt)
					if e := <-c.events; e.Event != "close" || e.Code != 4001 {
						return fmt.Errorf("an old token is answered %+v", e)
					}
					return nil
				})
			}
		}
	}
}

func TestWithBeforeALoginIsLetInWhateverItsIssuersClockSays(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	p := startPair(t)
	for user, off := range map[string]time.Duration{"behind": -5 * time.Second, "ahead": 5 * time.Second} {
		now := time.Now().Add(off)
		old, kept := p.enter(p.hubs[1], p.issued(user, now.Add(-time.Second))), p.enter(p.hubs[1], p.issued(user, now))
		old.want(`{"type":"welcome"`)
		kept.want(`{"type":"welcome"`)
		p.revoke(fmt.Sprintf(`{"user":%q,"before":%d}`, user, now.Unix()))
		if code := old.wantEnd(); code != 4001 {
			t.Errorf("closed with %d", code)
		}
		for _, h := range p.hubs {
			p.enter(h, p.issued(user, now)).want(`{"type":"welcome"`)
			if code := p.enter(h, p.issued(user, now.Add(-time.Second))).wantEnd(); code != 4001 {
				t.Errorf("%s: an old token: closed with %d", user, code)
			}
		}
		kept.say(`{"type":"ping","id":1}`)
		kept.want(`{"type":"pong","id":1}`)
	}
}
