package engine

import "time"

// turnWork is how much a loop does between two polls: whoever has something for it waits that long at most. It is
// counted and not measured, in rough prices of one core, so that it is the same on every machine and in every test.
const turnWork = 3 * time.Millisecond

const (
	writeCost  = 10 * time.Microsecond // a send(2) of little
	handOver   = time.Microsecond      // a message's way to its Peer, and 4 µs for each KiB that it parses
	messageKiB = 4 * time.Microsecond
	frameCost  = 50 * time.Nanosecond  // a frame's header and what is done for a control frame
	jobCost    = 500 * time.Nanosecond // a posted func or a timer, besides what it writes
	goneCost   = 2 * time.Microsecond  // a connection that has ended
	kibCost    = 500 * time.Nanosecond // 1 KiB copied from or to a socket
	smallest   = 10 * time.Nanosecond  // a byte read, if all that is read were the smallest frames
)

// bytesCost is the price of n bytes on their way between a socket and us.
func bytesCost(n int) time.Duration { return time.Duration(n) * kibCost >> 10 }

// messageCost is the price of handing n bytes to a Peer.
func messageCost(n int) time.Duration { return handOver + time.Duration(n)*messageKiB>>10 }

// spend puts work on the turn's account.
func (l *Loop) spend(work time.Duration) { l.spent += work }

// Spent reports whether this turn's work is used up: Post the rest of what you do. A job begins with something left.
// On the loop.
func (l *Loop) Spent() bool { return l.spent >= turnWork }

// readSize bounds the next read, so that the smallest of frames do not outlast the turn. A poll reports 1024
// connections at most, and each of them is read.
func (l *Loop) readSize() int {
	const least = 2 << 10
	return min(max(int((turnWork-l.spent)/smallest), least), len(l.buf))
}
