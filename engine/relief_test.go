package engine

import "testing"

// Those that relief has cut hold their queues until their sockets are closed. That must not make it cut
// others, and as all queues are about the same, it would find them.
func TestReliefCountsWhoIsOnTheWayOut(t *testing.T) {
	s := running(t, Config{MaxBacklog: 2 << 20, SendBuffer: 8 << 10}, &echoing{})
	for range 40 {
		opened(t, s)
	}
	l := s.loops[0]
	if other := s.loops[1]; other.Open() > l.Open() {
		l = other
	}
	frame := AppendFrame(nil, OpBinary, make([]byte, 16<<10))
	cut := make(chan uint64, 2)
	l.Post(func() {
		for l.count.backlog.Load() <= l.share(s.cfg.MaxBacklog) {
			l.Each(func(c *Conn) { c.Write(frame) })
		}
		for range 2 {
			l.spent = 0 // so that it is done at once
			l.relieve()
			cut <- l.count.closed.Snapshot()[BacklogLimit.Name]
		}
	})
	first, second := <-cut, <-cut
	if first == 0 || first > 25 || second != first {
		t.Errorf("%d were cut, then %d", first, second-first)
	}
}
