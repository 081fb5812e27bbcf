package bench

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wshub/bench/fleet"
	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

func TestHintsFitTheCause(t *testing.T) {
	for cause, want := range map[string]string{
		"refused: 401 Unauthorized": "--jwt-secret", "refused: 404 Not Found": "3001 is the control port", "4001": "hub token verify",
		"refused: 503 Service Unavailable": "limits", `bad handshake answer: not HTTP/1.1: "-ERR wrong"`: "Redis",
		"too many open files": "ulimit", "1006": "",
	} {
		got := hintsFor(fleet.Counts{Failures: map[string]uint64{cause: 3}, Closes: map[string]uint64{cause: 1}})
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.Contains(got[0], want)) {
			t.Errorf("%s: %q, want one with %q", cause, got, want)
		}
	}
}

func TestAPublicPortIsNoControlPort(t *testing.T) {
	for status, want := range map[int]string{401: "--api-key", 404: "3001", 405: "3001", 500: ""} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		p := newPoster(&Publishing{Control: s.URL})
		err := p.publish(t.Context(), []outgoing{{name: "news", data: []byte("1")}})
		s.Close()
		var answer answerError
		if !errors.As(err, &answer) || strings.Contains(err.Error(), "hint:") != (want != "") || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v, want a hint with %q", status, err, want)
		}
		_ = p.Close()
	}
}

// The server hears nothing of this Redis, though somebody else may.
func TestAnotherRedisIsSaid(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	server := redistest.Start(t)
	s := newFaulty(t, faults{})
	args := append([]string{"run", "fanout", "--clients=2", "--rate=20", "--duration=500ms"}, s.flags()...)
	args = append(args, "--publish=redis", "--redis="+server.URL())
	o := hubbench(t, t.Context(), args...)
	if o.status != exitFailed || !strings.Contains(o.stderr, "nobody subscribes at this Redis") || !strings.Contains(o.stderr, "--redis-prefix") {
		t.Errorf("nobody: status %d", o.status)
	}
	opts, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opts)
	defer func() { _ = client.Close() }()
	sub := client.Subscribe(t.Context(), "shop:channel")
	defer func() { _ = sub.Close() }()
	if _, err := sub.ReceiveTimeout(t.Context(), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	o = hubbench(t, t.Context(), append(args, "--redis-prefix=shop")...)
	if run := o.run(t); o.status != exitFound || !slices.ContainsFunc(run.Notes, func(n string) bool { return strings.Contains(n, "it is not the hub at --url") }) {
		t.Errorf("another hub: status %d, notes %q", o.status, run.Notes)
	}
}

func TestFiguresWithLittleUnderThemAreDoubted(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	for line, want := range map[string]string{
		"idle --steps=5 --rest=0s --watch=0s":                                              "one step has no slope",
		"idle --steps=5,10,15 --rest=0s --watch=50ms":                                      "span only 10 connections",
		"idle --steps=5,10 --rest=0s --watch=50ms":                                         "no heartbeat came within 50ms",
		"soak --clients=2 --rate=50 --duration=600ms --interval=100ms":                     "a warm-up looks the same",
		"max --clients=2 --from=4 --to=4 --trial=500ms --p99=9s --tries=5":                 "--to=4 ended the search",
		"churn --clients=4 --churn=5 --rate=20 --duration=500ms":                           "may be the warm-up",
		"max --clients=2 --from=4 --to=4 --trial=500ms --p99=9s --tries=5 --interval=50ms": "a stall longer than that is not seen",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			words := strings.Fields(line)
			args := append([]string{"run"}, words...)
			o := hubbench(t, t.Context(), append(args, newFaulty(t, faults{}).flagsOf(words[0])...)...)
			if notes := o.run(t).Notes; o.status != exitOK || !strings.Contains(strings.Join(notes, "\n"), want) {
				t.Errorf("status %d, notes %q; want one with %q", o.status, notes, want)
			}
		})
	}
	s := &search{good: 100, bad: 105}
	trials := []Trial{{Rate: 100, Kept: true}, {Rate: 105, Limit: "the client was the limit"}}
	if got := s.bounds(&maxScenario{Trial: time.Second}, trials); len(got) != 1 || !strings.Contains(got[0], "the client was the limit: the server may do more") {
		t.Errorf("%q", got)
	}
	if got := (&search{bad: 0.2}).bounds(&maxScenario{Trial: time.Second}, nil); len(got) != 1 || !strings.Contains(got[0], "not even") {
		t.Errorf("%q", got)
	}
}
