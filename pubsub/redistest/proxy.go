package redistest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Way is a direction through a Proxy.
type Way int

// The ways.
const (
	ToServer Way = iota
	ToClient
	Both
)

func (w Way) covers(one Way) bool { return w == Both || w == one }

// peersIP is where the servers of a set that is Proxied connect from, by which their proxies know them from
// clients. Linux takes every address in 127.0.0.0/8 for its own.
const peersIP = "127.0.0.2"

// party is whose connections: clients' or, before a server of a set, those of the set's other servers.
type party int

const (
	clients party = iota
	peers
)

// Proxy forwards TCP connections to a server and can stop doing so as a network does: without a word. Before a
// server of a set it fails for clients only: replicas and sentinels are forwarded as if nothing were, but see
// CutOff.
type Proxy struct {
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	servers []string // new connections go to them in turn
	turn    int
	thawed  *sync.Cond
	frozen  [2][2]bool // by party and Way
	cuts    []cut
	chunk   int // most bytes forwarded at once, 0 for any
	losing  int // pieces from the server yet to be thrown away
	links   map[*link]struct{}
	closed  bool
}

// link is a client's connection and the one to a server that goes with it.
type link struct {
	client, server *net.TCPConn
	of             party
	inode          string  // of the client's own end, as proc(5) names it, if it is known
	cut            [2]bool // by Way: see CutOffProcess
}

// ends are where what goes this way comes from and goes to.
func (l *link) ends(way Way) (from, to *net.TCPConn) {
	if way == ToClient {
		return l.server, l.client
	}
	return l.client, l.server
}

func (l *link) close() {
	_, _ = l.client.Close(), l.server.Close()
}

// NewProxy listens on a loopback port until the test ends.
func NewProxy(t testing.TB, server string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{servers: []string{server}, listener: l, links: map[*link]struct{}{}}
	p.thawed = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// Addr is host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// URL is the proxy's address as a REDIS_URL.
func (p *Proxy) URL() string { return "redis://" + p.Addr() }

// Point sends connections to another server, those that are open being closed: a failover.
func (p *Proxy) Point(server string) {
	p.Next(server)
	p.Reset()
}

// Next sends new connections to another server, or to several in turn. Those that are open stay.
func (p *Proxy) Next(servers ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.servers = servers
}

// Freeze stops forwarding that way, on open and new connections, until Thaw. Nothing is closed and
// nothing is lost.
func (p *Proxy) Freeze(way Way) { p.set(clients, way, true) }

// Thaw ends Freeze.
func (p *Proxy) Thaw(way Way) { p.set(clients, way, false) }

// CutOff is Freeze, both ways, for the connections that other servers of the set have to this one, until Rejoin:
// clients reach it still. A cluster's bus does not go through the proxy.
func (p *Proxy) CutOff() { p.set(peers, Both, true) }

// Rejoin ends CutOff.
func (p *Proxy) Rejoin() { p.set(peers, Both, false) }

func (p *Proxy) set(of party, way Way, frozen bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range []Way{ToServer, ToClient} {
		if way.covers(one) {
			p.frozen[of][one] = frozen
		}
	}
	p.thawed.Broadcast()
}

// Chunk bounds how many bytes are forwarded at once; 1 delivers byte by byte, 0 ends it.
func (p *Proxy) Chunk(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.chunk = n
}

// Lose throws away the next n pieces that the server sends: a reply or an event each, or some of them.
func (p *Proxy) Lose(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.losing = n
}

// Reset ends every open connection with an RST, both ways.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if l.of == clients {
			_, _ = l.client.SetLinger(0), l.server.SetLinger(0)
			l.close()
		}
	}
}

func (p *Proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for l := range p.links {
		l.close()
	}
	p.thawed.Broadcast()
	p.mu.Unlock()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		addr := p.servers[p.turn%len(p.servers)]
		p.turn++
		p.mu.Unlock()
		server, err := net.Dial("tcp", addr)
		if err != nil {
			_ = client.Close()
			continue
		}
		l := &link{client: client.(*net.TCPConn), server: server.(*net.TCPConn), of: clients}
		if client.RemoteAddr().(*net.TCPAddr).IP.String() == peersIP {
			l.of = peers
		} else {
			l.inode = farInode(l.client)
		}
		p.track(l)
		p.running.Go(func() { p.forward(l, ToServer) })
		p.running.Go(func() { p.forward(l, ToClient) })
	}
}

func (p *Proxy) track(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.links[l] = struct{}{}
	for _, c := range p.cuts {
		c.stop(map[*link]struct{}{l: {}})
	}
	if p.closed {
		l.close()
	}
}

// forward copies until either end is closed, then closes both.
func (p *Proxy) forward(l *link, way Way) {
	from, to := l.ends(way)
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && l.of == clients && way == ToClient && p.loses() {
			n = 0
		}
		if n > 0 && p.write(l, to, buf[:n], way) != nil || err != nil {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l.close()
	delete(p.links, l)
}

// loses reports whether the next piece from the server is to be thrown away.
func (p *Proxy) loses() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.losing == 0 {
		return false
	}
	p.losing--
	return true
}

// write waits for a thaw, then writes data in chunks.
func (p *Proxy) write(l *link, to net.Conn, data []byte, way Way) error {
	for len(data) > 0 {
		p.mu.Lock()
		for (p.frozen[l.of][way] || l.cut[way]) && !p.closed {
			p.thawed.Wait()
		}
		n, closed := len(data), p.closed
		if p.chunk > 0 && l.of == clients {
			n = min(n, p.chunk)
		}
		p.mu.Unlock()
		if closed {
			return io.ErrClosedPipe
		}
		if _, err := to.Write(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}
