package session

import (
	"sync"
	"sync/atomic"
	"time"

	"wshub/pubsub"
)

// Format is the form of events on the wire. A session has one for its life; each event's frame is made once for each format
// that anybody who follows has, and shared.
type Format struct {
	id    uint8
	words Words
}

// Words are what a Format is made of.
type Words struct {
	// Moved makes the frame of a change of a topic's presence, nil if the format has no words for it. Where it is Counted there
	// are counts only.
	Moved func(m *pubsub.Moved) []byte
	// Presence makes the frame of a topic's whole presence, for who watched it and missed a change; nil likewise.
	Presence func(topic string, p *pubsub.Presence) []byte
	// Event makes the frame of an event.
	Event func(ev *pubsub.Event) []byte
	// Gap makes the frame that announces a loss, nil if the format has no words for it.
	Gap func(topic string, at pubsub.Position) []byte
	// Stamp, where not nil, appends what a session of its own gets behind each frame of an event or a gap: at is where the
	// topic stands with it, zero where that is unknown. Frames are shared all the same. It is called once for each frame, in
	// the order in which they leave.
	Stamp func(s *Session, dst []byte, topic string, at pubsub.Position) []byte
	// StampSize goes with Stamp: the most bytes that it appends for a session.
	StampSize func(s *Session) int
	// EndsAtGap: a session leaves a topic at a gap, instead of a frame, and hears Protocol.Gap.
	EndsAtGap bool
}

// Marks that go with the id of a format.
const (
	// watching is set for who watches the topic's presence: there the batch has its news, too.
	watching = 1 << 7
	// deflated and narrow are set for those who agreed on compressed frames: see compress.go.
	deflated, narrow = 1 << 6, 1 << 5

	maxFormats = narrow
	marks      = watching | deflated | narrow
)

var (
	formats     [maxFormats]*Format
	formatCount atomic.Int32
)

// NewFormat registers a format, for as long as the process lives. Call it from a package's variables: there is room
// for 32.
func NewFormat(w Words) *Format {
	f := &Format{id: uint8(formatCount.Add(1) - 1), words: w}
	if f.id >= maxFormats {
		panic("session: too many formats")
	}
	formats[f.id] = f
	return f
}

// Format is the form of the session's events.
func (s *Session) Format() *Format { return formats[s.format&^marks] }

// UseFormat changes the form of the session's events, from the next one on. A protocol that knows only after the handshake
// which one fits calls it in Opened.
func (s *Session) UseFormat(f *Format) { s.format = s.format&marks | f.id }

// stamp is what writes behind a frame of the session's, nil for most.
func (s *Session) stamp() func(*Session, []byte, string, pubsub.Position) []byte {
	return s.Format().words.Stamp
}

// handStamped writes a batch to a session whose frames are stamped, as shard.hand does to others.
func (s *Session) handStamped(batch []*message) {
	stamp := s.stampSize()
	for len(batch) > 0 {
		n, size := 0, 0
		for n < len(batch) && (n == 0 || size < joinBytes) {
			size += len(batch[n].frame(s.formatFor(batch[n]), s.shard)) + stamp
			n++
		}
		if queued := s.conn.Queued(); queued > 0 && queued+size > s.shard.hub.maxChunk {
			s.lag(batch)
			return
		}
		if !s.writeAll(batch[:n]) {
			return
		}
		batch = batch[n:]
	}
}

// stampSize is the most bytes that a frame of the session's is longer than the shared one.
func (s *Session) stampSize() int {
	if f := s.Format().words.StampSize; f != nil {
		return f(s)
	}
	return 0
}

// message is an event, or the news of a gap, on its way to a topic's followers. All loops share it; its
// frame is made once per format, by the loop that needs it first.
type message struct {
	topic    string
	event    *pubsub.Event   // nil: a gap, or news
	news     *news           // nil: none
	position pubsub.Position // the event's; of a gap, where the topic goes on
	came     time.Duration   // of an event that is delivered live: the hub's age; only where OnFanout wants it
	loss     *pubsub.Loss    // of a gap that the broker tells

	mu    sync.Mutex
	first made   // the only one, mostly
	more  []made // the others
}

// made is a message's frame in one format.
type made struct {
	format uint8
	ok     bool
	frame  []byte
}

// frame returns the message's frame in format f, nil if that format has no words for it. On sh's loop.
func (m *message) frame(f uint8, sh *shard) []byte {
	if m.news == nil {
		f &^= watching
	} else if f&watching == 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if frame, ok := m.made(f); ok {
		return frame
	}
	if f&(deflated|narrow) != 0 {
		return m.compressed(f, sh)
	}
	return m.keep(f, m.make(formats[f&^marks]))
}

// made returns the frame in a format if there is one already. The caller holds mu.
func (m *message) made(f uint8) (frame []byte, ok bool) {
	if m.first.ok && m.first.format == f {
		return m.first.frame, true
	}
	for i := range m.more {
		if m.more[i].format == f {
			return m.more[i].frame, true
		}
	}
	return nil, false
}

// keep notes a frame for all. The caller holds mu.
func (m *message) keep(f uint8, frame []byte) []byte {
	it := made{f, true, frame}
	if m.first.ok {
		m.more = append(m.more, it)
	} else {
		m.first = it
	}
	return frame
}

func (m *message) make(f *Format) []byte {
	switch {
	case m.news != nil:
		return m.news.make(m.topic, f)
	case m.event != nil:
		return f.words.Event(m.event)
	case f.words.Gap != nil:
		return f.words.Gap(m.topic, m.position)
	}
	return nil
}

// ends reports whether a session whose format is f leaves the topic here.
func (m *message) ends(f uint8) bool {
	return m.event == nil && m.news == nil && formats[f&^marks].words.EndsAtGap
}

// size is roughly what a message costs while it waits.
func (m *message) size() int {
	switch {
	case m.news != nil:
		return messageOverhead + m.news.size()
	case m.event == nil:
		return messageOverhead
	}
	return messageSize(m.event)
}

// sizeFor is size with the session's stamp.
func (m *message) sizeFor(s *Session) int { return m.size() + s.stampSize() }

const messageOverhead = 128

func messageSize(ev *pubsub.Event) int { return messageOverhead + len(ev.Data) + ev.Attributes.Size() }

// except is the id of the session that does not get the message; ok is false if all get it.
func (m *message) except() (id uint64, ok bool) {
	if m.event == nil || m.event.Attributes == nil || m.event.Attributes.Except == "" {
		return 0, false
	}
	return parseName(m.event.Attributes.Except)
}

// gets reports whether the session is one that m is for.
func (s *Session) gets(m *message) bool {
	id, ok := m.except()
	return !ok || id != s.id
}
