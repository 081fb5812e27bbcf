package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Events of a batch that a server accepted are not sent again, and large batches go in several requests.
func TestThePosterSendsAgainOnlyWhatWasNotAccepted(t *testing.T) {
	var requests [][]string // the keys of each
	failing := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var events []struct{ Key string }
		if err := json.NewDecoder(r.Body).Decode(&events); err != nil {
			t.Error(err)
		}
		var keys, answers []string
		status := 200
		for _, ev := range events {
			keys = append(keys, ev.Key)
			if ev.Key == failing {
				status = 503
				answers = append(answers, `{"error":{"code":"unavailable","retry":true}}`)
			} else {
				answers = append(answers, `{"position":"e:1"}`)
			}
		}
		requests = append(requests, keys)
		w.WriteHeader(status)
		fmt.Fprintf(w, "[%s]", strings.Join(answers, ","))
	}))
	defer s.Close()
	p := newPoster(&Publishing{Control: s.URL})
	defer p.Close()
	var batch []outgoing
	for i := range postEvents + 3 {
		batch = append(batch, outgoing{name: "news", data: []byte("1"), key: fmt.Sprint("k", i)})
	}

	failing = fmt.Sprint("k", postEvents+1)
	err := p.publish(t.Context(), batch)
	if !away(err) || !errors.As(err, new(answerError)) {
		t.Errorf("one of many failed: %v", err)
	}
	failing = ""
	if err := p.publish(t.Context(), batch); err != nil {
		t.Error(err)
	}
	if len(requests) != 3 || len(requests[0]) != postEvents || len(requests[1]) != 3 {
		t.Fatalf("%d requests, the first with %d events", len(requests), len(requests[0]))
	}
	if again := requests[2]; len(again) != 1 || again[0] != fmt.Sprint("k", postEvents+1) {
		t.Errorf("sent again: %v", again)
	}
}

func TestThePosterWantsAnAnswerForEachEvent(t *testing.T) {
	for _, answer := range []string{`[{}]`, `{}`, `nonsense`, ``} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) }))
		p := newPoster(&Publishing{Control: s.URL})
		if err := p.publish(t.Context(), make([]outgoing, 2)); err == nil || away(err) {
			t.Errorf("%q is taken for two answers: %v", answer, err)
		}
		_ = p.Close()
		s.Close()
	}
}
