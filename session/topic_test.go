package session

import (
	"testing"

	"wshub/pubsub"
)

func TestAfterAGapATopicGoesOnFromItsPosition(t *testing.T) {
	var top topic
	if got := top.fresh([]*message{event(5), event(6), event(6)}); len(got) != 2 {
		t.Fatalf("got %d messages", len(got))
	}
	// The log lost its end: 4 was its last event, and 5 is another one now.
	if got := top.fresh([]*message{{topic: "t", position: at(4)}, event(5)}); len(got) != 2 {
		t.Fatalf("got %d messages, want the gap and what comes behind it", len(got))
	}
	if top.last != (pubsub.ID{Ms: 5, Seq: 1}) {
		t.Errorf("last is %v", top.last)
	}
}
