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
		if got := h.outside(test.wall, false, test.topic); got != test.outside {
			t.Errorf("%q, %q: %t", test.wall, test.topic, got)
		}
	}
	if (&Hub{}).outside("", false, "pusher:1:news") {
		t.Error("without walls a topic is outside")
	}
}

func TestKeptTopicsAreTheirProtocolsOwn(t *testing.T) {
	h := &Hub{kept: []string{"#mine-"}}
	for _, test := range []struct {
		wall, topic    string
		keeps, outside bool
	}{
		{"", "#mine-1", false, true}, {"", "#mine-1", true, false}, {"pusher:1:", "#mine-1", false, true}, {"", "#min", false, false}, {"", "a#mine-1", false, false},
	} {
		if got := h.outside(test.wall, test.keeps, test.topic); got != test.outside {
			t.Errorf("%q, keeps %t, %q: %t", test.wall, test.keeps, test.topic, got)
		}
	}
}
