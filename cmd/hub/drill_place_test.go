package main

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"wshub/pubsub"
)

// drillTopic is what its publisher knows of a topic.
type drillTopic struct {
	name  string
	acked atomic.Int64 // number of the last acknowledged event: all before it are acknowledged, too

	mu sync.Mutex
	// unsure are numbers of events whose first outcome the publisher was not told: without its memory
	// the broker can't know that the retry is one.
	unsure  map[int]bool
	tried   map[int]string // of the newest events: what their publishers were answered before they were acknowledged
	numbers map[string]int // of acknowledged events, by position
	newest  pubsub.Position
	judged  int           // number of the last event that was acknowledged when the drill was judged last
	paused  time.Duration // the longest time that a client waited for an event, since then
}

func newDrillTopic(name string) *drillTopic {
	return &drillTopic{name: name, unsure: map[int]bool{}, tried: map[int]string{}, numbers: map[string]int{}}
}

func (topic *drillTopic) doubt(n int) {
	topic.mu.Lock()
	defer topic.mu.Unlock()
	topic.unsure[n] = true
}

func (topic *drillTopic) doubted(n int) bool {
	topic.mu.Lock()
	defer topic.mu.Unlock()
	return topic.unsure[n]
}

// failed notes what the publisher of event n was answered.
func (topic *drillTopic) failed(n int, code string) {
	topic.mu.Lock()
	defer topic.mu.Unlock()
	topic.tried[n] += " " + code
	delete(topic.tried, n-8)
}

// attempts are what the publisher of event n was answered before it was acknowledged.
func (topic *drillTopic) attempts(n int) string {
	topic.mu.Lock()
	defer topic.mu.Unlock()
	return topic.tried[n]
}

// note takes the position of an acknowledged event. It returns the number of another event that has it, or 0.
func (topic *drillTopic) note(n int, position string) (other int) {
	topic.mu.Lock()
	defer topic.mu.Unlock()
	other = topic.numbers[position]
	topic.numbers[position] = n
	if other == n {
		return 0
	}
	return other
}

// goesOn notes the position of an acknowledged event. It is false if that is before an earlier event's.
func (topic *drillTopic) goesOn(position string) bool {
	at, err := pubsub.ParsePosition(position)
	topic.mu.Lock()
	defer topic.mu.Unlock()
	before := topic.newest
	topic.newest = at
	return err == nil && (before.Epoch != at.Epoch || before.ID.Compare(at.ID) < 0)
}

// number is that of the event at a position, 0 if none is known to be there.
func (topic *drillTopic) number(position string) int {
	topic.mu.Lock()
	defer topic.mu.Unlock()
	return topic.numbers[position]
}

// waited notes how long a client waited for an event.
func (topic *drillTopic) waited(pause time.Duration) {
	topic.mu.Lock()
	defer topic.mu.Unlock()
	topic.paused = max(topic.paused, pause)
}

// place is where a follower stands in one topic. mu of the follower guards it.
type place struct {
	topic    int
	last     int       // the newest event's number, or that of one behind which the topic was said to go on
	position string    // as an answer or an event said last
	live     bool      // followed on the present connection
	left     bool      // the client left it since it asked for it last
	retried  bool      // it was asked for once more because the hub could not do it at first
	told     bool      // a loss was told since the last event
	heard    time.Time // when the last event came
	passed   map[int]bool
	trail    []string // what was heard of the topic last, for a drill that fails
}

// went notes a step.
func (p *place) went(format string, args ...any) {
	const most = 16
	if p.trail = append(p.trail, fmt.Sprintf(format, args...)); len(p.trail) > most {
		p.trail = p.trail[1:]
	}
}

// pass goes on to event n. Those in between must not come any more.
func (p *place) pass(n int) {
	for passed := p.last + 1; passed < n; passed++ {
		p.passed[passed] = true
	}
	p.last = max(p.last, n)
}

