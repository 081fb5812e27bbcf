package main

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

type lookedBusy struct {
	Node, User, Session string
	PerSecond           float64 `json:"per_second"`
}

func TestAnotherHubsClientsAreLookedAtAndSentAway(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	url := redistest.Start(t).URL()
	path := buildHub(t)
	same, other := startHub(t, path, url, "--node=a", "--history=*=1"), startHub(t, path, url, "--node=b", "--history=*=1", "--max-topics=100")
	for _, h := range []*process{same, other} {
		(&threeHubs{t: t}).awaitReady(h)
	}
	var clients []*client
	for range 3 {
		c := dial(t, "v1", other.public+"?user=again", "hub.v1.json")
		c.want(`{"type":"welcome"`)
		clients = append(clients, c)
	}
	clients[0].say(`{"type":"subscribe","id":0,"topic":"t"}`)
	clients[0].want(`{"type":"subscribed","id":0`)
	for id := 1; id < 20; id++ {
		clients[0].say(fmt.Sprintf(`{"type":"subscribe","id":%d,"topic":"t"}`, id))
		clients[0].want(fmt.Sprintf(`{"type":"error","id":%d,`, id))
	}

	var l looked
	var busy struct{ Senders, Comers []lookedBusy }
	eventually(t, func() error {
		l, busy.Senders, busy.Comers = looked{}, nil, nil
		look(t, same.control, "/api/nodes", &l)
		look(t, same.control, "/api/busy", &busy)
		if len(l.Nodes) != 2 || len(busy.Senders) != 1 || len(busy.Comers) != 1 {
			return fmt.Errorf("hubs are %+v, busy are %+v", l, busy)
		}
		return nil
	})
	if a, b := l.Nodes[0], l.Nodes[1]; a.Settings == "" || a.Settings == b.Settings || b.Lately.Errors["already_subscribed"] != 19 || len(a.Lately.Errors) != 0 {
		t.Errorf("hubs are %+v", l.Nodes)
	}
	if s := busy.Senders[0]; s.Node != "b" || s.User != "again" || !strings.HasPrefix(s.Session, "s_") || s.PerSecond != 20./60 {
		t.Errorf("the sender is %+v", s)
	}
	if c := busy.Comers[0]; c.Node != "b" || c.User != "again" || c.PerSecond != 3./60 {
		t.Errorf("the comer is %+v", c)
	}

	for body, want := range map[string]string{
		`{"percent":0,"over":"1h","node":"b"}`: "400 bad_request", `{"percent":1,"over":"x","node":"b"}`: "400 bad_request",
		`{"percent":1,"over":"1h","node":"c"}`: "503 unavailable",
	} {
		if status, code := rebalance(t, same.control, body); fmt.Sprint(status, " ", code) != want {
			t.Errorf("%s is answered %d %s", body, status, code)
		}
	}
	const order = `{"percent":100,"over":"1h","node":"b"}`
	if status, code := rebalance(t, same.control, order); status != 200 {
		t.Fatalf("answered %d %s", status, code)
	}
	if status, code := rebalance(t, same.control, order); status != 409 || code != "rebalancing" {
		t.Errorf("a second one is answered %d %s", status, code)
	}
	if status, code := rebalance(t, other.control, rebalanceAll); status != 409 || code != "rebalancing" {
		t.Errorf("the hub that was named says %d %s", status, code)
	}
	if status, code := rebalance(t, same.control, `{"percent":1,"over":"0s","node":"a"}`); status != 200 {
		t.Errorf("the hub that was asked says %d %s", status, code)
	}
	other.signal(syscall.SIGSTOP)
	defer other.signal(syscall.SIGCONT)
	if status, code := rebalance(t, same.control, order); status != 503 || code != "unavailable" {
		t.Errorf("beside a frozen hub: %d %s", status, code)
	}
}

func TestTheMarkOfSettingsKnowsWhatHubsShouldShare(t *testing.T) {
	mark := func(env map[string]string, args ...string) string {
		return parsed(t, env, args...).shown().mark()
	}
	plain := mark(nil, "--node=a", "--port=3000")
	alike := []string{
		mark(nil, "--node=b", "--port=3010", "--control=127.0.0.1:3011"), mark(nil, "--addr=127.0.0.1:4000"), mark(nil, "--max-topics=128"),
		mark(map[string]string{"HUB_NODE": "c"}),
	}
	if slices.ContainsFunc(alike, func(m string) bool { return m != plain }) {
		t.Errorf("%q have other marks than %q", alike, plain)
	}
	if m := mark(nil, "--max-topics=7"); m == plain || m != mark(map[string]string{"HUB_MAX_TOPICS": "7"}) {
		t.Errorf("another setting has the mark %q", m)
	}
	secret := func(s string) string { return mark(map[string]string{"HUB_JWT_SECRET": strings.Repeat(s, 32)}) }
	if secret("a") != secret("b") {
		t.Error("the mark tells secrets apart")
	}
}
