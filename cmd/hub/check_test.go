package main

import (
	"fmt"
	"strings"
	"testing"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
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

// TestCheckNamesAllThatIsMissing has a user who may publish and subscribe, and nothing else.
func TestCheckNamesAllThatIsMissing(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	const password = "s3cret-password"
	redis := redistest.Start(t)
	redis.CLI("acl", "setuser", "bob", "on", ">"+password, "allkeys", "allchannels", "+@pubsub")
	url := strings.Replace(redis.URL(), "//", "//bob:"+password+"@", 1)
	code, stdout, stderr := call(t, nil, "check", "--connect", "--history=*=10", "--redis-url="+url)
	if code != 1 || strings.Contains(stdout+stderr, password) {
		t.Errorf("ends with %d: %s%s", code, stdout, stderr)
	}
	for _, word := range []string{"+eval", "+get", "+set", "+xadd", "+zscan", "+time"} {
		if !strings.Contains(stderr+" ", " "+word+" ") || !strings.Contains(stdout, word) {
			t.Errorf("%s is not named: %s%s", word, stdout, stderr)
		}
	}
	h := startHub(t, buildHub(t), url, "--history=*=10")
	eventually(t, func() error {
		status, reason, _ := ask(t, "GET", h.control+"/readyz", "")
		if status != 503 || !strings.Contains(reason, "the user lacks") || !strings.Contains(reason, " +xadd ") {
			return fmt.Errorf("/readyz is %d %q", status, reason)
		}
		return nil
	})
	h.wantLine(t, "the user lacks", `"level":"error"`)
}

func TestCheckPrintsALineForEachServer(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	sentinels, cluster := redistest.StartSentinel(t), redistest.StartCluster(t, 3, 1)
	for _, c := range []struct {
		url   string
		lines []string
	}{
		{sentinels.URL(), []string{"sentinel ", "sentinel ", "sentinel ", "redis " + sentinels.Master().Addr()}},
		{cluster.URL(), []string{"redis ", "redis ", "redis "}},
	} {
		code, stdout, stderr := call(t, nil, "check", "--connect", "--history=*=10", "--redis-wait=1", "--redis-url="+c.url)
		if code != 0 {
			t.Fatalf("ends with %d: %s%s", code, stdout, stderr)
		}
		var found []string
		for line := range strings.Lines(stdout) {
			if strings.HasPrefix(line, "sentinel ") || strings.HasPrefix(line, "redis ") {
				found = append(found, line)
			}
		}
		ok := len(found) == len(c.lines)
		for i := range found {
			ok = ok && strings.HasPrefix(found[i], c.lines[i])
		}
		if !ok || !strings.Contains(found[len(found)-1], "confirmed by replicas: 1") {
			t.Errorf("%s: %q", c.url, found)
		}
		t.Log(strings.Join(found, ""))
	}
}
