package session

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"wshub/pubsub"
)

func TestABatchIsPublishedInOrderOrNotAtAll(t *testing.T) {
	n := memory(t, Config{})
	c := n.plain("", 1)
	batch := func(data ...string) (list []pubsub.Publication) {
		for _, d := range data {
			list = append(list, pubsub.Publication{Topic: "channel", Data: []byte(d)})
		}
		return list
	}
	if _, err := n.hub.Publish(context.Background(), batch(`1`, `2`, `{"bad":`)); !errors.Is(err, ErrBadPublication) || !strings.Contains(err.Error(), "event 3 of 3: ") {
		t.Errorf("with bad JSON in the third: %v", err)
	}
	if _, err := n.hub.Publish(context.Background(), batch(`{"bad":`)); !errors.Is(err, ErrBadPublication) || strings.Contains(err.Error(), "event") {
		t.Errorf("bad JSON alone: %v", err)
	}
	results, err := n.hub.Publish(context.Background(), batch(`"a"`, `"b"`, `"c"`))
	if err != nil || len(results) != 3 {
		t.Fatal(results, err)
	}
	for _, want := range []string{`"a"`, `"b"`, `"c"`} {
		c.want(want)
	}
}

func TestBackendsPublishToPrivateTopics(t *testing.T) {
	n := memory(t, Config{})
	if _, err := n.hub.Publish(t.Context(), []pubsub.Publication{{Topic: "$x", Data: []byte(`1`)}}); err != nil {
		t.Error(err)
	}
	c := n.v1("")
	c.send(`{"type":"subscribe","topic":"$x"}`)
	c.wantError(Forbidden)
	c.send(`{"type":"publish","topic":"$x","data":1}`)
	c.wantError(Forbidden)
	_, resp, err := websocket.Dial(t.Context(), "ws://"+n.server.Addr().String()+"/notification?topic=$x", nil)
	if err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("%v, %v", resp, err)
	}
}
