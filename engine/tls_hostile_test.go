package engine

import (
	"crypto/tls"
	"io"
	"testing"
	"time"
)

// A client that has sent a part of a record's header is waited for as a silent one is, and makes room as that does.
func TestHandshakesInTheMiddleOfAHeaderMakeRoom(t *testing.T) {
	t.Parallel()
	cfg := secure()
	cfg.MaxTLSHandshakes, cfg.HandshakeTimeout = 16, time.Minute
	s := running(t, cfg, &echoing{})
	hello := clientHello(t)
	for range 40 {
		c := connect(t, s)
		send(c, hello, whole)
		_, _ = io.ReadFull(c, make([]byte, 1)) // the answer begins: the server waits from here on
		send(c, []byte{0x17}, whole)
	}
	for range 4 { // on both loops
		expectOpen(t, openedTLS(t, s, &tls.Config{RootCAs: trusted(), ServerName: "localhost"}))
	}
}
