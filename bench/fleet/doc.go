// Package fleet holds many WebSocket clients in few goroutines and judges what they receive.
//
// A Local fleet runs a handful of loops. Each loop owns an epoll instance, the raw non-blocking sockets
// in it and everything that belongs to them; other goroutines reach a loop only by posting a function.
// A client is one small struct in its loop's slice: no goroutine, no buffer while it is idle.
//
//	Order ──▶ Fleet ──▶ loop: dial, send, close          the plan
//	socket ─▶ loop.read ─▶ wire.Parse ─▶ judge.event     the outcome
//	Report ◀─ Fleet ◀── loop: Counts and histograms
//
// The judge knows for each client which event of its topic comes next. An event that one client of a
// loop received and that was checked in full is remembered for a moment: for the next clients
// verifying it is a comparison of bytes.
//
// A Shards fleet is the same thing spread over child processes, which take the same orders as JSON lines.
// Protocol, in protocol.go, hides the language of the server. A frame may hold several messages, and a message
// several events.
package fleet
