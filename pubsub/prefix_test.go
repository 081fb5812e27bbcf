package pubsub

import (
	"strings"
	"testing"
)

func TestAPrefixIsPlainText(t *testing.T) {
	for _, right := range []string{DefaultPrefix, "h", "shop:eu.1", "t", "n:eu", "hub:tt", "A-b_c", strings.Repeat("x", 64)} {
		if !ValidPrefix(right) {
			t.Errorf("%q is refused", right)
		}
	}
	for _, wrong := range []string{"", ":", "hub:", ":hub", "{hub}", "h}", "a b", "a*", "é", "a\n", "hub:t", "hub:t:eu", "a:b:n", strings.Repeat("x", 65)} {
		if ValidPrefix(wrong) {
			t.Errorf("%q is taken", wrong)
		}
	}
}

func TestTheBroadcastTopicHasAChannelOfItsOwn(t *testing.T) {
	for _, c := range []struct {
		prefix, topic string
		right         bool
	}{
		{"hub", "channel", true}, {"hub", "to", true}, {"hub", "t:x", true}, {"hub", "hub:to", false}, {"hub", "hub:t:x", false},
		{"shop", "channel", true}, {"shop", "to", false}, {"shop", "n", false}, {"shop", "n:x", false}, {"shop", "t:x", false},
		{"shop", "{p00}:t:x", false}, {"shop", "format", false}, {"shop", "", false},
	} {
		if ValidBroadcast(c.prefix, c.topic) != c.right {
			t.Errorf("%s, %s: want %t", c.prefix, c.topic, c.right)
		}
	}
}
