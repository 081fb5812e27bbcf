package engine

import "sync/atomic"

// Cause says why a connection ended: a name for metrics and logs, and the peer's Close frame.
type Cause struct {
	// Name is short and stable, as in "slow_consumer".
	Name string
	// Code and Reason go into the Close frame. Code 1006 is never sent: such a peer is cut.
	Code   uint16
	Reason string
}

// The causes that the engine itself knows.
var (
	ByPeer          = &Cause{"peer", 1000, ""}
	PeerGone        = &Cause{"gone", 1006, ""}
	HeartbeatMissed = &Cause{"heartbeat", 1006, ""}
	ProtocolError   = &Cause{"protocol", 1002, ""}
	InvalidText     = &Cause{"invalid_text", 1007, ""}
	TooBig          = &Cause{"too_big", 1009, ""}
	InflateBomb     = &Cause{"inflate_bomb", 1009, ""}
	InvalidDeflate  = &Cause{"invalid_deflate", 1007, ""}
	MessageTimeout  = &Cause{"message_timeout", 1008, "message not completed in time"}
	SlowConsumer    = &Cause{"slow_consumer", 4008, "slow consumer"}
	PartialLimit    = &Cause{"partial_limit", 1013, "node is short of memory"}
	BacklogLimit    = &Cause{"backlog_limit", 4008, "node is short of memory"}
	Panicked        = &Cause{"panic", 1011, "internal error"}
	Shutdown        = &Cause{"shutdown", 1001, "server stops"}
)

// Stats is what a Server counted since it began; Open, Opening, Partial and Backlog are as of now.
type Stats struct {
	Open     int64 // connections past their handshake
	Sockets  int64 // all sockets, those in handshake or closing included
	Partial  int64 // bytes of half-received messages, and of input that waits for its turn
	Backlog  int64 // bytes that wait for slow readers, with us or owed
	Accepted uint64
	Upgraded uint64
	Pages    uint64 // plain GETs that a Page answered
	BytesIn  uint64
	BytesOut uint64 // handed to the kernel or queued
	FramesIn uint64 // complete messages and control frames
	Pings    uint64
	Panics   uint64

	Deflates int64 // of Open, those that agreed on permessage-deflate
	// Deflated counts the frames that loops compressed, each for all who get it; DeflateIn and DeflateOut are their bytes
	// before and after, those included that did not become smaller. NotDeflated are frames left as they were because the
	// loop had compressed enough in its turn.
	Deflated, NotDeflated uint64
	DeflateIn, DeflateOut uint64
	// Inflated counts the compressed messages of clients, InflateIn and InflateOut their bytes before and after.
	Inflated, InflateIn, InflateOut uint64

	// Dropped counts sockets that were no connections, by name: half_open and closing made room for others, flood went
	// on sending while it was to close; for file_limit, accept_error and register_error there was no room.
	Dropped map[string]uint64
	// TLS counts TLS handshakes by result: ok, resumed (with a ticket), plain_text, bad_hello, too_big, version, protocol,
	// client_certificate, rejected (by the client), failed, gone (the client left), timeout, dropped_full. Handshaking are
	// those at work.
	TLS         map[string]uint64
	Handshaking int64
	// Refused counts handshakes answered with an HTTP error, by status.
	Refused map[int]uint64
	// Sources counts those of Refused that were refused for their address, by name: address_connections and
	// address_rate had too many, for address_table_full their rate could not be told, untrusted_proxy came past the
	// proxies, and for proxy_head the PROXY protocol's head was missing or malformed.
	Sources map[string]uint64
	// Closed counts ended connections, by Cause.Name.
	Closed map[string]uint64
}

// counters are one loop's share of Stats. The loop adds; anybody reads.
type counters struct {
	transit                                    atomic.Int64 // sockets in transit, those included of which the loop has not heard
	parting                                    atomic.Int64 // sockets to whose peers our FIN is still to come
	open, partial, backlog                     atomic.Int64
	upgraded, pages                            atomic.Uint64
	bytesIn, bytesOut, framesIn, pings, panics atomic.Uint64

	shaking                         atomic.Int64  // TLS handshakes with a goroutine
	handshakes                      Tally[string] // of TLS, by result
	deflates                        atomic.Int64
	deflated, notDeflated           atomic.Uint64
	deflateIn, deflateOut           atomic.Uint64
	inflated, inflateIn, inflateOut atomic.Uint64

	refused Tally[int]
	sources Tally[string]
	closed  Tally[string]
}

// Stats reads all counters. It takes no lock that a loop holds for long.
func (s *Server) Stats() Stats {
	st := Stats{
		Sockets:  s.room.sockets.Load(),
		Accepted: s.accepted.Load(),
		Dropped:  s.dropped.Snapshot(),
		TLS:      make(map[string]uint64),
		Refused:  make(map[int]uint64),
		Sources:  make(map[string]uint64),
		Closed:   make(map[string]uint64),
	}
	for _, l := range s.loops {
		c := &l.count
		st.Open += c.open.Load()
		st.Partial += c.partial.Load()
		st.Backlog += c.backlog.Load()
		st.Upgraded += c.upgraded.Load()
		st.Pages += c.pages.Load()
		st.BytesIn += c.bytesIn.Load()
		st.BytesOut += c.bytesOut.Load()
		st.FramesIn += c.framesIn.Load()
		st.Pings += c.pings.Load()
		st.Panics += c.panics.Load()
		st.Handshaking += c.shaking.Load()
		c.handshakes.AddTo(st.TLS)
		st.Deflates += c.deflates.Load()
		st.Deflated += c.deflated.Load()
		st.NotDeflated += c.notDeflated.Load()
		st.DeflateIn += c.deflateIn.Load()
		st.DeflateOut += c.deflateOut.Load()
		st.Inflated += c.inflated.Load()
		st.InflateIn += c.inflateIn.Load()
		st.InflateOut += c.inflateOut.Load()
		c.refused.AddTo(st.Refused)
		c.sources.AddTo(st.Sources)
		c.closed.AddTo(st.Closed)
	}
	return st
}
