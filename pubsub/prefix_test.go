package pubsub

import (
	"strings"
	"testing"
)

func TestAPrefixIsPlainText(t *testing.T) {
	for _, right := range []string{DefaultPrefix, "h", "shop:eu.1", "A-b_c", strings.Repeat("x", 64)} {
		if !ValidPrefix(right) {
			t.Errorf("%q is refused", right)
		}
	}
	for _, wrong := range []string{"", ":", "hub:", ":hub", "{hub}", "h}", "a b", "a*", "é", "a\n", strings.Repeat("x", 65)} {
		if ValidPrefix(wrong) {
			t.Errorf("%q is taken", wrong)
		}
	}
}
