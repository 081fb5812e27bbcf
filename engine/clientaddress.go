package engine

import (
	"errors"
	"net/http"
	"net/netip"

	"wshub/engine/proxy"
)

// This file finds the address of a connection's client. For most servers that is the peer of its socket, whom the kernel
// knows, and nothing is kept.

// addressed is a Conn of a server that keeps its clients' addresses: see Server.addressed. Conns of other servers have no
// room for one.
type addressed struct {
	Conn
	client [16]byte // as netip.Addr.As16; zero: the socket's, or not known yet
}

// newConn makes the state of sock.
func (l *Loop) newConn(sock socket) *Conn {
	if !l.srv.addressed {
		c := &Conn{state: l.srv.firstState(), socket: sock, loop: l, transit: new(transit)}
		sock.attach(c)
		return c
	}
	a := &addressed{Conn: Conn{state: l.srv.firstState(), socket: sock, loop: l, transit: new(transit)}}
	sock.attach(a)
	return &a.Conn
}

// RemoteAddr is the client's address, as Config.ClientAddress says, and the socket's as long as that is not known. Its port
// is 0 where the address is not the socket's. The zero one stands for a socket that is closed. It costs a system call.
func (c *Conn) RemoteAddr() netip.AddrPort {
	peer := c.socket.peer()
	if client := c.client(); client.IsValid() && client != peer.Addr() {
		return netip.AddrPortFrom(client, 0)
	}
	return peer
}

// client is the address that was kept, the zero one if none was.
func (c *Conn) client() netip.Addr {
	if a := c.socket.addressed(); a != nil && a.client != [16]byte{} {
		return netip.AddrFrom16(a.client).Unmap()
	}
	return netip.Addr{}
}

// keepClient keeps at as the client's address. That must not change while the connection has its place: see Server.enter.
func (c *Conn) keepClient(at netip.Addr) {
	if a := c.socket.addressed(); a != nil && at.IsValid() {
		a.client = at.As16()
	}
}

// findClient keeps the address that a whole HTTP head comes from. The PROXY protocol's was kept before.
func (c *Conn) findClient(header http.Header) {
	s := c.loop.srv
	if s.addressed && s.cfg.ClientAddress != proxy.Protocol {
		c.keepClient(s.cfg.ClientAddress.Client(c.socket.peer().Addr(), header, s.cfg.TrustedProxies))
	}
}

// The refusals of who does not come as Config.ClientAddress wants it.
var (
	refuseUntrusted = refuseNamed("untrusted_proxy", http.StatusForbidden, "this port serves its proxies only: connect to one of them")
	refuseNoHead    = refuseNamed("proxy_head", http.StatusBadRequest, "this port wants the PROXY protocol: turn it on in front of it")
	refuseBadHead   = refuseNamed("proxy_head", http.StatusBadRequest, "malformed PROXY protocol head")
)

// introduce takes the PROXY protocol's head off what came first, where one is wanted, and returns the bytes that came behind
// it: those of HTTP, or of TLS.
func (c *Conn) introduce(data []byte) []byte {
	t, cfg := c.transit, &c.loop.srv.cfg
	if cfg.ClientAddress != proxy.Protocol || t.introduced {
		return data
	}
	peer := c.socket.peer().Addr()
	if !peer.IsValid() { // its peer has reset it, and nobody knows any more from whom it came
		c.cut()
		return nil
	}
	if !cfg.TrustedProxies.Contains(peer) {
		c.refuseSource(refuseUntrusted)
		return nil
	}
	had, first := len(t.buf), data
	if had > 0 {
		t.buf = gather(t.buf, data[:min(len(data), cfg.MaxHead-had)], cfg.MaxHead)
		first = t.buf
	}
	head, err := proxy.ParseHead(first, cfg.MaxHead)
	switch {
	case errors.Is(err, proxy.ErrNoHead):
		c.refuseSource(refuseNoHead)
		return nil
	case err != nil:
		r := *refuseBadHead
		r.Detail = err.Error()
		c.refuseSource(&r)
		return nil
	case head.Size == 0:
		if had == 0 {
			t.buf = gather(nil, data, cfg.MaxHead)
		}
		c.countHeld(false)
		return nil
	}
	t.introduced, t.buf = true, nil
	c.countHeld(false)
	if head.Addr.IsValid() {
		peer = head.Addr.Addr()
	}
	c.keepClient(peer)
	return data[head.Size-had:]
}

// refuseSource is for a socket that is refused for where it comes from.
func (c *Conn) refuseSource(r *Refusal) {
	c.loop.count.sources.Add(r.Name)
	c.refuse(r)
}
