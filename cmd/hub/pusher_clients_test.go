package main

import (
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// pusherApp is the application of the tests.
const pusherApp = "1:app-key:app-secret"

// pusherAt is where a hub's ports are, for testdata/pusher.mjs.
type pusherAt struct {
	Host    string `json:"host"`
	Port    int    `json:"port"`
	Control int    `json:"control"`
}

func (p *process) pusherAt() pusherAt {
	port := func(address string) int {
		u, err := url.Parse(address)
		if err != nil {
			p.t.Fatal(err)
		}
		n, _ := strconv.Atoi(u.Port()) // the hub made it
		return n
	}
	return pusherAt{"127.0.0.1", port(p.public), port(p.control)}
}

// Unchanged, pusher-js, Laravel Echo and npm's pusher do all that they can do with hubs that share a Redis.
func TestPusherClientsOfNpmWork(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	path, redis := buildHub(t), redistest.Start(t)
	var hubs []pusherAt
	for range 2 {
		h := startHub(t, path, redis.URL(), "--pusher-app="+pusherApp, "--pusher-api=public")
		(&threeHubs{t: t}).awaitReady(h)
		hubs = append(hubs, h.pusherAt())
	}
	hubs[1].Control = hubs[1].Port           // its backends come to the public port
	order, _ := json.Marshal(map[string]any{ // it can always be marshalled
		"hubs": hubs, "app": map[string]string{"id": "1", "key": "app-key", "secret": "app-secret"},
	})
	runScript(t, "pusher.mjs", "pusher-js", string(order))
}

// runScript runs a script of testdata, which must end with 0. Without Node or the module that it needs the test is skipped, or
// fails if WSHUB_REQUIRE_NODE is 1.
func runScript(t *testing.T, script, module string, args ...string) {
	t.Helper()
	_, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat("testdata/node_modules/" + module)
	}
	if err != nil {
		if os.Getenv("WSHUB_REQUIRE_NODE") == "1" {
			t.Fatal(err)
		}
		t.Skipf("no Node with %s (npm ci --prefix cmd/hub/testdata): %v", module, err)
	}
	out, err := exec.CommandContext(t.Context(), "node", append([]string{"testdata/" + script}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	t.Logf("%s", out)
}
