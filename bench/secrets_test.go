package bench

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wshub/bench/fleet"
)

const secret = "hunter2"

func TestSecretsAreMasked(t *testing.T) {
	for text, want := range map[string]string{
		"ws://h:1/n?token=hunter2&topic=news":               "ws://h:1/n?token=***&topic=news",
		"dial ws://h/n?a=b&sig=hunter2: refused":            "dial ws://h/n?a=***&sig=*** refused",
		"redis://:hun#ter2@h:6380":                          "redis://***@h:6380",
		`parse "redis://u:hunter2@h:x": invalid port`:       `parse "redis://***@h:x": invalid port`,
		"./hub --jwt-secret='hunter2 x' --port=1":           "./hub --jwt-secret=*** --port=1",
		`sh -c "HUB_API_KEY=hunter2 ./hub"`:                 `sh -c "HUB_API_KEY=*** ./hub"`,
		"./hub --redis redis://:hunter2@h/0":                "./hub --redis redis://***@h/0",
		"Authorization: Bearer hunter2":                     "Authorization: Bearer ***",
		"refused: eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.xy": "refused: ***",
		"p99>50ms, 12 lost":                                 "p99>50ms, 12 lost",
		"./hub --history *=1000,10m --message-rate=0":       "./hub --history *=1000,10m --message-rate=0",
	} {
		if got := mask(text); got != want {
			t.Errorf("%s\nbecame %s\nwant   %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"./hub --api-key hunter2 --port 1":                "./hub --api-key *** --port 1",
		"./hub --api-key 'hunter2 x' --open --jwt-secret": "./hub --api-key *** --open --jwt-secret",
	} {
		if got := guarded(text).String(); got != want {
			t.Errorf("%s\nbecame %s\nwant   %s", text, got, want)
		}
	}
	if text := hintsFor(fleet.Counts{Closes: map[string]uint64{"4001": 1}}); len(text) != 1 || mask(text[0]) != text[0] {
		t.Errorf("a hint is masked: %s", text)
	}
	for _, args := range [][]string{
		{"--api-key", secret}, {"--api-key=" + secret}, {"--redis=redis://:" + secret + "@h"}, {"--redis", "redis://:" + secret + "@h"},
		{"--header", "Cookie: " + secret}, {"--token=" + secret}, {"--jwt-secret", secret}, {"--server", "hub --api-key " + secret},
	} {
		if got := strings.Join(masked(args), " "); strings.Contains(got, secret) || !strings.Contains(got, hidden) {
			t.Errorf("%v became %s", args, got)
		}
	}
}

func TestSecretsStayOutOfReportsAndMessages(t *testing.T) {
	t.Parallel()
	s := newFaulty(t, faults{})
	path := filepath.Join(t.TempDir(), "report.html")
	url := s.flags()[0] + "?ticket=" + secret
	o := hubbench(t, t.Context(), "run", "connect", "--clients=2", "--header", "Authorization: Bearer "+secret, url, "--html="+path)
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(o.report)
	if err != nil {
		t.Fatal(err)
	}
	if all := string(page) + string(text) + o.stdout + o.stderr; o.status != exitOK || strings.Contains(all, secret) {
		t.Errorf("status %d; a secret is shown", o.status)
	}
	for _, line := range []string{
		"fanout --redis=redis://:" + secret + "#x@127.0.0.1:1", "fanout --redis=" + secret, "fanout --redis=redis://:" + secret + "@[x",
		"fanout --publish=http --control=htp://:" + secret + "@h", "connect --url=http://127.0.0.1/?token=" + secret,
		"connect --url=ws://127.0.0.1:1/?token=" + secret, "connect --server=/no/hub --url=ws://127.0.0.1:1/?x=" + secret,
	} {
		o := hubbench(t, t.Context(), append([]string{"run"}, strings.Fields(line)...)...)
		if o.status == exitOK || strings.Contains(o.stderr, secret) {
			t.Errorf("%s: status %d, %s", line, o.status, o.stderr)
		}
	}
}

func TestCommandsCanBePasted(t *testing.T) {
	words := shellCommand([]string{"run", "fanout", "--server=./hub --history '*=10,1m' --api-key k", "--html=a b.html", "--fail-if", "p99>50ms", "--clients=5"})
	got := strings.Join(words, " ")
	want := `hubbench run fanout --server='./hub --history '\''*=10,1m'\'' --api-key ***' --html='a b.html' --fail-if 'p99>50ms' --clients=5`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
