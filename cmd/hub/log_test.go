package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestLogLinesAreJSONUnlessForPeople(t *testing.T) {
	for format, wantConsole := range map[string]bool{"auto": false, "json": false, "console": true} { // a buffer is no terminal
		var out bytes.Buffer
		log, console := newLogger(parsed(t, nil, "--log-format="+format).cfg, &out)
		log.Info().Str("who", "me").Msg("hello")
		if console != wantConsole || json.Valid(out.Bytes()) == wantConsole || !strings.Contains(out.String(), "hello") {
			t.Errorf("%s: console %v, %s", format, console, &out)
		}
		if strings.Contains(out.String(), "\x1b") {
			t.Errorf("%s: colours in what is no terminal: %q", format, &out)
		}
	}
}

func TestTheLogLevelHolds(t *testing.T) {
	var out bytes.Buffer
	log, _ := newLogger(parsed(t, nil, "--log-level=warn").cfg, &out)
	log.Info().Msg("quiet")
	log.Warn().Msg("loud")
	if s := out.String(); strings.Contains(s, "quiet") || !strings.Contains(s, "loud") {
		t.Error(s)
	}
}

func TestConfiguredSecretsAreMaskedInLogs(t *testing.T) {
	for _, format := range []string{"json", "console"} {
		var out bytes.Buffer
		log, _ := newLogger(parsed(t, map[string]string{"REDIS_URL": "redis://:hunter2222@host:1", "HUB_API_KEY": "0123456789abcdef"}, "--log-format="+format).cfg, &out)
		log.Error().Str("key", "0123456789abcdef").Msg("AUTH hunter2222")
		if s := out.String(); strings.Contains(s, "hunter2222") || strings.Contains(s, "0123456789abcdef") || !strings.Contains(s, masked) {
			t.Error(s)
		}
	}
}

func TestAFloodOfLinesIsThinned(t *testing.T) {
	var out bytes.Buffer
	log, _ := newLogger(parsed(t, nil).cfg, &out)
	thin := sampled(log)
	for range 1000 {
		thin.Warn().Msg("again")
	}
	if n := strings.Count(out.String(), "again"); n != 10 {
		t.Errorf("%d of 1000 lines were written", n)
	}
}
