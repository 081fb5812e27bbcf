package pubsub

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// contractHistory is what brokers of the suite keep. Redis keeps up to 100 more.
var contractHistory = History{
	{Prefix: "h:brief", Count: 100, Age: 300 * time.Millisecond},
	{Prefix: "h:many:", Count: 100, Age: time.Minute},
	{Prefix: "h:", Count: 10, Age: time.Minute},
}

// historyContract is what testContract asks of topics with history.
var historyContract = []claim{
	{"an event's position is the one that its publisher was told, and linked to the one before", linked},
	{"a replay brings what came after a position", replays},
	{"a topic that nobody published to has a place before its first event", emptyTopic},
	{"a replay comes in pages, and says how much there is", paged},
	{"a page has as many bytes as its limit lets in, and an event at least", pagedInBytes},
	{"a page of what was trimmed is not recovered, and leads on to what is left", pagedOverALoss},
	{"a position behind all others is answered", farAhead},
	{"a log is read from its end", backwards},
	{"what was trimmed is not recovered", trimmed},
	{"a topic's last position outlives its events", aged},
	{"another log's position is not recovered", foreign},
	{"a key is published once per topic and caller", idempotent},
	{"follow, then replay, misses nothing", followThenReplay},
	{"events of many publishers are one chain", manyPublishers},
	{"attributes are kept as they were published", attributesAreKept},
	{"a history that was removed is gone, and its position goes on", removedHistory},
	{"an event that is not kept arrives and leaves no trace", unkept},
}