// event checks that e is what follows at p.
func (f *follower) event(p *place, e drillEvent, position string) {
	topic, n, told := f.d.topics[p.topic], e.N, 0
	p.went("event %d at %s", n, position)
	if p.told && f.way == verbatim && n <= p.last { // it can't say what it has, and another hub may be behind
		p.last = n - 1
		clear(p.passed)
	}
	if p.told {
		// The publisher knows by now where the topic was said to go on, if that is an event.
		if at := topic.number(p.position); at > p.last {
			told = at - p.last
			p.pass(at)
			p.passed[at] = true
		} else if at == 0 && n > p.last+1 {
			told = n - 1 - p.last
			p.pass(n - 1)
			p.passed[n-1] = true
		}
	}
	now, skipped := time.Now(), max(n-1-p.last, 0)
	if f.d.servers != nil {
		skipped = 0
	}
	late := now.Sub(time.Unix(0, e.At))
	f.d.counted(func(c *drillCount) {
		if f.d.servers != nil {
			f.d.strides = append(f.d.strides, stride{topic, f.number, f.way == verbatim, p.told, p.last, n, p.position, position})
		}
		if since := f.d.flowing; !since.IsZero() {
			if p.heard.After(since) {
				since = p.heard
			}
			topic.waited(now.Sub(since))
		}
		c.deliveries++
		c.late = append(c.late, late)
		if f.way == verbatim {
			c.away += told
		} else {
			c.told += told
		}
		switch {
		case n == p.last+1:
		case n > p.last && f.way == verbatim:
			c.unheard += skipped
		case n > p.last:
			c.lost += skipped
		case p.passed[n]:
			c.reordered++
		case n == p.last && (p.told || f.way == verbatim) && topic.doubted(n):
			c.unsureTwice++
		default:
			c.repeated++
			c.again = fmt.Sprintf("client %d, by way %d, gets event %d of %s again, at %s behind %d at %s; loss told: %v, its publisher was answered%s; heard before: %s",
				f.number, f.way, n, topic.name, position, p.last, p.position, p.told, topic.attempts(n), strings.Join(p.trail, "; "))
		}
	})
	if (n <= p.last || skipped > 0) && !p.told && f.way != verbatim {
		f.d.oddity("client %d gets event %d of %s behind %d", f.number, n, topic.name, p.last)
	}
	if !p.live {
		f.d.oddity("client %d gets event %d of %s, which it does not follow", f.number, n, topic.name)
	}
	if position == "" && f.way != verbatim {
		f.d.oddity("event %d of %s has no position", n, topic.name)
	}
	p.pass(n)
	p.position, p.told, p.heard = position, false, now
}

// noteLoss notes a loss that the hub reports; p goes on behind position.
func (f *follower) noteLoss(p *place, position string) {
	p.went("loss, on behind %s", position)
	if position == "" {
		f.d.oddity("a loss in %s is told without a position", f.d.topics[p.topic].name)
		return
	}
	p.told, p.position = true, position
}

// comesTo takes what the hub says of a topic that the client comes back to: the position of the answer is
// kept, so that it is handed in if the connection breaks before any event.
func (f *follower) comesTo(p *place, recovered *bool, position string) {
	topic := f.d.topics[p.topic]
	p.went("connection %d to %s, handed in %s: %t, %s", f.came, f.at, p.position, recovered != nil && *recovered, position)
	switch {
	case recovered == nil:
		f.d.oddity("client %d asks for what it missed of %s and is not told whether it comes", f.number, topic.name)
		return
	case f.denied[topic.name]:
		f.d.oddity("client %d follows %s, which its token does not allow", f.number, topic.name)
	case !*recovered:
		f.noteLoss(p, position)
	case position == "":
		f.d.oddity("client %d comes back to %s and is told no position", f.number, topic.name)
	case topic.number(position) > p.last && !p.told:
		f.d.oddity("client %d comes back to %s behind event %d, and the answer's position is that of event %d",
			f.number, topic.name, p.last, topic.number(position))
		p.position = position
	default:
		p.position = position
	}
	p.live = true
	f.d.counted(func(c *drillCount) {
		switch {
		case !*recovered:
			c.unrecovered++
		case f.came > 1:
			c.recovered++
		}
	})
}
