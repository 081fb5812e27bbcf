// Package engine is a WebSocket server for very many mostly idle connections. It knows sockets, frames
// and time; it knows nothing of topics, users or Redis.
//
// # Who owns what
//
// A [Server] has a fixed number of loops, one per goroutine of the poller. A [Loop] owns its connections: it reads
// them, parses what they send, writes to them, runs their timers and ends them, always on the poller's
// own goroutine. So a [Conn] has no lock, and neither has anything that hangs on it. Other goroutines reach a
// loop through [Loop.Post].
//
//	accept goroutine ──add──▶ poller ──readable──▶ Loop ──▶ reader ──▶ Peer.Message, Peer.Overhead
//	clock goroutine ───Post────▶ inbox + wake-up ──────▶ Loop ──▶ wheels (heartbeat, deadlines)
//	any goroutine ─────Post────▶ inbox + wake-up ──────▶ Loop ──▶ the posted func
//
// # The life of a connection
//
// arriving (the HTTP head arrives) → deciding (the [Handler] has the [Handshake]) → open (the [Peer] has
// it) → closing (a Close frame or an HTTP refusal waits to leave, and then for the client's Close frame) → lingering
// (our side is shut, further bytes are thrown away) → ended. A connection that must go at once jumps to ended.
// From deciding to open it has one of Config.MaxConnections places; before and after it is in transit: see transit.go.
//
// # Clients behind proxies
//
// Config.ClientAddress says where a client's address stands: clientaddress.go, by package proxy. The PROXY protocol's head
// comes before the HTTP head, within the same bounds of bytes and time. A server that keeps addresses, because they are not
// those of the sockets or are counted, has 16 bytes more for each connection. addresses.go bounds the connections and
// handshakes of each; an address is counted with the connection's place, and given back with it.
//
// # TLS
//
// Where Config.TLS is set, two states stand before the head: hailing (the ClientHello arrives) and shaking (the handshake is
// at work). crypto/tls can't leave a handshake in the middle, so the loop first collects the whole ClientHello
// (clienthello.go), and then a goroutine runs the handshake, which the loop feeds (tlshandshake.go). Their number is bounded,
// and how many compute at once. When it is over the goroutine ends, and the loop drives the tls.Conn (tlslayer.go):
//
// socket ──▶ whole records ──▶ tls.Conn.Read ──▶ Conn.receive Conn.send ──▶ tls.Conn.Write ──▶ sendRaw ──▶ socket
//
// A read without a whole record ends with a temporary error, after which crypto/tls can go on; a write is always taken, as
// it goes to the connection's queue: what is said of slow connections holds for records as for frames. The layers of a loop share their
// buffers. tlsbuffers.go frees those that a handshake leaves in the tls.Conn: 2.6 KB of heap remain besides the connection, the
// two AES-GCM states being 1.7 of them. Plain servers have no layers, and pay one comparison per write.
//
// # Plain HTTP
//
// At Config.HTTPPaths a request without an upgrade goes the same way: a stream is a connection whose output is the body of
// its response, and a post collects its body while arriving, and is answered while deciding. See exchange.go. So does a call of an
// API (call.go), whose head is judged before its body is read.
//
// # A turn, and slow connections
//
// Between two polls a loop does a bounded amount of work: meter.go counts sends, bytes, frames and jobs. Jobs that are
// left keep their order for the next turn, timers have half of each, and a connection that sends without end is read
// one buffer at a time. A buffer may hold much more work than that: of it each connection has an eighth of a turn at once.
// The rest waits for a later turn, in its order, and meanwhile nothing is read from that socket (rest.go). Rests are a queue
// of their own: however many there are, no job waits for more than a turn's worth of them. Control frames and small fragments
// cost their sender: see [Peer].Overhead.
//
// Bytes that a socket does not accept are queued by the poller, and accounted for in Loop.backlogs, together with bytes
// that the Peer holds back itself ([Conn.Owe]). Once a second slow.go cuts connections that make no progress. relief.go
// bounds the bytes of all queues together.
//
// # Compressed messages
//
// Where Config.Deflate is set, a connection may agree on permessage-deflate (RFC 7692; deflate.go), always without a context:
// each message stands for itself, both ways. So [Conn.Deflate] is all that a connection keeps of it, and one frame of
// [Loop.Deflate] (deflater.go) goes to all connections with the same terms. A loop has one compressor for each of the two
// windows and one inflater (inflate.go), which it makes for the first client that wants them. The inflater stops at
// Config.MaxMessage, and at more blocks than a compressor makes; the compressor stops when it has taken a turn's time.
//
// # The poller
//
// poller.go is nbio's core behind a few methods of our own. It gives the reason for each: why we write to descriptors
// ourselves, and leave every close to the poller's own event for the descriptor.
package engine
