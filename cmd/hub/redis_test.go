package main

import (
	"strings"
	"testing"
)

func TestAFaultOfTheRedisURLSaysWhatToDo(t *testing.T) {
	for url, want := range map[string]string{
		"redis://host/2":              "--redis-prefix=hub2",
		"redis+sentinel://host/m/3":   "--redis-prefix=hub3",
		"unix:///run/r.sock?db=4":     "--redis-prefix=hub4",
		"redis://host?pool_size=20":   "--redis-pool-size",
		"rediss://host?skip_verify=1": "--redis-ca",
		"redis://host?db=1":           "behind the host",
		"redis://host?dial_timeout=1": `"dial_timeout"`,
		"redis://secret@host":         ":password@",
		"redis+sentinel://host":       "master's name",
	} {
		code, _, stderr := call(t, map[string]string{"REDIS_URL": url}, "check")
		if code != 2 || !strings.Contains(stderr, want) || !strings.Contains(stderr, "(from REDIS_URL)") {
			t.Errorf("%s ends with %d: %s; want %q", url, code, stderr, want)
		}
	}
}

func TestADatabaseNeedsAPrefixOfItsOwn(t *testing.T) {
	for _, args := range [][]string{{"--redis-url=redis://host/2", "--redis-prefix=shop"}, {"--redis-url=redis://host/0"}} {
		if code, _, stderr := call(t, nil, append(args, "check")...); code != 0 {
			t.Errorf("%q ends with %d: %s", args, code, stderr)
		}
	}
}

func TestWaitingForReplicasWithoutRedisIsTold(t *testing.T) {
	if _, stdout, _ := call(t, nil, "check", "--redis-wait=1"); !strings.Contains(stdout, "--redis-wait has no effect") {
		t.Error(stdout)
	}
}
