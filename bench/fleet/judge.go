package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"wshub/bench/probe"
	"wshub/bench/wire"
)

// client is one follower: its socket, if it has one, and which event it should see next.
type client struct {
	// Owned by the loop.
	fd      int32  // -1: none
	turn    uint32 // counts its sockets: an epoll event of an earlier one is stale
	state   state
	awaited uint8 // subscriptions not yet confirmed
	tries   uint8 // dials that failed in a row
	pongs   bool  // the server wants its pings answered that are messages
	partial bool  // the loop keeps a part of a frame, or of the handshake's answer
	// away is the judge's: was disconnected, or told of a gap, so that the next event may be any later one.
	away  bool
	began int64 // when the dial should have begun

	// Owned by the judge.
	number   int32
	next     uint64  // sequence number expected; 0: whatever comes first
	position *string // of the last event, shared by all clients that got it
}

// judge checks what clients of one loop receive, and counts. It touches no socket.
type judge struct {
	runID    string
	protocol Protocol
	topology Topology
	from     int64 // latencies of earlier events are not recorded

	counts  Counts
	latency *Hist
	missing map[int32][]span // by client: what a later event has overtaken
	seen    []seen           // direct-mapped by topic and sequence number
	parsed  []Message        // scratch
}

type span struct{ from, to uint64 } // to is not included

// seen is an event that was checked in full.
type seen struct {
	text     []byte // the message that it came in; empty where that held more
	topic    int32
	seq      uint64
	at       int64
	position *string
}

// seenSize covers the events that are under way to the clients of a loop at one time; at 128 bytes each
// it takes about 1.5 MB.
const seenSize = 8192

func newJudge(run string, p Protocol, t Topology) *judge {
	return &judge{
		runID: run, protocol: p, topology: t,
		latency: NewHist(), missing: map[int32][]span{}, seen: make([]seen, seenSize),
	}
}

func (j *judge) slot(topic int32, seq uint64) *seen {
	return &j.seen[(uint64(topic)*0x9e3779b97f4a7c15>>40+seq)%seenSize]
}

// known reports whether text is the event that c should see next, because another client got and passed
// the very same bytes; then it is delivered.
func (j *judge) known(c *client, text []byte, now int64) bool {
	topic := int32(j.topology.Of(int(c.number)))
	s := j.slot(topic, c.next)
	if s.seq != c.next || s.seq == 0 || s.topic != topic || c.away || !bytes.Equal(s.text, text) || len(text) == 0 {
		return false
	}
	j.counts.Messages++
	c.next++
	j.deliver(c, s, now)
	return true
}

// parse reads one message that c received and that is not known. It is valid until the next call.
func (j *judge) parse(c *client, message []byte) []Message {
	j.counts.Messages++
	if j.protocol.Opcode() == wire.Text && !utf8.Valid(message) {
		j.corrupt(c, "invalid UTF-8", message)
		return nil
	}
	all, err := j.protocol.Parse(j.parsed[:0], message)
	j.parsed = all
	if err != nil {
		j.corrupt(c, err.Error(), message)
		return nil
	}
	return all
}

// event judges an event that c received at now. text is the whole message, nil where it held more.
func (j *judge) event(c *client, m *Message, text []byte, now int64) {
	topic := int32(j.topology.Of(int(c.number)))
	e, err := probe.Decode(m.Data, j.runID)
	switch {
	case errors.Is(err, probe.ErrCorrupt):
		j.corrupt(c, err.Error(), m.Data)
		return
	case err != nil,
		m.Topic != "" && m.Topic != e.Topic,
		int32(j.topology.index(e.Topic)) != topic:
		j.counts.Foreign++
		j.example("foreign", c, m.Data)
		return
	}
	position := j.protocol.Place(c.at(), m.Position)
	s := j.slot(topic, e.Seq)
	if text != nil || !s.is(topic, e.Seq, position) {
		*s = seen{text: append(s.text[:0], text...), topic: topic, seq: e.Seq, at: e.At}
		if position != "" {
			s.position = &position
		}
	}
	if j.inOrder(c, e.Seq) {
		j.deliver(c, s, now)
	}
}

// inOrder moves c on past seq and reports whether it is one that c had not received.
func (j *judge) inOrder(c *client, seq uint64) bool {
	switch {
	case c.next == 0:
	case seq < c.next && c.away && !c.resumes():
		// A new connection, to a server that was told nothing of the one before.
	case seq < c.next:
		if j.found(c.number, seq) {
			j.counts.Reordered++
			j.counts.Lost--
			return true
		}
		j.counts.Repeated++
		return false
	case seq > c.next && c.away:
		j.counts.Missed += seq - c.next
	case seq > c.next:
		j.counts.Lost += seq - c.next
		j.missing[c.number] = append(j.missing[c.number], span{c.next, seq})
	}
	c.next, c.away = seq+1, false
	return true
}

// is reports whether s is the event seq of topic, at position.
func (s *seen) is(topic int32, seq uint64, position string) bool {
	return s.topic == topic && s.seq == seq && s.position != nil && *s.position == position
}

// at returns the position of c, empty where it has none.
func (c *client) at() string {
	if c.position == nil {
		return ""
	}
	return *c.position
}

// resumes reports whether c can tell a server what it has.
func (c *client) resumes() bool { return c.at() != "" }

// found takes seq out of what client number is missing.
func (j *judge) found(number int32, seq uint64) bool {
	for i, s := range j.missing[number] {
		if seq < s.from || seq >= s.to {
			continue
		}
		rest := append([]span(nil), j.missing[number][:i]...)
		if s.from < seq {
			rest = append(rest, span{s.from, seq})
		}
		if seq+1 < s.to {
			rest = append(rest, span{seq + 1, s.to})
		}
		j.missing[number] = append(rest, j.missing[number][i+1:]...)
		return true
	}
	return false
}

func (j *judge) deliver(c *client, s *seen, now int64) {
	j.counts.Delivered++
	if s.position != nil {
		c.position = s.position
	}
	if s.at >= j.from {
		j.latency.Record(now - s.at)
	}
}

func (j *judge) corrupt(c *client, why string, data []byte) {
	j.counts.Corrupt++
	j.example(why, c, data)
}

func (j *judge) example(why string, c *client, data []byte) {
	if len(j.counts.Examples) < maxExamples {
		j.counts.Examples = append(j.counts.Examples, fmt.Sprintf("client %d: %s: %.160q", c.number, why, data))
	}
}

// behind reports whether c has yet to receive an event up to sent.
func (j *judge) behind(c *client, sent []uint64) bool {
	topic := j.topology.Of(int(c.number))
	if topic >= len(sent) || sent[topic] == 0 {
		return false
	}
	return c.next <= sent[topic]
}

// writeOff counts the events up to sent that c, which is connected, did not receive as lost; it then expects the next ones.
func (j *judge) writeOff(c *client, sent []uint64) {
	if !j.behind(c, sent) {
		return
	}
	last := sent[j.topology.Of(int(c.number))]
	switch {
	case c.next == 0:
	case c.away:
		j.counts.Missed += last - c.next + 1
	default:
		j.counts.Lost += last - c.next + 1
	}
	c.next, c.away = last+1, false
}
