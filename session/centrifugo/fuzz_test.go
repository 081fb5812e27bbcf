package centrifugo_test

import (
	"testing"
	"unicode/utf8"

	pb "github.com/centrifugal/protocol"

	"wshub/engine"
	"wshub/session"
)

// FuzzClient sends whatever to a hub: the connection ends, or answers what comes behind it; a healthy one beside it goes on.
func FuzzClient(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `{"id":1,"connect":{}}`, `{"id":2,"subscribe":{"channel":"a","recover":true,"epoch":"_","offset":18446744073709551615}}`,
		"{\"id\":3,\"history\":{\"channel\":\"a\",\"limit\":-1,\"reverse\":true,\"since\":{}}}\n{\"id\":4,\"unsubscribe\":{\"channel\":\"a\"}}",
		`{"id":5,"publish":{"channel":"a","data":{"x":[1,null]}}}`, `{"id":6,"refresh":{}}`, `{"id":7,"sub_refresh":{"channel":"a"}}`,
		"\x0a\x08\x02\x22\x06\x0a\x01a\x18\x01\x30\x01", "\x00", "\x02\x6a\x00",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	n := start(f, session.Config{MessageRate: -1}, engine.Config{MaxMessage: 64 << 10})
	healthy, _ := n.connect(false, "")
	open := map[bool]*client{}
	f.Fuzz(func(t *testing.T, frame []byte, binary bool) {
		n.t = t
		c := open[binary]
		if c == nil {
			c, _ = n.connect(binary, "")
			open[binary] = c
		}
		c.t, healthy.t = t, t
		if !binary && !utf8.Valid(frame) {
			return // the engine refuses it
		}
		_ = c.try(frame) // an earlier one may have ended it
		const id = 4_000_000_000
		last, _ := c.encode(&pb.Command{Id: id, Rpc: &pb.RPCRequest{}})
		_ = c.try(last)
		for {
			r, err := c.read()
			if err != nil {
				delete(open, binary)
				break
			}
			if r.Id == id {
				break
			}
		}
		healthy.wantError(108, &pb.Command{Rpc: &pb.RPCRequest{}})
		if p := n.server.Stats().Panics; p > 0 {
			t.Fatal("a panic")
		}
	})
}
