package pubsub

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// patience bounds every wait for something that must happen.
const patience = 30 * time.Second

// told is one call of a Sink: an event, a change of presence, or a gap if both are nil.
type told struct {
	*Event
	moved *Moved
	topic string
	loops Loops
	at    Position
	loss  Loss // of a gap
}

func (d told) String() string {
	if d.moved != nil {
		return fmt.Sprintf("%+v in %s %b", *d.moved, d.topic, d.loops)
	}
	if d.Event == nil {
		return fmt.Sprintf("gap %s@%s %b", d.topic, d.at, d.loops)
	}
	return fmt.Sprintf("%s@%s %s %b", d.topic, d.Position, d.Data, d.loops)
}

// recorder is a Sink that keeps what it gets, in order.
type recorder chan told

func newRecorder() recorder { return make(recorder, 1<<18) }

func (r recorder) Deliver(ev *Event, loops Loops) {
	r <- told{Event: ev, topic: ev.Topic, loops: loops, at: ev.Position}
}

func (r recorder) Gap(topic string, loops Loops, loss Loss) {
	r <- told{topic: topic, loops: loops, at: loss.At, loss: loss}
}

func (r recorder) Moved(m *Moved, loops Loops) { r <- told{moved: m, topic: m.Topic, loops: loops} }
func (recorder) HandOver()                     {}

// next waits for the next step.
func (r recorder) next(t testing.TB) told {
	t.Helper()
	select {
	case d := <-r:
		return d
	case <-time.After(patience):
		t.Fatal("nothing was delivered")
		panic("unreachable")
	}
}

// event waits for the next step, which must be an event of topic, and returns its data.
func (r recorder) event(t testing.TB, topic string) string {
	t.Helper()
	d := r.next(t)
	if d.Event == nil || d.topic != topic {
		t.Fatalf("got %s, want an event of %s", d, topic)
	}
	return string(d.Data)
}

// gap waits for the next step, which must be a gap in topic.
func (r recorder) gap(t testing.TB, topic string) told {
	t.Helper()
	d := r.next(t)
	if d.Event != nil || d.topic != topic {
		t.Fatalf("got %s, want a gap in %s", d, topic)
	}
	return d
}

// start runs b until the test ends and returns its sink.
func start(t testing.TB, b Broker) recorder {
	t.Helper()
	sink := newRecorder()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx, sink) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	})
	return sink
}

// mustFollow waits until loop follows topic.
func mustFollow(t testing.TB, b Broker, topic string, loop int) {
	t.Helper()
	if err := tryFollow(b, topic, loop); err != nil {
		t.Fatalf("follow %s: %v", topic, err)
	}
}

func tryFollow(b Broker, topic string, loop int) error {
	done := make(chan error, 1)
	b.Follow(topic, loop, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		return errors.New("never answered")
	}
}

// mustPublish publishes data to topic, which must succeed, and returns its position.
func mustPublish(t testing.TB, b Broker, topic, data string) Position {
	t.Helper()
	r := b.Publish(context.Background(), []Publication{{Topic: topic, Data: []byte(data)}})[0]
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	return r.Position
}

// eventually polls until ok. It is for conditions that nothing announces.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("never happened: %s", what)
		}
	}
}
