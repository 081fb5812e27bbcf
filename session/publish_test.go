package session

import (
	"context"
	"errors"
	"strings"
	"testing"

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
