package main

import (
	"strings"
	"testing"

	"wshub/pubsub/redistest"
)

func TestCheckPrintsWhatTheSettingsComeToWithoutSecrets(t *testing.T) {
	const key, password = "0123456789abcdef-key", "hunter22-password"
	code, stdout, stderr := call(t, map[string]string{"HUB_API_KEY": key, "REDIS_URL": "redis://bob:" + password + "@host:1234"}, "check", "--workers=9")
	if code != 0 || stderr != "" {
		t.Fatalf("ends with %d: %s", code, stderr)
	}
	lines := map[string]string{}
	for line := range strings.Lines(stdout) {
		if words := strings.Fields(line); len(words) > 1 && strings.HasPrefix(line, "--") {
			lines[words[0]] = strings.Join(words[1:], " ")
		}
	}
	for flag, want := range map[string]string{
		"--workers": "9 flag", "--redis-url": "redis://bob:xxxxx@host:1234 REDIS_URL", "--api-key": "*** HUB_API_KEY",
		"--max-message": "64KiB default", "--heartbeat": "25s default", "--addr": "127.0.0.1:3000 default",
	} {
		if lines[flag] != want {
			t.Errorf("%s is shown as %q, want %q", flag, lines[flag], want)
		}
	}
	for _, f := range parsed(t, nil).flags {
		if _, ok := lines["--"+f.Name]; !ok && f.Group != nil {
			t.Errorf("--%s is not shown", f.Name)
		}
	}
	if strings.Contains(stdout, key) || strings.Contains(stdout, password) {
		t.Errorf("a secret is shown:\n%s", stdout)
	}
	if !strings.Contains(stdout, "Open hub") {
		t.Errorf("nothing says that the hub is open:\n%s", stdout)
	}
}

func TestCheckDoesNotConnectUnlessTold(t *testing.T) {
	nobody := "redis://127.0.0.1:1/"
	if code, _, stderr := call(t, nil, "check", "--redis-url="+nobody); code != 0 {
		t.Errorf("ends with %d: %s", code, stderr)
	}
	code, _, stderr := call(t, nil, "check", "--connect", "--redis-url="+nobody)
	if code != 1 || !strings.Contains(stderr, "127.0.0.1:1") {
		t.Errorf("--connect ends with %d: %s", code, stderr)
	}
}

func TestCheckConnectsWhenTold(t *testing.T) {
	redis := redistest.Start(t)
	if code, stdout, stderr := call(t, nil, "check", "--connect", "--redis-url="+redis.URL()); code != 0 || !strings.Contains(stdout, "works") {
		t.Errorf("ends with %d: %s%s", code, stdout, stderr)
	}
	if code, _, stderr := call(t, nil, "check", "--connect"); code != 0 {
		t.Errorf("without Redis ends with %d: %s", code, stderr)
	}
}
