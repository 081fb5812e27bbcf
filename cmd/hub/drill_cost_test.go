package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/redis/go-redis/v9"

	"wshub/pubsub/redistest/drills"
)

const (
	costPublishers = 16
	costWindow     = 64 // publications of one publisher that wait for their answers
	costPublishes  = costPublishers * costWindow * 40
)

// TestWhatAPublishCosts prints the CPU time of a publication of 128 bytes that a client sends, with and
// without history, beside that of a plain PUBLISH, each pipelined alike.
func TestWhatAPublishCosts(t *testing.T) {
	drills.Measurement(t)
	d := newDrill(t, buildHub(t))
	defer d.end()
	d.startHubs(1, d.redis.URL(), "--message-rate=0")
	data := fmt.Sprintf("%q", strings.Repeat("x", 126))
	for _, one := range []struct {
		name    string
		publish func(i int)
	}{
		{"plain PUBLISH", func(int) { d.publishPlain(data) }},
		{"without history", func(i int) { d.publishByClient(fmt.Sprint("plain:", i), data) }},
		{"with history", func(i int) { d.publishByClient(fmt.Sprint("drill:", i), data) }},
	} {
		redis, hub, begin := d.redisCPU(), d.hubCPU(), time.Now()
		var all sync.WaitGroup
		for i := range costPublishers {
			all.Go(func() { one.publish(i) })
		}
		all.Wait()
		each := func(used time.Duration) time.Duration { return (used / costPublishes).Round(100 * time.Nanosecond) }
		t.Logf("%-16s redis %s, hub %s of CPU each; %.0f per second", one.name,
			each(d.redisCPU()-redis), each(d.hubCPU()-hub), costPublishes/time.Since(begin).Seconds())
	}
	for _, text := range d.wrongs() {
		t.Error(text)
	}
}

// publishPlain is one publisher that needs no hub.
func (d *drill) publishPlain(data string) {
	client := redis.NewClient(&redis.Options{Addr: d.redis.Addr(), Protocol: 2})
	defer client.Close()
	for range costPublishes / costPublishers / costWindow {
		pipe := client.Pipeline()
		for range costWindow {
			pipe.Publish(d.t.Context(), "hub:t:plain", data)
		}
		if _, err := pipe.Exec(d.t.Context()); err != nil {
			d.oddity("publish: %v", err)
			return
		}
	}
}

// publishByClient is one hub.v1 client that publishes to topic.
func (d *drill) publishByClient(topic, data string) {
	conn, from, _, err := ws.Dialer{Protocols: []string{"hub.v1.json"}}.Dial(context.Background(), d.hub(0).public)
	if err != nil {
		d.oddity("publisher: %v", err)
		return
	}
	defer conn.Close()
	if from == nil {
		from = bufio.NewReader(conn)
	}
	answer := func(want string) bool {
		_, payload, err := readFrame(from)
		if err != nil || !strings.HasPrefix(string(payload), want) {
			d.oddity("publisher: %v %s, want %s", err, payload, want)
		}
		return err == nil
	}
	if !answer(`{"type":"welcome"`) {
		return
	}
	one, _ := ws.CompileFrame(ws.MaskFrame(ws.NewTextFrame(fmt.Appendf(nil, `{"type":"publish","id":1,"topic":%q,"data":%s}`, topic, data))))
	window := strings.Repeat(string(one), costWindow)
	for range costPublishes / costPublishers / costWindow {
		if _, err := io.WriteString(conn, window); err != nil {
			d.oddity("publisher: %v", err)
			return
		}
		for range costWindow {
			if !answer(`{"type":"ok"`) {
				return
			}
		}
	}
}

// redisCPU is the time that the server has used.
func (d *drill) redisCPU() (used time.Duration) {
	d.t.Helper()
	for line := range strings.Lines(d.redis.CLI("info", "cpu")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			one, err := time.ParseDuration(value + "s")
			if err != nil {
				d.t.Fatal(err)
			}
			used += one
		}
	}
	return used
}

// hubCPU is the time that the first hub has used, in steps of 10 ms: fields 14 and 15 of proc(5).
func (d *drill) hubCPU() time.Duration {
	d.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.hub(0).cmd.Process.Pid))
	if err != nil {
		d.t.Skip(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	var user, system int
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		d.t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
