package sse_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
	"wshub/session/sse"
	"wshub/session/token"
)

func TestAPostIsPublished(t *testing.T) {
	n := start(t, session.Config{}, engine.Config{})
	s := n.open("?topic=news").fresh(1)
	status, answer := n.post("", `{"topic":"news","data":{"a":1}}`)
	ev := s.want(`{"a":1}`)
	if status != 200 || answer != `{"position":"`+ev.id+"\"}\n" {
		t.Errorf("%d %s, id %s", status, answer, ev.id)
	}
	if status, answer := n.post("", `{"topic":"raw","data":null}`); status != 200 || answer != "{}\n" {
		t.Errorf("%d %s", status, answer)
	}
	_, first := n.post("", `{"topic":"news","data":2,"key":"k"}`)
	if _, second := n.post("", `{"topic":"news","data":2,"key":"k"}`); first != second {
		t.Errorf("with one key: %s and %s", first, second)
	}
	s.want("2")
	n.publish("news", "3")
	s.want("3")
	if st := n.hub.Stats(); st.Published != 4 || st.Messages != 4 {
		t.Errorf("%d published of %d", st.Published, st.Messages)
	}
}

func TestAPostIsRefusedByTheRulesOfAPublish(t *testing.T) {
	n := startClosed(t, session.Config{})
	auth := "Authorization: Bearer " + mint(t, token.Grant{Subject: "42", Publish: []string{"chat"}})
	for _, c := range []struct {
		name, body, line string
		status           int
		code             string
	}{
		{"no token", `{"topic":"chat","data":1}`, "X-None: 1", 401, "bad_token"},
		{"a bad token", `{"topic":"chat","data":1}`, "Authorization: Bearer x", 401, "bad_token"},
		{"another topic", `{"topic":"news","data":1}`, auth, 403, "forbidden"},
		{"another user's", `{"topic":"user:7","data":1}`, auth, 403, "forbidden"},
		{"not JSON", `{"topic":`, auth, 400, "bad_json"},
		{"not UTF-8", "{\"topic\":\"chat\",\"data\":\"\xff\"}", auth, 400, "bad_json"},
		{"a list", `[]`, auth, 400, "bad_json"},
		{"empty", ``, auth, 400, "bad_json"},
		{"no topic", `{"data":1}`, auth, 400, "bad_topic"},
		{"a bad topic", `{"topic":"\u0000","data":1}`, auth, 400, "bad_topic"},
		{"no data", `{"topic":"chat"}`, auth, 400, "bad_request"},
		{"a number for a key", `{"topic":"chat","data":1,"key":1}`, auth, 400, "bad_request"},
		{"a long key", `{"topic":"chat","data":1,"key":"` + strings.Repeat("k", 129) + `"}`, auth, 400, "bad_request"},
		{"long data", `{"topic":"chat","data":"` + strings.Repeat("x", 64<<10) + `"}`, auth, 413, "too_large"},
		{"a long body", strings.Repeat(" ", 80<<10), auth, 413, "too_large"},
		{"a foreign page", `{"topic":"chat","data":1}`, "Origin: https://elsewhere.example", 403, "forbidden"},
	} {
		status, answer := n.post("", c.body, c.line)
		var got struct {
			Error struct {
				Code, Message string
				Retry         *bool
			}
		}
		if err := json.Unmarshal([]byte(answer), &got); err != nil || status != c.status || got.Error.Code != c.code || got.Error.Message == "" || got.Error.Retry == nil || *got.Error.Retry {
			t.Errorf("%s: %d %s, %v", c.name, status, answer, err)
		}
	}
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""} { // a page may send some of them without a preflight
		s := n.request("POST", "", `{"topic":"chat","data":1}`, "Content-Type: "+kind, auth)
		if body := s.body(); s.head.StatusCode != 415 || !strings.Contains(body, `"unsupported_media_type"`) {
			t.Errorf("%q: %v, %s", kind, s.head.Status, body)
		}
	}
	if status, answer := n.post("?token="+strings.TrimPrefix(auth, "Authorization: Bearer "), `{"topic":"chat","data":1}`); status != 200 {
		t.Errorf("%d %s", status, answer)
	}
	if got := n.hub.Stats().Published; got != 1 {
		t.Errorf("%d published", got)
	}
}

func TestAPostersRateIsBounded(t *testing.T) {
	n := start(t, session.Config{MessageRate: 3, TrustUserParam: true}, engine.Config{Pollers: 1})
	denied := 0
	for range 20 {
		if status, answer := n.post("?user=42", `{"topic":"news","data":1}`); status == 429 && strings.Contains(answer, `"rate_limited"`) && strings.Contains(answer, `"retry":true`) {
			denied++
		} else if status != 200 {
			t.Errorf("%d %s", status, answer)
		}
	}
	if denied == 0 || n.hub.Stats().Dropped["rate_limit"] != uint64(denied) {
		t.Errorf("%d were denied, %v", denied, n.hub.Stats().Dropped)
	}
	if status, _ := n.post("?user=7", `{"topic":"news","data":1}`); status != 200 {
		t.Errorf("another user: %d", status)
	}
}

// lateBroker publishes when it is let go.
type lateBroker struct {
	session.Broker
	let chan struct{}
}

func (b lateBroker) Publish(ctx context.Context, batch []pubsub.Publication) []pubsub.Result {
	<-b.let
	return b.Broker.Publish(ctx, batch)
}

// The client must not take it for one that was not published: it would send it again without a key.
func TestAPostThatIsNotAnsweredInTimeMayHaveBeenPublished(t *testing.T) {
	t.Parallel()
	let := make(chan struct{})
	n := startWith(t, session.Config{}, engine.Config{HandshakeTimeout: time.Second}, func(b session.Broker) session.Broker { return lateBroker{b, let} })
	s := n.open("?topic=news").fresh(1)
	status, answer := n.post("", `{"topic":"news","data":1}`)
	if status != http.StatusGatewayTimeout || !strings.Contains(answer, `"code":"unknown_outcome"`) || !strings.Contains(answer, `"retry":true`) {
		t.Errorf("%d %s", status, answer)
	}
	close(let)
	s.want("1") // and it was published
}

func TestTheEnginesRefusalsOfAPostHaveCodes(t *testing.T) {
	for status, code := range map[int]session.Code{
		400: session.BadRequest, 401: session.BadToken, 403: session.Forbidden, 408: session.Unavailable, 411: session.BadRequest, 413: session.TooLarge,
		429: session.RateLimited, 500: session.Internal, 503: session.Unavailable, 504: session.UnknownOutcome,
	} {
		var got struct {
			Error struct {
				Code  session.Code
				Retry bool
			}
		}
		if err := json.Unmarshal(sse.ErrorBody(&engine.Refusal{Status: status, Reason: "why"}), &got); err != nil || got.Error.Code != code || got.Error.Retry != code.Retry() {
			t.Errorf("%d: %+v, %v", status, got.Error, err)
		}
	}
}
