package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"time"

	"wshub/session/token"
)

// mint is a JWT of the secret, good for an hour unless g says otherwise.
func (d *drill) mint(secret string, g token.Grant) string {
	d.t.Helper()
	if g.TTL == 0 {
		g.TTL = time.Hour
	}
	if g.Subscribe == nil {
		g.Subscribe = []string{"drill:*"}
	}
	key, err := token.SecretSigner(secret)
	if err != nil {
		d.t.Fatal(err)
	}
	text, err := token.Mint(key, g)
	if err != nil {
		d.t.Fatal(err)
	}
	return text
}

// seal is a resume token of user 42, sealed some time ago.
func (d *drill) seal(key string, ago time.Duration) string {
	d.t.Helper()
	raw, err := token.ParseResumeKey(key)
	if err != nil {
		d.t.Fatal(err)
	}
	s, err := token.NewSealer(token.SealerConfig{Keys: [][]byte{raw}, Now: func() time.Time { return time.Now().Add(-ago) }})
	if err != nil {
		d.t.Fatal(err)
	}
	return s.Seal(token.Resume{Session: 1<<63 + 42, User: "42", Node: "n"})
}

// enter connects a hub.v1 client with a JWT. It returns the resume token that welcomed it, if it was.
func (d *drill) enter(h *process, jwt string) (c *client, resume string) {
	d.t.Helper()
	c = dial(d.t, "with a token", h.public+"?token="+jwt, "hub.v1.json")
	if e := <-c.events; e.Event == "message" {
		var welcome struct{ Token string }
		if err := json.Unmarshal([]byte(e.Text), &welcome); err != nil || welcome.Token == "" {
			d.t.Fatalf("welcomed by %s", e.Text)
		}
		return c, welcome.Token
	} else { // it is closed: that is for wantEnd
		c.events <- e
	}
	return c, ""
}

// tokensAreJudged while a hub dies: who comes back with what, and what is given to whom.
func tokensAreJudged(d *drill) {
	good := d.mint(secret, token.Grant{Subject: "42"})
	d.args = append(d.args, "--jwt-secret="+secret, "--api-key="+apiKey)
	d.token = d.mint(secret, token.Grant{Subject: "reader", Publish: []string{"drill:*"}})
	d.begin()

	// Its subscriptions change and nobody answers: the hub is dead.
	first, second, third := d.hub(0), d.hub(1), d.hub(2)
	c, resume := d.enter(first, good)
	for _, topic := range []string{"drill:0", "drill:1"} {
		c.say(fmt.Sprintf(`{"type":"subscribe","id":1,"topic":%q,"since":"0"}`, topic))
		c.want(`{"type":"subscribed","id":1`)
	}
	c.say(`{"type":"unsubscribe","id":2,"topic":"drill:1"}`)
	c.say(`{"type":"subscribe","id":3,"topic":"drill:2","since":"0"}`)
	first.signal(syscall.SIGKILL)
	d.leave(first)
	c.until("close", "", func(string) bool { return true })

	positions := `{"drill:0":"0","drill:2":"0"}`
	c, _ = d.enter(second, good)
	c.say(fmt.Sprintf(`{"type":"resume","id":4,"token":%q,"positions":%s}`, resume, positions))
	if answer := c.want(`{"type":"resumed","id":4`); strings.Count(answer, `{"recovered":true,`) != 2 {
		d.t.Errorf("resumed: %s", answer)
	}
	for _, topic := range []string{"drill:0", "drill:2"} {
		c.want(`{"type":"event","topic":"` + topic)
	}

	d.resumesAreRefused(third, good, resume, positions)
	d.strangersAreRefused(third, good)

	if n := c.count(`"topic":"drill:1"`); n > 0 {
		d.t.Errorf("%d events of a topic that was left", n)
	}
	if status, answer, _ := ask(d.t, "POST", second.control+"/api/revoke", `{"user":"42"}`, withKey...); status != 200 {
		d.t.Fatalf("revoke is answered %d %s", status, answer)
	}
	if code := c.wantEnd(); code != 4001 {
		d.t.Errorf("who is revoked is closed with %d", code)
	}
	eventually(d.t, func() error {
		if stays, welcomed := d.enter(third, good); welcomed != "" {
			return fmt.Errorf("%s comes back though it is revoked", stays.name)
		}
		return nil
	})
	later := d.mint(secret, token.Grant{Subject: "42", Now: time.Now().Add(5 * time.Second)}) // within the skew
	d.refuses(third, "revoked", later, resume, positions, `"code":"forbidden"`)
	count := d.endRound("tokens")
	d.costsNothing(count)
	d.hearThemselves(count)
}

