package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"wshub/pubsub"
	"wshub/pubsub/redistest"
	"wshub/session/token"
)

// asked runs a resumeKey whose n-th question is answered by answers[n], the last one for ever, until it has
// asked that often, and tells what came of it.
func asked(t *testing.T, given *token.Sealer, answers ...error) (used *token.Sealer, took time.Duration, ready error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		n := 0
		k := &resumeKey{given: given, use: func(s *token.Sealer) { used = s }, tickets: func([][]byte) {}, log: zerolog.Nop(), ask: func(context.Context) ([]byte, error) {
			err := answers[min(n, len(answers)-1)]
			if n++; n == len(answers) {
				end()
			}
			return make([]byte, pubsub.ResumeKeySize), err
		}}
		if given != nil {
			end()
		}
		start := time.Now()
		if err := k.Run(ctx); err != nil {
			t.Error(err)
		}
		ready, took = k.ready(), time.Since(start)
	})
	return used, took, ready
}

func TestTheResumeKeyIsAskedForUntilItComes(t *testing.T) {
	away := fmt.Errorf("%w: away", pubsub.ErrUnavailable)
	answers := make([]error, 20)
	for i := range 19 {
		answers[i] = away
	}
	used, took, ready := asked(t, nil, answers...)
	if used == nil || ready != nil || took < 10*time.Second || took > 100*time.Second {
		t.Errorf("used %v after %s; ready: %v", used, took, ready)
	}
	if used, _, ready := asked(t, nil, away, away, away); used != nil || ready == nil {
		t.Errorf("without an answer: used %v; ready: %v", used, ready)
	}
	// Without the right to write there will be no key, but the hub is of use.
	if used, _, ready := asked(t, nil, pubsub.ErrRefused); used != nil || ready != nil {
		t.Errorf("refused: used %v; ready: %v", used, ready)
	}
}

func TestTheGivenResumeKeyNeedsNoBroker(t *testing.T) {
	given, err := parsed(t, nil, "--resume-key="+resumeKey1).cfg.sealer()
	if err != nil {
		t.Fatal(err)
	}
	if used, _, ready := asked(t, given, errors.New("not to be asked")); used != given || ready != nil {
		t.Errorf("used %v; ready: %v", used, ready)
	}
}

func TestResumeKeysAreRotated(t *testing.T) {
	const second = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
	sealer := func(keys string) *token.Sealer {
		s, err := parsed(t, nil, "--resume-key="+keys).cfg.sealer()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	before, during, after := sealer(resumeKey1), sealer(second+"\n"+resumeKey1), sealer(second)
	for _, c := range []struct {
		what     string
		from, to *token.Sealer
		ok       bool
	}{
		{"the old one still opens", before, during, true},
		{"the first one seals", during, after, true},
		{"not the second one", during, before, false},
		{"what is gone is gone", before, after, false},
	} {
		if _, err := c.to.Open(c.from.Seal(token.Resume{Session: 1})); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestClientsGetResumeTokensOnceRedisIsThere(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	redis.Kill()
	h := startInside(t, "--redis-url="+redis.URL())
	if welcome := dial(t, "early", h.public, "hub.v1.json").want(`{"type":"welcome"`); strings.Contains(welcome, `"token"`) {
		t.Errorf("without Redis: %s", welcome)
	}
	redis.Restart()
	eventually(t, func() error {
		if status, reason, _ := ask(t, "GET", h.control+"/readyz", ""); status != 200 {
			return fmt.Errorf("readyz is %d %q", status, reason)
		}
		return nil
	})
	if welcome := dial(t, "ready", h.public, "hub.v1.json").want(`{"type":"welcome"`); !strings.Contains(welcome, `"token":"r1.`) {
		t.Errorf("a hub that is ready says %s", welcome)
	}
}

func TestHistoryIsKeptOfTheTopicsThatAreNamed(t *testing.T) {
	redis := redistest.Start(t)
	for _, broker := range []string{"", redis.URL()} {
		t.Run(broker, func(t *testing.T) {
			h := startInside(t, "--redis-url="+broker, "--history=news:off:*=0;news:*=10,1m")
			for topic, kept := range map[string]bool{"news:a": true, "news:off:a": false, "sport": false} {
				eventually(t, func() error {
					status, answer, _ := ask(t, "POST", h.control+"/api/publish", fmt.Sprintf(`{"topic":%q,"data":1}`, topic), asJSON...)
					if status != 200 || strings.Contains(answer, "position") != kept {
						return fmt.Errorf("%s is answered %d %s", topic, status, answer)
					}
					return nil
				})
				c := dial(t, topic, h.public+"?topic="+topic+"&positions=1&since=0", "")
				if said := c.want(`{"type":"subscribed"`); strings.Contains(said, `"recovered":true`) != kept {
					t.Errorf("%s: %s", topic, said)
				}
			}
		})
	}
}
