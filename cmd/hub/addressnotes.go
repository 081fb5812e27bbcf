package main

import "wshub/engine/proxy"

// addressNotes are about settings of clients' addresses that do nothing, or something else than they seem to.
func (s *settings) addressNotes() (notes []string) {
	c := s.cfg
	fromSocket := c.ClientAddress == proxy.Socket.String()
	if fromSocket && len(c.TrustedProxies) > 0 {
		notes = append(notes, s.origin("trusted-proxies")+" has no effect, since "+s.origin("client-address")+" is socket: no proxy is asked.")
	}
	if networks, err := proxy.ParseNetworks(c.TrustedProxies); err == nil && !fromSocket && networks.Everyone() {
		notes = append(notes, s.origin("trusted-proxies")+" trusts everybody: any client can claim any address. Name the networks of the proxies.")
	}
	for _, limit := range []struct {
		flag string
		n    int
	}{{"max-connections-per-address", c.MaxConnectionsPerAddress}, {"handshake-rate-per-address", c.HandshakeRatePerAddress}} {
		if limit.n > 0 && fromSocket {
			notes = append(notes, s.origin(limit.flag)+" counts by the address of the socket (--client-address=socket): behind a proxy that is the proxy's, and all clients share it.")
		}
	}
	if c.MaxConnectionsPerAddress > c.MaxConnections {
		notes = append(notes, s.origin("max-connections-per-address")+" has no effect: it is more than --max-connections.")
	}
	return notes
}
