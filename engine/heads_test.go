package engine

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

func TestHalfReceivedHeadsCountAgainstTheNodesMemory(t *testing.T) {
	s := running(t, Config{Pollers: 1, MaxPartial: 64 << 10}, &echoing{})
	for range 16 { // 16 × 7,000 bytes are more than 64 KiB
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := fmt.Fprint(c, "GET /notification HTTP/1.1\r\nX: ", strings.Repeat("x", 7000)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the largest are cut", func() bool {
		st := s.Stats()
		return st.Closed["partial_limit"] > 0 && st.Partial <= 64<<10
	})
	opened(t, s) // others come in
	until(t, "an open connection holds nothing", func() bool { return s.Stats().Partial <= 64<<10 })
}
