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
	until(t, "the largest are cut", func() bool { return s.Stats().Closed["partial_limit"] > 0 })
	if held := s.Stats().Partial; held > 64<<10 {
		t.Errorf("%d bytes are held", held)
	}
	opened(t, s) // others come in
	until(t, "an open connection holds nothing", func() bool { return s.Stats().Partial <= 64<<10 })
}