func replay(t testing.TB, b Broker, topic string, since Position, limit int) Replay {
	t.Helper()
	r, err := b.Replay(context.Background(), topic, since, Limit{Events: limit})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// texts are the data of r's events.
func texts(r Replay) (list []string) {
	for _, ev := range r.Events {
		list = append(list, string(ev.Data))
	}
	return list
}

// wantReplay checks a replay against the numbers of the events that it should hold.
func wantReplay(t testing.TB, name string, r Replay, head Position, recovered bool, first, last int) {
	t.Helper()
	var want []string
	for i := first; i <= last; i++ {
		want = append(want, fmt.Sprint(i))
	}
	if fmt.Sprint(texts(r)) != fmt.Sprint(want) || r.Recovered != recovered || r.Head != head {
		t.Errorf("%s: events %v, recovered %t, head %s; want %v, %t, %s", name, texts(r), r.Recovered, r.Head, want, recovered, head)
	}
	if recovered && r.Missed < len(want) || !recovered && r.Missed != 0 {
		t.Errorf("%s: %d missed", name, r.Missed)
	}
}

// wantPage is wantReplay for a recovered page of missed events.
func wantPage(t testing.TB, name string, r Replay, head Position, first, last, missed int) {
	t.Helper()
	wantReplay(t, name, r, head, true, first, last)
	if r.Missed != missed {
		t.Errorf("%s: %d missed, want %d", name, r.Missed, missed)
	}
}

// number publishes first to last and returns their positions, at their own index.
func number(t testing.TB, b Broker, topic string, first, last int) map[int]Position {
	t.Helper()
	positions := map[int]Position{}
	for i := first; i <= last; i++ {
		positions[i] = mustPublish(t, b, topic, fmt.Sprint(i))
	}
	return positions
}

func linked(t *testing.T, b Broker, sink recorder) {
	mustFollow(t, b, "h:linked", 0)
	var before ID
	for i, at := range number(t, b, "h:linked", 1, 1) {
		before = ID{}
		if at.Epoch == 0 || at.ID.Seq == 0 {
			t.Errorf("event %d is at %s", i, at)
		}
	}
	positions := number(t, b, "h:linked", 2, 9)
	for i := 1; i <= 9; i++ {
		d := sink.next(t)
		if string(d.Data) != fmt.Sprint(i) || d.Before != before {
			t.Fatalf("event %d: got %s after %s, want it after %s", i, d, d.Before, before)
		}
		if i > 1 && (d.at != positions[i] || d.at.ID.Compare(before) <= 0) {
			t.Errorf("event %d came with %s, was published at %s", i, d.at, positions[i])
		}
		before = d.at.ID
	}
}

func replays(t *testing.T, b Broker, sink recorder) {
	at := number(t, b, "h:replays", 1, 5)
	for _, followed := range []bool{false, true} {
		if followed {
			mustFollow(t, b, "h:replays", 0)
		}
		wantReplay(t, "from the start", replay(t, b, "h:replays", Start, 100), at[5], true, 1, 5)
		wantReplay(t, "from an event", replay(t, b, "h:replays", at[2], 100), at[5], true, 3, 5)
		wantReplay(t, "from the last", replay(t, b, "h:replays", at[5], 100), at[5], true, 1, 0)
		wantReplay(t, "only the head", replay(t, b, "h:replays", Start, 0), at[5], false, 1, 0)
		wantPage(t, "from the last, only the head", replay(t, b, "h:replays", at[5], 0), at[5], 1, 0, 0)
	}
	more := number(t, b, "h:replays", 6, 7)
	sink.event(t, "h:replays")
	sink.event(t, "h:replays")
	wantReplay(t, "while followed", replay(t, b, "h:replays", at[4], 100), more[7], true, 5, 7)
}

func emptyTopic(t *testing.T, b Broker, sink recorder) {
	for _, topic := range []string{"h:empty:followed", "h:empty:not"} {
		if topic == "h:empty:followed" {
			mustFollow(t, b, topic, 0)
		}
		place := replay(t, b, topic, Start, 0).Head
		if place.IsZero() || place.Epoch == 0 || place.ID.Seq != 0 {
			t.Errorf("an empty topic is at %s", place)
		}
		if r := replay(t, b, topic, place, 10); !r.Recovered || len(r.Events) > 0 {
			t.Errorf("still empty: %+v", r)
		}
		if r := replay(t, b, topic, Start, 10); !r.Recovered || len(r.Events) > 0 {
			t.Errorf("still empty, from the start: %+v", r)
		}
		at := number(t, b, topic, 1, 2)
		if topic == "h:empty:followed" {
			sink.event(t, topic)
			sink.event(t, topic)
		}
		wantReplay(t, "from the place", replay(t, b, topic, place, 10), at[2], true, 1, 2)
	}
}

func paged(t *testing.T, b Broker, sink recorder) {
	at := number(t, b, "h:paged", 1, 6)
	for _, followed := range []bool{false, true, true} {
		wantPage(t, "the first three", replay(t, b, "h:paged", at[1], 3), at[6], 2, 4, 5)
		wantPage(t, "the rest", replay(t, b, "h:paged", at[4], 3), at[6], 5, 6, 2)
		wantPage(t, "exactly the limit", replay(t, b, "h:paged", at[3], 3), at[6], 4, 6, 3)
		wantPage(t, "one, from the start", replay(t, b, "h:paged", Start, 1), at[6], 1, 1, 6)
		wantPage(t, "how many only", replay(t, b, "h:paged", at[2], 0), at[6], 1, 0, 4)
		if followed {
			mustFollow(t, b, "h:paged", 0)
		}
	}
	more := number(t, b, "h:paged", 7, 8)
	sink.event(t, "h:paged")
	sink.event(t, "h:paged")
	wantPage(t, "a page, while followed", replay(t, b, "h:paged", at[2], 2), more[8], 3, 4, 6)
	wantPage(t, "a page of what was heard", replay(t, b, "h:paged", at[6], 1), more[8], 7, 7, 2)
	wantPage(t, "how many, while followed", replay(t, b, "h:paged", at[6], 0), more[8], 1, 0, 2)
	wantReplay(t, "only the head", replay(t, b, "h:paged", Start, 0), more[8], false, 1, 0)
}

// pagedInBytes reads logs of short and long events in pages of all sizes.
func pagedInBytes(t *testing.T, b Broker, _ recorder) {
	rapid.Check(t, func(rt *rapid.T) {
		topic := fmt.Sprintf("h:many:%x", rand.Uint64())
		sizes := rapid.SliceOfN(rapid.SampledFrom([]int{1, 2, 100, 1000, 20_000}), 1, 60).Draw(rt, "sizes")
		batch := make([]Publication, len(sizes))
		var want []*Event
		for i, size := range sizes {
			batch[i] = Publication{Topic: topic, Data: []byte(strings.Repeat("1", size))}
			want = append(want, &Event{Data: batch[i].Data})
		}
		results := b.Publish(context.Background(), batch)
		for _, result := range results {
			if result.Err != nil {
				rt.Fatal(result.Err)
			}
		}
		limit := Limit{Events: rapid.IntRange(1, 70).Draw(rt, "events"), Bytes: rapid.SampledFrom([]int{0, 1, 150, 3000, 64 << 10, 1 << 20}).Draw(rt, "bytes")}
		since := Start
		for len(want) > 0 {
			r, err := b.Replay(context.Background(), topic, since, limit)
			if err != nil {
				rt.Fatal(err)
			}
			page := limit.page(want)
			if len(r.Events) != len(page) || !r.Recovered || r.Missed != len(want) || r.Head != results[len(results)-1].Position {
				rt.Fatalf("a page of %d events of %d, recovered %t, head %s; want %d of %d", len(r.Events), r.Missed, r.Recovered, r.Head, len(page), len(want))
			}
			for i, ev := range r.Events {
				if !bytes.Equal(ev.Data, page[i].Data) {
					rt.Fatalf("event %d has %d bytes, want %d", i, len(ev.Data), len(page[i].Data))
				}
			}
			want, since = want[len(page):], r.Events[len(page)-1].Position
		}
	})
}

func pagedOverALoss(t *testing.T, b Broker, _ recorder) {
	const events = 250
	at := number(t, b, "h:lossy", 1, events)
	r := replay(t, b, "h:lossy", at[1], 5)
	if len(r.Events) != 5 || r.Recovered || r.Missed != 0 {
		t.Fatalf("got %v, recovered %t", texts(r), r.Recovered)
	}
	first, _ := strconv.Atoi(texts(r)[0])
	wantPage(t, "the next page", replay(t, b, "h:lossy", r.Events[4].Position, 5), at[events], first+5, first+9, events-first-4)
	wantReplay(t, "how many only", replay(t, b, "h:lossy", at[1], 0), at[events], false, 1, 0)
}

func farAhead(t *testing.T, b Broker, _ recorder) {
	at := number(t, b, "h:far", 1, 2)
	ahead := Position{at[2].Epoch, ID{math.MaxUint64, math.MaxUint64}}
	for _, followed := range []bool{false, true} {
		if followed {
			mustFollow(t, b, "h:far", 0)
		}
		wantReplay(t, "behind everything", replay(t, b, "h:far", ahead, 10), at[2], false, 1, 0)
	}
}

func trimmed(t *testing.T, b Broker, _ recorder) {
	const events = 250
	at := number(t, b, "h:trimmed", 1, events)
	r := replay(t, b, "h:trimmed", at[1], 1000)
	if n := len(r.Events); r.Recovered || n < 10 || n > 110 || r.Head != at[events] {
		t.Fatalf("%d events, recovered %t, head %s", n, r.Recovered, r.Head)
	}
	first := events - len(r.Events) + 1
	wantReplay(t, "what is left", r, at[events], false, first, events)
	wantReplay(t, "from the last one trimmed", replay(t, b, "h:trimmed", at[first-1], 1000), at[events], true, first, events)
	if r := replay(t, b, "h:trimmed", at[first-2], 1000); r.Recovered {
		t.Error("recovered from before the last one trimmed")
	}
	if r := replay(t, b, "h:trimmed", Start, 1000); r.Recovered {
		t.Error("recovered from the start")
	}
}

func aged(t *testing.T, b Broker, _ recorder) {
	at := number(t, b, "h:brief", 1, 3)
	eventually(t, "the events are gone", func() bool { return len(replay(t, b, "h:brief", at[1], 10).Events) == 0 })
	wantReplay(t, "from the last", replay(t, b, "h:brief", at[3], 10), at[3], true, 1, 0)
	wantReplay(t, "from before the last", replay(t, b, "h:brief", at[2], 10), at[3], false, 1, 0)
	next := mustPublish(t, b, "h:brief", "4")
	wantReplay(t, "one more, from the last", replay(t, b, "h:brief", at[3], 10), next, true, 4, 4)
}

func foreign(t *testing.T, b Broker, _ recorder) {
	at := number(t, b, "h:foreign", 1, 3)
	for _, followed := range []bool{false, true} {
		if followed {
			mustFollow(t, b, "h:foreign", 0)
		}
		other := at[1]
		other.Epoch++
		wantReplay(t, "another epoch", replay(t, b, "h:foreign", other, 10), at[3], false, 1, 0)
		ahead := at[3]
		ahead.ID.Ms += 1000
		wantReplay(t, "a rewound log", replay(t, b, "h:foreign", ahead, 10), at[3], false, 1, 0)
		unknown := at[1]
		unknown.ID.Ms -= 1000
		if r := replay(t, b, "h:foreign", unknown, 10); r.Recovered {
			t.Errorf("recovered from an event that never was: %+v", r)
		}
	}
}

func idempotent(t *testing.T, b Broker, sink recorder) {
	once := func(topic, caller, key string) Result {
		t.Helper()
		r := b.Publish(context.Background(), []Publication{{Topic: topic, Data: []byte(`1`), Caller: caller, Key: key}})[0]
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		return r
	}
	for _, topic := range []string{"h:once", "c:once"} {
		mustFollow(t, b, topic, 0)
		first := once(topic, "a", "k")
		if again := once(topic, "a", "k"); again != first {
			t.Errorf("%s: published at %s, and again at %s", topic, first.Position, again.Position)
		}
		for _, other := range [][2]string{{"a", "l"}, {"b", "k"}, {"", "k"}} {
			if r := once(topic, other[0], other[1]); !first.Position.IsZero() && r == first {
				t.Errorf("%s: %q is taken for a repetition", topic, other)
			}
		}
		mustPublish(t, b, topic, `"last"`)
		for range 4 {
			sink.event(t, topic)
		}
		if got := sink.event(t, topic); got != `"last"` {
			t.Errorf("%s: a repetition was delivered", topic)
		}
	}
	once("h:once:b", "", "k")
	if once("h:once:c", "", "k"); len(replay(t, b, "h:once:c", Start, 10).Events) != 1 {
		t.Error("two topics share a key")
	}
}

// followThenReplay follows in the midst of a stream of events, as a subscriber does: what is replayed
// and what is delivered behind its head is the stream, without a hole.
func followThenReplay(t *testing.T, b Broker, sink recorder) {
	const topic, events = "h:splice", 400
	half := make(chan struct{})
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for i := 1; i <= events; i++ {
			b.Publish(context.Background(), []Publication{{Topic: topic, Data: []byte(fmt.Sprint(i))}})
			if i == events/2 {
				close(half)
			}
		}
	})
	<-half
	mustFollow(t, b, topic, 0)
	r := replay(t, b, topic, Start, 1000)
	var got []*Event
	got = append(got, r.Events...)
	publishing.Wait()
	for string(got[len(got)-1].Data) != fmt.Sprint(events) {
		d := sink.next(t)
		if d.Event == nil {
			t.Fatalf("got %s", d)
		}
		if d.at.ID.Compare(r.Head.ID) > 0 {
			got = append(got, d.Event)
		}
	}
	for i, ev := range got[1:] {
		if ev.Before != got[i].Position.ID {
			t.Fatalf("%s follows %s, but came after %s", ev.Data, ev.Before, got[i].Position)
		}
	}
}

