package fleet

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"wshub/pubsub"
)

// A message between nodes begins with a byte that no JSON does: so it is told from the orders of package session.
//
//	question  0x01, number (8 bytes), milliseconds that are left, node that asks, kind, arguments
//	answer    0x02, number (8 bytes), status (1 byte), node that answers, data
//
// Milliseconds and lengths are uvarints; a text has its length before it, the last one of a message has none.
const (
	questionMark = 0x01
	answerMark   = 0x02
)

// question is a question on its way.
type question struct {
	number uint64
	left   time.Duration // as it was told
	until  time.Time     // of one that came from elsewhere: when its answer is of no use any more
	from   string
	kind   string
	args   []byte
}

// message is q for another node. ctx has the deadline.
func (q *question) message(ctx context.Context) []byte {
	left := DefaultTime
	if until, ok := ctx.Deadline(); ok {
		left = max(time.Until(until), 0)
	}
	b := binary.BigEndian.AppendUint64([]byte{questionMark}, q.number)
	b = binary.AppendUvarint(b, uint64(left.Milliseconds()))
	b = appendText(appendText(b, q.from), q.kind)
	return append(b, q.args...)
}

// parseQuestion reads what stands behind the mark. It keeps b.
func parseQuestion(b []byte) (q question, ok bool) {
	p := parser{b, true}
	q.number = p.number()
	q.left = min(time.Duration(min(p.uvarint(), uint64(MaxTime/time.Millisecond)))*time.Millisecond, MaxTime)
	q.from, q.kind = p.text(pubsub.MaxTopic), p.text(MaxKind)
	q.args = p.rest
	return q, p.ok && pubsub.ValidTopic(q.from) && len(q.args) <= MaxArgs
}

// reply is an answer on its way.
type reply struct {
	number uint64
	status status
	data   []byte // the answer, or the text of an error
}

// status is how a question came out.
type status byte

const (
	answered status = iota
	failed
	unknownKind
	answerTooLarge
	numStatus
)

// message is r for the node that asked, from node.
func (r reply) message(node string) []byte {
	b := binary.BigEndian.AppendUint64([]byte{answerMark}, r.number)
	b = appendText(append(b, byte(r.status)), node)
	return append(b, r.data...)
}

// parseReply reads what stands behind the mark. It keeps b.
func parseReply(b []byte) (node string, r reply, ok bool) {
	p := parser{b, true}
	r.number = p.number()
	r.status = status(p.byte())
	node = p.text(pubsub.MaxTopic)
	r.data = p.rest
	return node, r, p.ok && r.status < numStatus && len(r.data) <= MaxAnswer
}

// err is what an Answer says of r.
func (r reply) err() error {
	switch r.status {
	case failed:
		return fmt.Errorf("%w: %s", ErrFailed, r.data[:min(len(r.data), maxError)])
	case unknownKind:
		return ErrUnknownKind
	case answerTooLarge:
		return fmt.Errorf("the answer is %w", ErrTooLarge)
	}
	return nil
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// parser takes a message apart. ok is false once something was missing.
type parser struct {
	rest []byte
	ok   bool
}

func (p *parser) take(n uint64) []byte {
	if uint64(len(p.rest)) < n {
		p.ok, p.rest = false, nil
		return make([]byte, min(n, 8))
	}
	taken := p.rest[:n]
	p.rest = p.rest[n:]
	return taken
}

func (p *parser) number() uint64 { return binary.BigEndian.Uint64(p.take(8)) }

func (p *parser) byte() byte { return p.take(1)[0] }

func (p *parser) uvarint() uint64 {
	v, n := binary.Uvarint(p.rest)
	if n <= 0 {
		p.ok, n = false, len(p.rest)
	}
	p.rest = p.rest[n:]
	return v
}

// text reads a text of at most limit bytes.
func (p *parser) text(limit uint64) string {
	n := p.uvarint()
	if n > limit {
		p.ok, p.rest = false, nil
		return ""
	}
	return string(p.take(n))
}
