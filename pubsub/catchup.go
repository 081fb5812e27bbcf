package pubsub

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Sizes of one read from Redis. A batch of heads is less than a millisecond of the server's
// time. A batch of logs is 8 MiB and one event of each log at most.
const (
	headBatch = 512
	logBatch  = 32
)

// logPage is how much of each log is read at once.
var logPage = Limit{Events: 64, Bytes: 256 << 10}

// doubts are the topics whose log must be read, each once.
type doubts struct {
	work chan struct{} // wakes catchUp

	mu       sync.Mutex
	channels []string
}

func (d *doubts) put(channels ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.channels = append(d.channels, channels...)
	wake(d.work)
}

// take removes and returns the first n at most.
func (d *doubts) take(n int) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	n = min(n, len(d.channels))
	first := d.channels[:n:n]
	if d.channels = d.channels[n:]; len(d.channels) == 0 {
		d.channels = nil
	}
	return first
}

// putInDoubt doubts a topic that was subscribed just now: events may have been published before.
func (s *subscriber) putInDoubt(channel string) {
	s.delivery.mu.Lock()
	defer s.delivery.unlock()
	if _, c, _ := s.follows.followers(channel); c != nil {
		c.distrust() // it may be in doubt since the connection before
		s.doubts.put(channel)
	}
}

// unread is a topic whose log could not be read, and why.
type unread struct {
	channel string
	err     error
}

// catchUp reads the logs of topics in doubt until ctx ends. A log that can't be read now is read later:
// until then events that arrive stay held. Where the server refuses, waiting Follows fail with ErrRefused.
func (s *subscriber) catchUp(ctx context.Context) error {
	var later []string
	retry := time.NewTimer(0)
	defer retry.Stop()
	for failures := 0; ; {
		channels := s.doubts.take(headBatch)
		if len(channels) == 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-s.doubts.work:
			case <-retry.C:
				s.doubts.put(later...)
				later = nil
			}
			continue
		}
		failed := s.compare(ctx, channels)
		if len(failed) == 0 {
			failures = 0
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.trouble.Warn().Func(Because(failed[0].err)).Int("topics", len(failed)).Msg("history can't be read; followers wait")
		for _, f := range failed {
			later = append(later, f.channel)
			if readError(f.err) == ErrRefused {
				s.follows.refuse(f.channel, fmt.Errorf("follow: %w: %s", ErrRefused, f.err))
			}
		}
		retry.Reset(s.backoff(failures))
		failures++
	}
}

// doubtful is a topic in doubt whose log is about to be read.
type doubtful struct {
	channel string
	since   Position // what its followers are up to
	reading uint64   // see held.reading
}

// compare asks where the logs of channels' topics end, and reads the logs that went on. A topic whose doubt has
// ended may be compared again without harm.
func (s *subscriber) compare(ctx context.Context, channels []string) (failed []unread) {
	list := s.beginReading(channels)
	heads := s.heads(ctx, s.topicsOf(list))
	var changed []string
	for i, d := range list {
		if heads[i].err != nil {
			failed = append(failed, unread{d.channel, heads[i].err})
		} else if !s.endDoubt(d, &heads[i]) {
			changed = append(changed, d.channel)
		}
	}
	for len(changed) > 0 {
		batch := changed[:min(logBatch, len(changed))]
		more, without := s.readOn(ctx, batch)
		failed = append(failed, without...)
		changed = append(changed[len(batch):], more...)
	}
	return failed
}

func (s *subscriber) topicsOf(list []doubtful) []string {
	topics := make([]string, len(list))
	for i, d := range list {
		topics[i] = s.names.topicOf(d.channel)
	}
	return topics
}

// beginReading returns the topics of channels that are in doubt, and numbers the reading of their logs that follows.
func (s *subscriber) beginReading(channels []string) (list []doubtful) {
	s.delivery.mu.Lock()
	defer s.delivery.unlock()
	for _, channel := range channels {
		if _, c, _ := s.follows.followers(channel); c != nil && c.held != nil && s.follows.hears(channel, s.line) {
			s.delivery.reading++
			c.beginReading(s.delivery.reading)
			list = append(list, doubtful{channel, c.last, s.delivery.reading})
		}
	}
	return list
}

// chainOf is d's chain while d's reading is the newest of it, else nil. The caller holds delivery.mu.
func (s *subscriber) chainOf(d doubtful) (Loops, *chain) {
	loops, c, _ := s.follows.followers(d.channel)
	if c == nil || c.held == nil || c.held.reading != d.reading {
		return 0, nil
	}
	return loops, c
}

// endDoubt ends the doubt about d's topic if its followers miss nothing, or if there is none. It reports whether it did.
func (s *subscriber) endDoubt(d doubtful, head *excerpt) bool {
	s.delivery.mu.Lock()
	loops, c := s.chainOf(d)
	if c == nil {
		s.delivery.unlock()
		return true
	}
	if !c.adoptHead(head) {
		s.delivery.unlock()
		return false
	}
	c.asOf = d.reading
	if c.last.ID.Seq == 0 {
		s.delivery.recent.drop(c) // the log began anew
	}
	s.release(d.channel, loops, c)
	return true
}

// release lets go what was held, and unlocks delivery.mu.
func (s *subscriber) release(channel string, loops Loops, c *chain) {
	steps, strange, again := c.release(s.master.clock.believed())
	s.stats.drops[NotInLog].Add(strange)
	for _, step := range steps {
		s.deliverStep(s.names.topicOf(channel), loops, c, step)
	}
	if again {
		s.doubts.put(channel)
		s.delivery.unlock()
		return
	}
	// In one step with the end of the doubt: an event in between would be held, and for ever.
	done := s.confirm(channel, c)
	s.delivery.unlock()
	answer(done)
}

// readOn reads one batch of logs behind what the followers have. more are those that go on.
func (s *subscriber) readOn(ctx context.Context, channels []string) (more []string, failed []unread) {
	list := s.beginReading(channels)
	since := make([]Position, len(list))
	for i, d := range list {
		since[i] = d.since
	}
	for i, x := range s.excerpts(ctx, s.topicsOf(list), since, logPage, false) {
		if x.err != nil {
			failed = append(failed, unread{list[i].channel, x.err})
		} else if s.goOn(list[i], &x) {
			more = append(more, list[i].channel)
		}
	}
	return more, failed
}

// goOn takes the followers over what was read of their log. more is true if it goes on behind that.
func (s *subscriber) goOn(d doubtful, x *excerpt) (more bool) {
	s.delivery.mu.Lock()
	loops, c := s.chainOf(d)
	if c == nil {
		s.delivery.unlock()
		return false
	}
	c.asOf = d.reading
	steps, more := c.catchUp(x)
	for _, step := range steps {
		s.deliverStep(s.names.topicOf(d.channel), loops, c, step)
	}
	s.stats.caughtUp.Add(uint64(len(x.events)))
	if more {
		s.delivery.unlock()
		return true
	}
	s.release(d.channel, loops, c)
	return false
}
