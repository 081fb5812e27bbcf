// Package engine is a WebSocket server for very many mostly idle connections. It knows sockets, frames
// and time; it knows nothing of topics, users or Redis.
//
// # Who owns what
//
// A [Server] has a fixed number of loops, one per nbio poller. A [Loop] owns its connections: it reads
// them, parses what they send, writes to them, runs their timers and ends them, always on the poller's
// own goroutine. So a [Conn] has no lock, and neither has what hangs on it. Everybody else reaches a
// loop through [Loop.Post].
//
//	accept goroutine ──AddConn──▶ nbio poller ──OnRead──▶ Loop ──▶ reader ──▶ Peer.Message, Peer.Overhead
//	clock goroutine ───Post────▶ inbox + wake-up ──────▶ Loop ──▶ wheels (heartbeat, deadlines)
//	any goroutine ─────Post────▶ inbox + wake-up ──────▶ Loop ──▶ the posted func
//
// # The life of a connection
//
// opening (the HTTP head arrives) → deciding (the [Handler] has the [Handshake]) → open (the [Peer] has
// it) → closing (a Close frame or an HTTP refusal waits to leave, and then for the client's Close frame) → lingering
// (our side is shut, what still comes is thrown away) → ended. A connection that must go at once jumps to ended.
// From deciding to open it has one of Config.MaxConnections places; before and after it is in transit: see transit.go.
//
// # A turn, and who is slow
//
// Between two polls a loop does a bounded amount of work: meter.go counts sends, bytes, frames and jobs. Jobs that are
// left keep their order for the next turn, timers have half of each, and a connection that sends without end is read
// one buffer at a time. Control frames and small fragments cost their sender: see [Peer].Overhead.
//
// What a socket does not take is queued by nbio, and accounted for in Loop.backlogs, together with what the Peer holds
// back itself ([Conn.Owe]). Once a second slow.go looks at who gets on, and cuts who does not. In bytes the queues
// are bounded by relief.go, over all connections.
//
// # Why writes look the way they do
//
// nbio closes a socket at once when a write fails, and its poller may still hold an event for that
// descriptor number, which a new connection may own by then. So the loop writes to the descriptor
// itself and leaves every close to the poller's own event for it: see [Conn.Write] and accept.go.
package engine
