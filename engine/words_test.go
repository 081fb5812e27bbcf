package engine

import (
	"net/url"
	"testing"
)

// speaker says something before it is closed.
type speaker struct {
	*echoingPeer
	words []byte
}

func (s speaker) LastWords(*Cause) []byte { return s.words }

// Last words leave in front of the Close frame, and the array that they lie in, which connections may share, stays as it is.
func TestLastWordsLeaveBeforeTheCloseFrame(t *testing.T) {
	shared := append(make([]byte, 0, 64), AppendFrame(nil, OpText, []byte("farewell"))...)
	s := running(t, Config{}, &echoing{decide: func(h *Handshake, p Peer) {
		h.Accept("", speaker{p.(*echoingPeer), shared}, nil)
	}})
	for range 2 {
		c := opened(t, s)
		send(c, clientFrame(finText, "close now"), whole)
		expect(t, c, shared)
		expectClose(t, c, 4000)
	}
	if next := shared[len(shared):cap(shared)]; next[0] != 0 {
		t.Errorf("the Close frame was written behind the shared words: %q", next)
	}
}

func TestAPathThatEndsInASlashStandsForOneSegmentMore(t *testing.T) {
	for path, want := range map[string]bool{
		"/app/key": true, "/app/": true, "/app": false, "/app/key/more": false, "/a": true, "/a/b": false, "/app/k%2f": false, "app/key": false, "": false,
	} {
		u, err := url.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := isPath(u, []string{"/a", "/app/"}); got != want {
			t.Errorf("%q: got %t", path, got)
		}
	}
}