func manyPublishers(t *testing.T, b Broker, sink recorder) {
	const topic, publishers, each = "h:many", 4, 50
	mustFollow(t, b, topic, 0)
	var publishing sync.WaitGroup
	for range publishers {
		publishing.Go(func() {
			for range each / 10 {
				batch := make([]Publication, 10)
				for i := range batch {
					batch[i] = Publication{Topic: topic, Data: []byte(`1`)}
				}
				b.Publish(context.Background(), batch)
			}
		})
	}
	publishing.Wait()
	var before ID
	for range publishers * each {
		d := sink.next(t)
		if d.Event == nil || d.Before != before {
			t.Fatalf("got %s after %s, want it after %s", d, d.Before, before)
		}
		before = d.at.ID
	}
}

func removedHistory(t *testing.T, b Broker, sink recorder) {
	remove := func(topic string) {
		t.Helper()
		if err := b.RemoveHistory(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
	}
	for _, topic := range []string{"h:removed:not", "h:removed:followed"} {
		followed := topic == "h:removed:followed"
		if followed {
			mustFollow(t, b, topic, 0)
		}
		at := number(t, b, topic, 1, 5)
		if followed {
			for range at {
				sink.event(t, topic)
			}
		}
		replay(t, b, topic, Start, 100) // what it read may have been kept
		for range 2 {
			remove(topic)
			wantReplay(t, "from the start", replay(t, b, topic, Start, 100), at[5], false, 1, 0)
			wantReplay(t, "from an event", replay(t, b, topic, at[2], 100), at[5], false, 1, 0)
			wantReplay(t, "from the last", replay(t, b, topic, at[5], 100), at[5], true, 1, 0)
		}
		more := number(t, b, topic, 6, 7)
		if more[6].ID.Compare(at[5].ID) <= 0 || more[6].Epoch != at[5].Epoch {
			t.Errorf("%s: the position went from %s to %s", topic, at[5], more[6])
		}
		if followed {
			if d := sink.next(t); d.Event == nil || string(d.Data) != "6" || d.Before != at[5].ID || d.Number != 6 {
				t.Errorf("the followers get %s", d)
			}
			sink.event(t, topic)
		}
		wantReplay(t, "from the last one removed", replay(t, b, topic, at[5], 100), more[7], true, 6, 7)
		if r := replay(t, b, topic, at[4], 100); r.Recovered || fmt.Sprint(texts(r)) != "[6 7]" {
			t.Errorf("from before the last one removed: %v, recovered %t", texts(r), r.Recovered)
		}
	}
	remove("h:removed:never")
	remove("c:removed") // keeps none
	if r := replay(t, b, "h:removed:never", Start, 10); !r.Recovered || len(r.Events) > 0 {
		t.Errorf("a topic that nobody published to: %+v", r)
	}
}

func unkept(t *testing.T, b Broker, sink recorder) {
	mustFollow(t, b, "h:unkept", 0)
	at := number(t, b, "h:unkept", 1, 2)
	for _, key := range []string{"", "k", "k"} {
		r := b.Publish(t.Context(), []Publication{{Topic: "h:unkept", Data: []byte(`"passes"`), Key: key, Unkept: true}})[0]
		if r.Err != nil || !r.Position.IsZero() {
			t.Fatalf("%+v", r)
		}
	}
	next := mustPublish(t, b, "h:unkept", "3")
	for _, want := range []string{"1", "2", `"passes"`, `"passes"`, "3"} {
		if got := sink.event(t, "h:unkept"); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	wantReplay(t, "what is kept", replay(t, b, "h:unkept", at[1], 10), next, true, 2, 3)
}
