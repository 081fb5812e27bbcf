// Package engine is a WebSocket server for very many mostly idle connections. It knows sockets, frames
// and time; it knows nothing of topics, users or Redis.
//
// # Who owns what
//
// A [Server] has a fixed number of loops, one per goroutine of the poller. A [Loop] owns its connections: it reads
// them, parses what they send, writes to them, runs their timers and ends them, always on the poller's
// own goroutine. So a [Conn] has no lock, and neither has what hangs on it. Everybody else reaches a
// loop through [Loop.Post].
//
//	accept goroutine ──add──▶ poller ──readable──▶ Loop ──▶ reader ──▶ Peer.Message, Peer.Overhead
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
// What a socket does not take is queued by the poller, and accounted for in Loop.backlogs, together with what the Peer
// holds back itself ([Conn.Owe]). Once a second slow.go looks at who gets on, and cuts who does not. In bytes the queues
// are bounded by relief.go, over all connections.
//
// # The poller
//
// poller.go is nbio's core behind a few words of our own, and the reason for each of them: why we write to descriptors
// ourselves, and leave every close to the poller's own event for the descriptor.
package engine
