package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"wshub/pubsub/redistest"
)

// lastLine is the last line of the hub's log.
func (h *hubInside) lastLine() string {
	text := strings.TrimSpace(h.log.String())
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// TestTheLastLineSaysWhyRedisDoesNotLetTheHub has the same faults at the start of a hub, and for hub check --connect.
func TestTheLastLineSaysWhyRedisDoesNotLetTheHub(t *testing.T) {
	t.Parallel()
	const password = "s3cret-password"
	redis := redistest.Start(t)
	redis.CLI("acl", "setuser", "bob", "on", ">"+password, "allkeys", "allchannels", "+@all")
	redis.CLI("acl", "setuser", "eve", "on", ">"+password, "allkeys", "allchannels", "+@pubsub", "+role", "+info", "+time")
	locked := redistest.Start(t)
	locked.CLI("acl", "setuser", "default", "resetpass", ">"+password)
	at := func(s *redistest.Server, login string) string { return strings.Replace(s.URL(), "//", "//"+login, 1) }
	for name, c := range map[string]struct{ url, says string }{
		"a wrong password": {at(redis, "bob:another-"+password+"@"), "the user or the password in --redis-url is wrong"},
		"an unknown user":  {at(redis, "tom:"+password+"@"), "the user or the password in --redis-url is wrong"},
		"no password":      {locked.URL(), "this redis wants a password"},
		"no rights":        {at(redis, "eve:"+password+"@"), "redis-cli ACL SETUSER grants"},
		"nobody there":     {"redis://127.0.0.1:1", "nothing listens there"},
		"no such host":     {"redis://no-such-host.invalid", "can't be looked up"},
		"no Sentinel":      {"redis+sentinel://127.0.0.1:1/mymaster", "nothing listens there"},
		"no Cluster":       {"redis+cluster://127.0.0.1:1", "nothing listens there"},
	} {
		t.Run(name, func(t *testing.T) {
			h := startInside(t, "--redis-url="+c.url)
			eventually(t, func() error {
				var line struct{ Level, Remedy string }
				if err := json.Unmarshal([]byte(h.lastLine()), &line); err != nil || !strings.Contains(line.Remedy, c.says) || line.Level == "debug" {
					return fmt.Errorf("the last line is %s", h.lastLine())
				}
				return nil
			})
			code, stdout, stderr := call(t, nil, "check", "--connect", "--redis-url="+c.url)
			lines := strings.Split(strings.TrimSpace(stderr), "\n")
			if last := lines[len(lines)-1]; code != 1 || !strings.Contains(last, c.says) {
				t.Errorf("check ends with %d: %s", code, last)
			}
			if strings.Contains(stdout+stderr+h.log.String(), password) {
				t.Error("the password is shown")
			}
		})
	}
}

func TestTheLastLineSaysWhyRedisLetsTheHubNoMore(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	redis.CLI("acl", "setuser", "bob", "on", ">1", "allkeys", "allchannels", "+@all")
	h := startInside(t, "--redis-url="+strings.Replace(redis.URL(), "//", "//bob:1@", 1))
	eventually(t, func() error {
		if status, why, _ := ask(t, "GET", h.control+"/readyz", ""); status != 200 {
			return errors.New(why)
		}
		return nil
	})
	for _, step := range []struct{ acl, says string }{
		{"setuser bob -zscan -publish", "the user lacks +zscan +publish"},
		{"deluser bob", "the user or the password in --redis-url is wrong"},
	} {
		redis.CLI(append([]string{"acl"}, strings.Fields(step.acl)...)...)
		eventually(t, func() error {
			if last := h.lastLine(); !strings.Contains(last, step.says) || !strings.Contains(last, `"remedy"`) {
				return fmt.Errorf("%s: the last line is %s", step.acl, last)
			}
			return nil
		})
	}
	if n := strings.Count(h.log.String(), "\n"); n > 50 {
		t.Errorf("%d lines", n)
	}
}
