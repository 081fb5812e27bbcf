package pubsub

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"wshub/pubsub/redistest"
)

func TestNodesTellEachOther(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	heard := make(chan string, 10)
	node := func(name string) *Redis {
		r, _ := running(t, RedisConfig{URL: server.URL(), Node: name, OnControl: func(m []byte) { heard <- name + ":" + string(m) }})
		return r
	}
	a := node("a")
	node("b")
	if err := a.Notify(t.Context(), "b", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "b:hello" {
		t.Errorf("heard %s", got)
	}
	if err := a.Notify(t.Context(), "nobody", []byte("hello")); err != nil {
		t.Errorf("told nobody: %v", err)
	}
	if err := a.Notify(t.Context(), "", nil); err != nil {
		t.Fatal(err)
	}
	if one, two := <-heard, <-heard; one+two != "a:b:" && one+two != "b:a:" {
		t.Errorf("heard %s and %s", one, two)
	}
}

func TestUnknownControlIsDropped(t *testing.T) {
	server := redistest.Start(t)
	r, _ := running(t, RedisConfig{URL: server.URL(), Node: "a", OnRevoked: func([]Revocation) {}})
	for _, message := range []string{"", "x", "r{"} {
		r.only().pub.Publish(t.Context(), "hub:n:a", message)
	}
	eventually(t, "three drops", func() bool { return r.Stats().Drops["bad_control"] == 3 })
}

func TestARevocationReachesAllWhoAreThereAndAllWhoCome(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	heard := make(chan []Revocation, 10)
	cfg := RedisConfig{URL: server.URL(), OnRevoked: func(list []Revocation) { heard <- list }}
	r, _ := running(t, cfg)
	now := time.Now().Truncate(time.Second)
	first := Revocation{Subject: "user:42", At: now, Until: now.Add(time.Hour)}
	over := Revocation{Subject: "user:43", At: now.Add(-time.Hour), Until: now.Add(-time.Minute)}
	for _, v := range []Revocation{over, first} {
		if err := r.Revoke(t.Context(), v); err != nil {
			t.Fatal(err)
		}
		if got := <-heard; len(got) != 1 || got[0].Subject != v.Subject || !got[0].At.Equal(v.At) || !got[0].Until.Equal(v.Until) {
			t.Errorf("heard %v", got)
		}
	}
	if list := server.CLI("zrange", revokedKey, "0", "-1"); strings.Contains(list, "user:43") || !strings.Contains(list, "user:42") {
		t.Errorf("kept are %s, and user:43 is over", list)
	}
	server.CLI("zadd", revokedKey, "9e9", "nonsense", "9e9", `{"subject":"user:44","at":"2020-01-01T00:00:00Z","until":"2020-01-02T00:00:00Z"}`)
	running(t, cfg)
	if got := <-heard; len(got) != 1 || got[0].Subject != "user:42" {
		t.Errorf("who came later heard %v", got)
	}
	server.CLI("client", "kill", "type", "pubsub")
	for range 2 {
		if got := <-heard; len(got) != 1 {
			t.Errorf("after a reconnect: %v", got)
		}
	}
}

func TestInstancesShareAResumeKey(t *testing.T) {
	server := redistest.Start(t)
	a, b := newRedis(t, RedisConfig{URL: server.URL()}), newRedis(t, RedisConfig{URL: server.URL()})
	start(t, a)
	start(t, b)
	one, err := a.ResumeKey(t.Context())
	if err != nil || len(one) != ResumeKeySize {
		t.Fatalf("%d bytes, %v", len(one), err)
	}
	if two, err := b.ResumeKey(t.Context()); err != nil || !bytes.Equal(one, two) {
		t.Errorf("another key, %v", err)
	}
	server.CLI("set", resumeKeyName, "short")
	if _, err := a.ResumeKey(t.Context()); !errors.Is(err, ErrRefused) {
		t.Errorf("a key of five bytes: %v", err)
	}
	server.Kill()
	if _, err := a.ResumeKey(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("server down: %v", err)
	}
}

func TestAHubAloneTellsItself(t *testing.T) {
	var told [][]byte
	var revoked []Revocation
	m := NewMemory(MemoryConfig{
		Node:      "a",
		OnControl: func(message []byte) { told = append(told, message) },
		OnRevoked: func(list []Revocation) { revoked = append(revoked, list...) },
	})
	for _, node := range []string{"a", "b", ""} {
		if err := m.Notify(t.Context(), node, []byte(node)); err != nil {
			t.Error(err)
		}
	}
	if len(told) != 2 {
		t.Errorf("told %q", told)
	}
	if err := m.Revoke(t.Context(), Revocation{Subject: "user:42"}); err != nil || len(revoked) != 1 {
		t.Errorf("revoked %v, %v", revoked, err)
	}
	one, _ := m.ResumeKey(t.Context())
	two, _ := m.ResumeKey(t.Context())
	if len(one) != ResumeKeySize || !bytes.Equal(one, two) || bytes.Equal(one, make([]byte, ResumeKeySize)) {
		t.Errorf("keys %x and %x", one, two)
	}
}
