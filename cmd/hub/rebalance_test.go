package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"wshub/pubsub"
	"wshub/pubsub/redistest"
)

const rebalanceAll = `{"percent":100,"over":"1h"}`

// rebalance asks for one, and returns the status and the error's code.
func rebalance(t *testing.T, at, body string) (status int, code string) {
	t.Helper()
	status, answer, _ := ask(t, "POST", at+"/api/rebalance", body, asJSON...)
	_, rest, _ := strings.Cut(answer, `"code":"`)
	code, _, _ = strings.Cut(rest, `"`)
	return status, code
}

func TestNonsenseIsNoRebalance(t *testing.T) {
	at := (&backend{}).start(t)
	for _, body := range []string{
		``, `[]`, `{}`, `{"percent":20}`, `{"over":"60s"}`, `{"percent":0,"over":"60s"}`, `{"percent":101,"over":"60s"}`, `{"percent":-5,"over":"60s"}`,
		`{"percent":2.5,"over":"60s"}`, `{"percent":"20","over":"60s"}`, `{"percent":20,"over":60}`, `{"percent":20,"over":"60"}`,
		`{"percent":20,"over":"-1s"}`, `{"percent":20,"over":"24h1s"}`, `{"percent":20,"over":"soon"}`, `{"percent":20,"over":"60s","to":"b"}`,
		`{"percent":1e400,"over":"60s"}`, `{"percent":20,"over":"9999999999h"}`, `{"percent":20,"over":"60s"} x`,
	} {
		if status, code := rebalance(t, at, body); status != 400 {
			t.Errorf("%s is answered %d %s", body, status, code)
		}
	}
	for _, body := range []string{`{"percent":1,"over":"0s"}`, `{"percent":100,"over":"24h"}`} {
		if status, code := rebalance(t, at, body); status != 200 {
			t.Errorf("%s is answered %d %s", body, status, code)
		}
	}
}

func TestARebalanceNeedsAnotherHubAndEndsWithADrain(t *testing.T) {
	t.Parallel()
	url := redistest.Start(t).URL()
	other := listen(t, url)
	h := startInside(t, "--redis-url="+url, "--node=a", "--drain-window=0s", "--pollers=1")
	want := func(body string, status int, code string) {
		t.Helper()
		if s, c := rebalance(t, h.control, body); s != status || c != code {
			t.Errorf("%s is answered %d %s, want %d %s", body, s, c, status, code)
		}
	}
	eventually(t, func() error {
		if nodes, err := other.Nodes(t.Context()); len(nodes) != 2 {
			return fmt.Errorf("listed are %v, %v", nodes, err)
		}
		return nil
	})
	first, second := dial(t, "first", h.public, "hub.v1.json"), dial(t, "second", h.public, "hub.v1.json")
	first.want(`{"type":"welcome"`)
	second.want(`{"type":"welcome"`)
	want(rebalanceAll, 409, "no_other_hub")
	other.SetState(pubsub.Draining)
	want(rebalanceAll, 409, "no_other_hub")
	other.SetState(pubsub.Ready)
	eventually(t, func() error {
		if status, code := rebalance(t, h.control, rebalanceAll); status != 200 {
			return fmt.Errorf("%d %s", status, code)
		}
		return nil
	})
	want(rebalanceAll, 409, "rebalancing")

	// One of them has gone, the other one is to go after half an hour.
	eventually(t, func() error {
		_, metrics, _ := ask(t, "GET", h.control+"/metrics", "")
		if !strings.Contains(metrics, `wshub_connections_closed_total{cause="rebalance"} 1`+"\n") {
			return errors.New("not counted")
		}
		return nil
	})
	h.stop <- syscall.SIGTERM
	for _, c := range []*client{first, second} {
		c.want(`{"type":"goodbye"`)
		if code := c.wantEnd(); code != 1012 {
			t.Errorf("%s is closed with %d", c.name, code)
		}
	}
	if err := <-h.ended; err != nil {
		t.Error(err)
	}
	for _, words := range []string{`"message":"rebalancing"`, `"sent_away":1,"clients":2`} {
		if !strings.Contains(h.log.String(), words) {
			t.Errorf("no %s in the log:\n%s", words, h.log)
		}
	}
}

func TestNoRebalanceOnceTheSignalHasCome(t *testing.T) {
	b := &rebalancer{draining: func() bool { return true }}
	if _, refusal := b.begin(t.Context(), 20, time.Minute); refusal == nil || refusal.status != 409 || refusal.code != "draining" {
		t.Errorf("refused with %v", refusal)
	}
}

func TestElsewhereIsAskedEachSecondAndUnknownIsNowhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type answer struct {
			others []string
			err    error
		}
		var now atomic.Pointer[answer]
		now.Store(&answer{})
		e := &elsewhere{others: func(context.Context) ([]string, error) { a := now.Load(); return a.others, a.err }, log: zerolog.Nop()}
		ctx, end := context.WithCancel(t.Context())
		defer end()
		go func() { _ = e.watch(ctx) }()
		for _, is := range []struct {
			answer
			ready bool
		}{
			{answer{}, false},
			{answer{[]string{"b"}, nil}, true},
			{answer{[]string{"b"}, pubsub.ErrUnavailable}, false},
			{answer{[]string{"b"}, nil}, true},
			{answer{}, false},
		} {
			now.Store(&is.answer)
			time.Sleep(elsewhereEvery)
			synctest.Wait()
			if e.Ready() != is.ready {
				t.Errorf("others are %+v: %v", is.answer, e.Ready())
			}
		}
	})
}
