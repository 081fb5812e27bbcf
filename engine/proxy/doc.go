// Package proxy reads where a client is, of which a proxy on the way tells: in the head of the PROXY protocol, in
// X-Forwarded-For or in Forwarded (RFC 7239).
//
//	socket's address ──▶ Networks.Contains: is it a proxy that is believed?
//	first bytes      ──▶ ParseHead ──────▶ Head.Addr          (PROXY protocol, versions 1 and 2)
//	HTTP header      ──▶ Source.Client ──▶ the client's address (the other sources)
//
// A client can send all of this itself. So exactly one Source is read, chosen by the operator; only a peer of the
// Networks is believed; and header fields are read from the right, where the nearest proxy has written, up to the first
// address that is no proxy's. Nothing left of it counts, be it well formed or not.
package proxy
