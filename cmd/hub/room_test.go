package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"wshub/pubsub/redistest/drills"
)

// limited is the hub at path, with an open-file limit.
func limited(t *testing.T, path string, files int) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "hub")
	text := fmt.Sprintf("#!/bin/sh\nulimit -n %d\nexec %s \"$@\"\n", files, path)
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return script
}

// A low open-file limit is warned of, and half of it are connections, of which there is room for as many as said.
func TestLittleRoomIsWarnedOfAndThere(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	const warning = "The open-file limit leaves room for "
	hub := buildHub(t)
	for _, c := range []struct {
		files int
		args  []string
		note  string
	}{
		{200, nil, "100 connections only"},
		{1024, nil, "512 connections only"},
		{1511, nil, "999 connections only"},
		{1512, nil, ""},
		{1024, []string{"--max-connections=500"}, ""}, // chosen
	} {
		cmd := exec.Command(limited(t, hub, c.files), append([]string{"check", "--no-env-file"}, c.args...)...)
		cmd.Env = append(os.Environ(), "REDIS_URL=")
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), warning) != (c.note != "") || !strings.Contains(string(out), c.note) {
			t.Errorf("%d files %q: %v\n%s", c.files, c.args, err, out)
		}
	}

	p := startHub(t, limited(t, hub, 200), "", "--pollers=2")
	p.await(warning + "100 connections only: raise it (ulimit -n, LimitNOFILE).")
	for i := range 101 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c, res, err := websocket.Dial(ctx, p.public, nil)
		if i == 100 {
			if err == nil || res == nil || res.StatusCode != 503 {
				t.Errorf("one more: %v, %v", res, err)
			}
			return
		}
		if err != nil {
			t.Fatalf("connection %d: %v", i+1, err)
		}
		defer func() { _ = c.CloseNow() }()
	}
}
