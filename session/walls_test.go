package session

import "testing"

func TestAWallKeepsOthersOutAndItsOwnIn(t *testing.T) {
	h := &Hub{walls: []string{"pusher:1:", "pusher:2:"}}
	for _, test := range []struct {
		wall, topic string
		outside     bool
	}{
		{"", "news", false}, {"", "pusher:1:news", true}, {"", "pusher:2:", true}, {"", "pusher:3:news", false}, {"", "pusher:1", false},
		{"pusher:1:", "pusher:1:news", false}, {"pusher:1:", "pusher:2:news", true}, {"pusher:1:", "news", true}, {"pusher:1:", "pusher:1", true},
	} {
		if got := h.outside(test.wall, test.topic); got != test.outside {
			t.Errorf("%q, %q: %t", test.wall, test.topic, got)
		}
	}
	if (&Hub{}).outside("", "pusher:1:news") {
		t.Error("without walls a topic is outside")
	}
}
