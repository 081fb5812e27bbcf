package fleet

import (
	"fmt"
	"testing"

	"wshub/bench/probe"
)

const testRun = "r1"

func event(topic string, seq uint64, at int64) []byte {
	return probe.Append(nil, testRun, probe.Event{Topic: topic, Seq: seq, At: at}, 128)
}

func plainJudge() *judge { return newJudge(testRun, plain{}, Topology{Topic: "news"}) }

// receive judges a message as the loop does.
func receive(j *judge, c *client, text []byte, now int64) {
	if j.known(c, text, now) {
		return
	}
	for _, m := range j.parse(c, text) {
		if m.Kind == Event {
			j.event(c, &m, text, now)
		}
	}
}

func TestSequencesAreJudged(t *testing.T) {
	type counts struct{ delivered, lost, repeated, reordered, missed uint64 }
	for name, c := range map[string]struct {
		first uint64 // expected at the start; 0: whatever comes
		seqs  []uint64
		sent  uint64
		want  counts
	}{
		"in order":              {1, []uint64{1, 2, 3}, 3, counts{delivered: 3}},
		"joined late":           {0, []uint64{7, 8}, 8, counts{delivered: 2}},
		"never joined":          {0, nil, 8, counts{}},
		"the first missing":     {1, []uint64{2, 3}, 3, counts{delivered: 2, lost: 1}},
		"a hole":                {1, []uint64{1, 4}, 4, counts{delivered: 2, lost: 2}},
		"the last missing":      {1, []uint64{1}, 3, counts{delivered: 1, lost: 2}},
		"everything missing":    {1, nil, 3, counts{lost: 3}},
		"twice":                 {1, []uint64{1, 2, 2, 3}, 3, counts{delivered: 3, repeated: 1}},
		"an old one again":      {1, []uint64{1, 2, 3, 1}, 3, counts{delivered: 3, repeated: 1}},
		"two swapped":           {1, []uint64{2, 1, 3}, 3, counts{delivered: 3, reordered: 1}},
		"the middle of a hole":  {1, []uint64{1, 6, 4}, 6, counts{delivered: 3, lost: 3, reordered: 1}},
		"the whole hole":        {1, []uint64{1, 4, 3, 2}, 4, counts{delivered: 4, reordered: 2}},
		"late and then again":   {1, []uint64{1, 3, 2, 2}, 3, counts{delivered: 3, reordered: 1, repeated: 1}},
		"before the late joint": {0, []uint64{7, 5}, 7, counts{delivered: 1, repeated: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			j, follower := plainJudge(), client{next: c.first}
			for _, seq := range c.seqs {
				receive(j, &follower, event("news", seq, 1), 1000)
			}
			j.writeOff(&follower, []uint64{c.sent})
			n := j.counts
			if got := (counts{n.Delivered, n.Lost, n.Repeated, n.Reordered, n.Missed}); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestWhatWasSentWhileAwayIsMissedAndNotLost(t *testing.T) {
	j, c := plainJudge(), client{next: 1}
	receive(j, &c, event("news", 1, 1), 1000)
	c.away = true
	receive(j, &c, event("news", 5, 1), 1000)
	receive(j, &c, event("news", 7, 1), 1000)
	if j.counts.Missed != 3 || j.counts.Lost != 1 || j.counts.Delivered != 3 {
		t.Errorf("missed %d, lost %d, delivered %d; want 3, 1, 3", j.counts.Missed, j.counts.Lost, j.counts.Delivered)
	}
}

// A connection that resumes nothing may hear once more what the one before it heard; one that does may not.
func TestAnEventIsRepeatedOnlyToWhomItWasKnownToHave(t *testing.T) {
	position := "e:2"
	for _, c := range []struct {
		position *string
		repeated uint64
	}{{nil, 0}, {&position, 1}} {
		j, follower := plainJudge(), client{next: 1, position: c.position}
		receive(j, &follower, event("news", 1, 1), 1000)
		receive(j, &follower, event("news", 2, 1), 1000)
		follower.away = true
		receive(j, &follower, event("news", 2, 1), 1000)
		receive(j, &follower, event("news", 3, 1), 1000)
		receive(j, &follower, event("news", 3, 1), 1000)
		if got := j.counts.Repeated; got != c.repeated+1 || j.counts.Lost != 0 || j.counts.Missed != 0 {
			t.Errorf("resuming %t: %d repeated, %d lost, %d missed", c.position != nil, got, j.counts.Lost, j.counts.Missed)
		}
	}
}

func TestOthersAndChangedMessagesAreToldApart(t *testing.T) {
	changed := event("news", 1, 1)
	changed[len(changed)-40] = 'y'
	for name, c := range map[string]struct {
		text             []byte
		foreign, corrupt uint64
	}{
		"another topic":  {event("sport", 1, 1), 1, 0},
		"another run":    {probe.Append(nil, "r2", probe.Event{Topic: "news", Seq: 1}, 128), 1, 0},
		"somebody's":     {[]byte(`{"price":1}`), 1, 0},
		"not JSON":       {[]byte(`{"price":1`), 0, 1},
		"not UTF-8":      {[]byte("{\"price\":\"\xff\"}"), 0, 1},
		"a changed byte": {changed, 0, 1},
	} {
		j, follower := plainJudge(), client{next: 1}
		receive(j, &follower, c.text, 1000)
		if j.counts.Foreign != c.foreign || j.counts.Corrupt != c.corrupt || j.counts.Delivered != 0 {
			t.Errorf("%s: foreign %d, corrupt %d, delivered %d", name, j.counts.Foreign, j.counts.Corrupt, j.counts.Delivered)
		}
		if len(j.counts.Examples) != 1 {
			t.Errorf("%s: no example kept", name)
		}
	}
}

// The second follower's copy is only compared with the first one's: it must not pass for another event.
func TestTheShortCutAcceptsNothingElse(t *testing.T) {
	j := plainJudge()
	a, b := client{next: 1}, client{number: 1, next: 1}
	good := event("news", 1, 1)
	receive(j, &a, good, 1000)
	bad := append([]byte(nil), good...)
	bad[len(bad)-40] = 'y'
	receive(j, &b, bad, 1000)
	receive(j, &b, good, 1000)
	receive(j, &b, good, 1000)
	if j.counts.Corrupt != 1 || j.counts.Delivered != 2 || j.counts.Repeated != 1 {
		t.Errorf("corrupt %d, delivered %d, repeated %d; want 1, 2, 1", j.counts.Corrupt, j.counts.Delivered, j.counts.Repeated)
	}
}

func TestLatencyCountsFromTheIntendedTime(t *testing.T) {
	j, c := plainJudge(), client{next: 1}
	j.from = 1e9
	receive(j, &c, event("news", 1, 1e9-1), 5e9) // before the measured time
	receive(j, &c, event("news", 2, 1e9), 1.25e9)
	if n := j.latency.Count(); n != 1 {
		t.Fatalf("%d latencies, want 1", n)
	}
	if got := j.latency.Max().Milliseconds(); got != 250 {
		t.Errorf("latency %d ms, want 250", got)
	}
}

func TestPositionsAreKeptForResuming(t *testing.T) {
	j := newJudge(testRun, hubV1{}, Topology{Topic: "news"})
	c := client{next: 1}
	text := fmt.Sprintf(`{"type":"event","topic":"news","position":"e:5-0","data":%s}`, event("news", 1, 1))
	receive(j, &c, []byte(text), 1000)
	if j.counts.Delivered != 1 || c.position == nil || *c.position != "e:5-0" {
		t.Errorf("delivered %d, position %v", j.counts.Delivered, c.position)
	}
	wrong := fmt.Sprintf(`{"type":"event","topic":"sport","position":"e:6-0","data":%s}`, event("news", 2, 1))
	receive(j, &c, []byte(wrong), 1000)
	if j.counts.Foreign != 1 {
		t.Error("an event under another topic's name was taken")
	}
}

// The epoch comes with the subscription, an event tells only its offset.
func TestPositionsOfCentrifugoAreKeptForResuming(t *testing.T) {
	for _, p := range bothEncodings {
		j := newJudge(testRun, p, Topology{Topic: "news"})
		at := "4:e1"
		first, second := client{next: 1, position: &at}, client{number: 1, next: 1, position: &at}
		push := encoded(t, p, pushed("news", publication(string(event("news", 1, 1)), 5)))
		receive(j, &first, push, 1000)
		receive(j, &second, push, 1000)
		if j.counts.Delivered != 2 || first.at() != "5:e1" || second.position != first.position {
			t.Errorf("%T: delivered %d, positions %q and %q", p, j.counts.Delivered, first.at(), second.at())
		}
		receive(j, &first, encoded(t, p, pushed("sport", publication(string(event("news", 2, 1)), 6))), 1000)
		if j.counts.Foreign != 1 {
			t.Errorf("%T: an event under another channel's name was taken", p)
		}
	}
}

// Of an event that came with others there is no message that the next client's could be compared with.
func TestAnEmptyMessageIsNoKnownEvent(t *testing.T) {
	j := newJudge(testRun, centrifugoProtobuf{}, Topology{Topic: "news"})
	at := "4:e1"
	first, second := client{next: 1, position: &at}, client{number: 1, next: 1, position: &at}
	j.event(&first, &Message{Kind: Event, Data: event("news", 1, 1), Position: "5"}, nil, 1000)
	if j.known(&second, nil, 1000) || j.counts.Delivered != 1 {
		t.Error("a ping was taken for the event")
	}
}

func TestAnEventThatCameWithOthersTakesNoMessagesPlace(t *testing.T) {
	j := newJudge(testRun, centrifugo{}, Topology{Topic: "news"})
	at := "4:e1"
	var clients [3]client
	for i := range clients {
		clients[i] = client{number: int32(i), next: 1, position: &at}
	}
	push := encoded(t, centrifugo{}, pushed("news", publication(string(event("news", 1, 1)), 5)))
	receive(j, &clients[0], push, 1000)
	j.event(&clients[1], &Message{Kind: Event, Data: event("news", 1, 1), Position: "5"}, nil, 1000)
	if !j.known(&clients[2], push, 1000) || j.counts.Delivered != 3 || clients[1].position != clients[0].position {
		t.Errorf("%d delivered", j.counts.Delivered)
	}
}

func TestADeliveryCostsNoAllocation(t *testing.T) {
	for _, p := range []Protocol{plain{}, centrifugo{}, centrifugoProtobuf{}} {
		j := newJudge(testRun, p, Topology{Topic: "news"})
		first, c := client{next: 1}, client{number: 1, next: 1}
		var events [][]byte
		for seq := uint64(1); seq <= 2000; seq++ {
			text := event("news", seq, 1)
			if (p != plain{}) {
				text = encoded(t, p, pushed("news", publication(string(text), seq)))
			}
			events = append(events, text)
			receive(j, &first, events[seq-1], 1000)
		}
		i := 0
		if n := testing.AllocsPerRun(1000, func() { receive(j, &c, events[i], 1000); i++ }); n != 0 {
			t.Errorf("%T: %v allocations per delivery", p, n)
		}
		if j.counts.Delivered != 2000+1001 {
			t.Errorf("%T: %d delivered", p, j.counts.Delivered)
		}
	}
}

func BenchmarkDelivery(b *testing.B) {
	j := plainJudge()
	text := event("news", 1, 1)
	receive(j, &client{next: 1}, text, 1000)
	for b.Loop() {
		c := client{next: 1}
		receive(j, &c, text, 1000)
	}
}
