package engine

import (
	"runtime"
	"testing"

	"wshub/engine/proxy"
)

// A server that needs no addresses has no memory for them; any other has 24 bytes for each at most.
func TestAnAddressCostsAConnectionLittle(t *testing.T) {
	cost := func(s *Server) int {
		const n = 10_000
		l := &Loop{srv: s}
		socks := make([]socket, n)
		for i := range socks {
			socks[i] = adopt(-1)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, sock := range socks {
			l.newConn(sock)
		}
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(socks)
		return int(after.TotalAlloc-before.TotalAlloc) / n
	}
	bare := cost(&Server{})
	kept := cost(&Server{addressed: true, cfg: Config{ClientAddress: proxy.Protocol}})
	counted := cost(&Server{addressed: true, addresses: newAddresses(9, 9)})
	t.Logf("a connection of %d bytes; with an address of %d, counted ones of %d", bare, kept, counted)
	if kept-bare > 24 || counted-bare > 24 {
		t.Errorf("an address costs %d bytes, a counted one %d", kept-bare, counted-bare)
	}
}

// The events of each connection look for it: that takes no memory.
func TestFindingAConnectionCostsNoMemory(t *testing.T) {
	for _, s := range []*Server{{}, {addressed: true}} {
		sock := adopt(-1)
		c := (&Loop{srv: s}).newConn(sock)
		if n := testing.AllocsPerRun(100, func() {
			if sock.conn() != c {
				t.Error("it is another one")
			}
			c.client()
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}
