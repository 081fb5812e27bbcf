package session

import (
	"testing"
	"unsafe"
)

// The parts of each idle connection. One field in the wrong place costs 16 bytes of each.
func TestSessionsStaySmall(t *testing.T) {
	for what, size := range map[string][2]uintptr{
		"Session":      {unsafe.Sizeof(Session{}), 80},
		"sessionExt":   {unsafe.Sizeof(sessionExt{}), 64},
		"subscription": {unsafe.Sizeof(subscription{}), 16},
		"topic":        {unsafe.Sizeof(topic{}), 64},
	} {
		if size[0] > size[1] {
			t.Errorf("a %s has %d bytes, want at most %d", what, size[0], size[1])
		}
	}
}
