package session

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"wshub/session/token"
)

// wantRenewed reads the answer to an auth whose token ends.
func (c *client) wantRenewed(id int) {
	c.t.Helper()
	if got := c.read(); !strings.HasPrefix(got, fmt.Sprintf(`{"type":"ok","id":%d,"expires_in":`, id)) {
		c.t.Fatalf("got %s, want the answer to auth %d", got, id)
	}
}

func TestAClientIsToldHowLongItsTokenHolds(t *testing.T) {
	n := closed(t, Config{}, token.Config{Skew: -1})
	n.hub.UseSealer(sealer(t, make([]byte, 32)))
	mintFor := func(ttl time.Duration) string { return mint(t, secretSigner(t), token.Grant{TTL: ttl}) }
	c := n.dial("?token="+mintFor(100*time.Second), protocolV1)
	welcome := c.wantExpiry("welcome", 100)
	c.send(fmt.Sprintf(`{"type":"resume","id":1,"token":%q}`, welcome.Token))
	c.wantExpiry("resumed", 100)
	c.want(`{"type":"subscribed","topic":"user:42"}`)
	c.send(fmt.Sprintf(`{"type":"auth","id":2,"token":%q}`, mintFor(200*time.Second)))
	c.wantExpiry("ok", 200)

	open := memory(t, Config{})
	if got := open.dial("", protocolV1).read(); strings.Contains(got, "expires_in") {
		t.Errorf("without a token: %s", got)
	}
}

// wantExpiry reads a message of that type, which has a second or so less than the token's whole life.
func (c *client) wantExpiry(kind string, life int) heard {
	c.t.Helper()
	var h struct {
		heard
		ExpiresIn *int `json:"expires_in"`
	}
	text := c.read()
	if err := json.Unmarshal([]byte(text), &h); err != nil || h.Type != kind || h.ExpiresIn == nil || *h.ExpiresIn > life || *h.ExpiresIn < life-30 {
		c.t.Fatalf("got %s, want %s with at most %d s", text, kind, life)
	}
	return h.heard
}
