package pubsub

import (
	"context"
	"fmt"
	"strconv"
)

// A message between nodes begins with a byte that names its kind.
const (
	probeMark   = 'p' // + number: a probe of the node's own
	controlMark = 'c' // + the message given to Notify
	revokedMark = 'r' // + a Revocation as JSON, which was made just now
	writtenMark = 'w' // + a Revocation as JSON, which the list had lost
	askMark     = 'q' // + a node's name: it misses revocations
)

// maxControl bounds a message between nodes, in bytes. Longer messages are dropped.
const maxControl = 1 << 20

// Notify sends message to OnControl of the instance named node, or of every instance, this one too, if
// node is "". At most once: an instance that is away, or of a name that nobody has, hears nothing, and
// that is no error. ErrUnavailable, ErrUnknownOutcome or ErrRefused as with Publish.
func (r *Redis) Notify(ctx context.Context, node string, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	message = append([]byte{controlMark}, message...)
	var err error
	if node == "" {
		_, err = r.notifyAll(ctx, message, false)
	} else {
		_, err = r.notifyOne(ctx, node, message)
	}
	if err != nil {
		return fmt.Errorf("notify %q: %w: %s", node, classify(err), err)
	}
	return nil
}

// hear takes a message from this node's channel or from that of all.
func (s *subscriber) hear(channel, message string) {
	if message == "" {
		s.drop(BadControl, channel)
		return
	}
	mark, rest := message[0], message[1:]
	switch {
	case mark == probeMark:
		s.probe, _ = strconv.ParseUint(rest, 10, 64)
		s.roundTrip()
	case mark == revokedMark, mark == writtenMark:
		s.revoked(rest, mark == revokedMark)
	case mark == askMark:
		if rest != s.cfg.Node {
			s.list.asked.Store(true)
			wake(s.list.work)
		}
	case mark == controlMark && s.cfg.OnControl != nil:
		s.cfg.OnControl([]byte(rest))
	case mark != controlMark:
		s.drop(BadControl, channel)
	}
}

// Notify gives message to OnControl if it is for this instance. See Redis.Notify.
func (m *Memory) Notify(_ context.Context, node string, message []byte) error {
	if m.cfg.OnControl != nil && (node == "" || node == m.cfg.Node) {
		m.cfg.OnControl(message)
	}
	return nil
}