// resumesAreRefused whose resume token is not good, or not theirs; what the JWT does not allow is not given.
func (d *drill) resumesAreRefused(h *process, good, resume, positions string) {
	d.t.Helper()
	otherKey := strings.Repeat("ab", token.ResumeKeySize)
	for _, bad := range []struct{ what, jwt, resume, code string }{
		{"tampered", good, resume[:40] + flip(resume[40]) + resume[41:], "bad_token"},
		{"cut", good, resume[:len(resume)-1], "bad_token"},
		{"expired", good, d.seal(resumeKeyText, 25*time.Hour), "bad_token"},
		{"unknown key", good, d.seal(otherKey, 0), "bad_token"},
		{"a JWT", good, good, "bad_token"},
		{"another user's", d.mint(secret, token.Grant{Subject: "43"}), resume, "forbidden"},
	} {
		d.refuses(h, bad.what, bad.jwt, bad.resume, positions, `"code":"`+bad.code+`"`)
	}
	less := d.mint(secret, token.Grant{Subject: "42", Subscribe: []string{"news"}})
	c, own := d.enter(h, less)
	c.say(fmt.Sprintf(`{"type":"resume","id":5,"token":%q,"positions":%s}`, own, positions))
	if answer := c.want(`{"type":"resumed"`); strings.Count(answer, `{"error":"forbidden","retry":false}`) != 2 {
		d.t.Errorf("with less rights: %s", answer)
	}
	d.hearsNothing(c, "with less rights")
}

// flip is another character than c that base64 knows.
func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

// refuses tries to resume and expects to be told so, and no events.
func (d *drill) refuses(h *process, what, jwt, resume, positions, answer string) {
	d.t.Helper()
	c, welcomed := d.enter(h, jwt)
	if welcomed == "" {
		d.t.Fatalf("%s: a good JWT is not accepted", what)
	}
	c.say(fmt.Sprintf(`{"type":"resume","id":5,"token":%q,"positions":%s}`, resume, positions))
	if got := c.want(`{"type":"error","id":5`); !strings.Contains(got, answer) || !strings.Contains(got, `"retry":false`) {
		d.t.Errorf("%s: %s, want %s", what, got, answer)
	}
	d.hearsNothing(c, what)
}

// hearsNothing: two more events of each topic are published, and the client hears none.
func (d *drill) hearsNothing(c *client, what string) {
	d.t.Helper()
	before := d.reading().acked
	d.until("events flow", drillPatience, func() bool { return d.reading().acked > before+2*d.scale.topics })
	c.say(`{"type":"ping","id":6}`)
	c.want(`{"type":"pong","id":6}`)
	if n := c.count(`{"type":"event"`); n > 0 {
		d.t.Errorf("%s: it hears %d events", what, n)
	}
}

// strangersAreRefused before they can ask for anything.
func (d *drill) strangersAreRefused(h *process, good string) {
	d.t.Helper()
	for _, bad := range []struct {
		what, jwt string
		code      int
	}{
		{"none", "", 4001},
		{"tampered", good[:len(good)-10] + flip(good[len(good)-10]) + good[len(good)-9:], 4001},
		{"expired", d.mint(secret, token.Grant{Subject: "42", Now: time.Now().Add(-2 * time.Hour)}), 4002},
		{"unknown key", d.mint("another-"+secret, token.Grant{Subject: "42"}), 4001},
		{"a resume token", d.seal(resumeKeyText, 0), 4001},
	} {
		c, welcomed := d.enter(h, bad.jwt)
		if welcomed != "" {
			d.t.Errorf("%s: it is welcome", bad.what)
			continue
		}
		if code := c.wantEnd(); code != bad.code {
			d.t.Errorf("%s: closed with %d, want %d", bad.what, code, bad.code)
		}
	}
}
