package pubsub

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryForgetsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryConfig{History: History{{Prefix: "h:", Count: 10, Age: time.Minute}}, RecordLife: time.Hour})
		start(t, m)
		synctest.Wait()
		at := mustPublish(t, m, "h:a", "1")
		first := m.Publish(t.Context(), []Publication{{Topic: "h:a", Data: []byte("2"), Key: "k"}})[0]

		time.Sleep(time.Minute)
		synctest.Wait()
		if r := replay(t, m, "h:a", at, 10); len(r.Events) > 0 || r.Recovered || r.Head != first.Position {
			t.Errorf("after an event's age: %+v", r)
		}
		if again := m.Publish(t.Context(), []Publication{{Topic: "h:a", Data: []byte("2"), Key: "k"}})[0]; again != first {
			t.Errorf("a key was forgotten after a minute")
		}
		time.Sleep(IdempotencyTime)
		synctest.Wait()
		if m.once.results.len() > 0 {
			t.Error("a key is kept longer than its time")
		}
		if r := replay(t, m, "h:a", first.Position, 10); !r.Recovered {
			t.Errorf("within the record's life: %+v", r)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if r := replay(t, m, "h:a", first.Position, 10); r.Recovered || r.Head.ID.Seq != 0 {
			t.Errorf("after the record's life: %+v", r)
		}
		if m.logs.len() > 0 {
			t.Error("a log is kept longer than its record")
		}
	})
}

func TestMemoryNeedsToRun(t *testing.T) {
	m := NewMemory(MemoryConfig{})
	if err := m.Ready(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Ready says %v", err)
	}
	r := m.Publish(t.Context(), []Publication{{Topic: "news", Data: []byte("1")}})[0]
	if !errors.Is(r.Err, ErrUnavailable) || m.Stats().PublishErrors["unavailable"] != 1 {
		t.Errorf("Publish says %v", r.Err)
	}
}
