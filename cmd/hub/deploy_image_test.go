package main

import (
	"encoding/json"
	"maps"
	"regexp"
	"strings"
	"testing"
)

// The image's variables leave room for WS_PORT, and its health check finds the hub that runs with them.
func TestTheImagesVariablesAndHealthCheckFit(t *testing.T) {
	text := read(t, "deploy/Dockerfile")
	check := regexp.MustCompile(`(?m)^HEALTHCHECK .*CMD (\[.+\])$`).FindStringSubmatch(text)
	if check == nil {
		t.Fatal("no HEALTHCHECK")
	}
	env := imageEnv(t)
	for port, want := range map[string]string{"": "0.0.0.0:3000", "4000": "0.0.0.0:4000"} {
		with := maps.Clone(env)
		with["WS_PORT"], with["HUB_OPEN"] = port, "true"
		s := parsed(t, with)
		if notes := strings.Join(s.conflicts(), "\n"); s.cfg.Addr != want || notes != "" {
			t.Errorf("WS_PORT=%s: %s %s", port, s.cfg.Addr, notes)
		}
	}
	if code, _, stderr := call(t, env); code != 2 || !strings.Contains(stderr, "--open") {
		t.Errorf("without keys: %d %s", code, stderr)
	}
	var command []string
	if err := json.Unmarshal([]byte(check[1]), &command); err != nil || command[0] != "/hub" {
		t.Fatal(command, err)
	}
	hub := startInside(t)
	env["HUB_CONTROL"] = "0.0.0.0:" + hub.control[strings.LastIndex(hub.control, ":")+1:]
	if code, stdout, stderr := call(t, env, command[1:]...); code != 0 {
		t.Errorf("%q: %d %s%s", command, code, stdout, stderr)
	}
}
