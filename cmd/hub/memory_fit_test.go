package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"wshub/pubsub/redistest/drills"
)

func contained(limit byteSize) environment {
	return environment{room: memory{limit: limit, of: "this container"}}
}

func TestLimitsFollowTheMemory(t *testing.T) {
	const mib = 1 << 20
	unified := contained(256 * mib)
	unified.room.kernel = true
	for _, c := range []struct {
		name                          string
		env                           environment
		args                          []string
		backlog, partial, send, limit byteSize // MiB, but send: KiB
		inbox                         int      // MiB
	}{
		{"nothing is known", environment{}, nil, 1024, 256, 128, 0, 0},
		{"a container", contained(256 * mib), nil, 64, 32, 128, 230, 16},
		{"one where the kernel counts", unified, nil, 64, 32, 32, 230, 16},
		{"a large machine", contained(64 << 30), nil, 1024, 256, 128, 58982, 0},
		{"given ones stay", contained(256 * mib), []string{"--max-backlog=100MiB", "--max-partial=20MiB", "--send-buffer=1MiB"}, 100, 20, 1024, 230, 16},
		{"--memory-limit", environment{}, []string{"--memory-limit=256MiB"}, 64, 32, 128, 256, 16},
		{"--memory-limit below the container's", contained(1 << 30), []string{"--memory-limit=256MiB"}, 64, 32, 128, 256, 16},
		{"--memory-limit=0 chooses", contained(256 * mib), []string{"--memory-limit=0"}, 64, 32, 128, 230, 16},
		{"--memory-limit above the container's", contained(256 * mib), []string{"--memory-limit=1GiB"}, 64, 32, 128, 1024, 16},
		{"GOMEMLIMIT", environment{vars: map[string]string{"GOMEMLIMIT": "256MiB"}}, nil, 64, 32, 128, 256, 16},
		{"GOMEMLIMIT in plain bytes", environment{vars: map[string]string{"GOMEMLIMIT": "268435456"}}, nil, 64, 32, 128, 256, 16},
		{"no GOMEMLIMIT", environment{vars: map[string]string{"GOMEMLIMIT": "off"}, room: contained(256 * mib).room}, nil, 64, 32, 128, 230, 16},
	} {
		s := parsedWith(t, c.env, append(c.args, "--pollers=2")...)
		if got := s.cfg; got.MaxBacklog != c.backlog*mib || got.MaxPartial != c.partial*mib || got.SendBuffer != c.send<<10 || got.MemoryLimit != c.limit*mib {
			t.Errorf("%s: backlog %s, partial %s, send buffer %s, memory limit %s", c.name, got.MaxBacklog, got.MaxPartial, got.SendBuffer, got.MemoryLimit)
		}
		session, err := s.cfg.session(zerolog.Nop())
		if err != nil || session.MaxInbox != c.inbox*mib {
			t.Errorf("%s: inbox %d, %v", c.name, session.MaxInbox, err)
		}
	}
}

// However little there is, what comes of it is what the packages below accept.
func TestLimitsOfEverySizeOfMemoryAreAccepted(t *testing.T) {
	for limit := byteSize(1); limit < 1<<50; limit = limit*3 + 1 {
		env := contained(limit)
		env.room.kernel = true
		if code := parsedWith(t, env, "--port=0").cfg; code.MaxBacklog == 0 {
			t.Errorf("%s: no backlog", limit)
		}
	}
}

func TestCheckShowsWhatLimitsCameTo(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"check", "--max-partial=1MiB"}, &out, &out, contained(256<<20)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"--max-backlog 64MiB 1/4 of 256MiB of this container", "--max-partial 1MiB flag", "--memory-limit 230MiB 9/10 of 256MiB of this container", "--max-queued 256KiB default",
	} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

func TestLimitsThatTheMemoryCantHoldAreNamed(t *testing.T) {
	for _, c := range []struct {
		env  environment
		args []string
		want []string // in notes; none: nothing is said of memory
	}{
		{environment{}, []string{"--max-backlog=1TiB"}, nil},
		{contained(256 << 20), nil, nil},
		{contained(256 << 20), []string{"--max-backlog=64MiB", "--max-partial=32MiB"}, nil},
		{contained(256 << 20), []string{"--max-backlog=1GiB"}, []string{"--max-backlog is 1GiB", "64MiB", "256MiB of this container"}},
		{environment{vars: map[string]string{"HUB_MAX_PARTIAL": "256MiB", "GOMEMLIMIT": "256MiB"}}, nil, []string{"--max-partial (HUB_MAX_PARTIAL) is 256MiB", "32MiB", "GOMEMLIMIT"}},
		{contained(256 << 20), []string{"--memory-limit=1GiB"}, []string{"--memory-limit is 1GiB, more than the 256MiB of this container"}},
		{environment{vars: map[string]string{"GOMEMLIMIT": "1GiB"}, room: contained(256 << 20).room}, nil, []string{"GOMEMLIMIT is 1GiB, more than the 256MiB of this container"}},
		{contained(64 << 20), nil, []string{"The memory is 64MiB of this container", "128MiB"}},
	} {
		notes := strings.Join(parsedWith(t, c.env, append(c.args, "--control=off")...).notes(), "\n")
		if c.want == nil && strings.Contains(notes, "memory") {
			t.Errorf("%q: %s", c.args, notes)
		}
		for _, want := range c.want {
			if !strings.Contains(notes, want) {
				t.Errorf("%q: no %q in\n%s", c.args, want, notes)
			}
		}
	}
}

// Clients that do not read are cut before the memory is used up, and the others notice nothing.
func TestClientsThatDoNotReadFitIntoTheMemory(t *testing.T) {
	drills.Programs(t)
	const limit, clients, size, events = 128 << 20, 800, 30 << 10, 12
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < 2*clients {
		t.Skipf("needs %d open files, has %d", 2*clients, files.Cur)
	}
	h := startHub(t, buildHub(t), "", fmt.Sprint("--memory-limit=", limit), "--send-buffer=4KiB", "--pollers=2")
	addr, _, _ := strings.Cut(strings.TrimPrefix(h.public, "ws://"), "/")
	for range clients {
		c := handshake(t, addr, h.public)
		defer c.Close()
	}
	good := dial(t, "good", h.public, "")
	for i := range events {
		data := fmt.Sprintf(`{"event":%d,"text":%q}`, i, strings.Repeat("x", size))
		if status, answer, _ := ask(t, "POST", h.control+"/api/publish", `{"topic":"channel","data":`+data+`}`, asJSON...); status != 200 {
			t.Fatalf("publish is answered %d %s", status, answer)
		}
		good.want(fmt.Sprintf(`{"event":%d,`, i))
	}
	got := peak(t, h.cmd.Process.Pid)
	t.Logf("%d MiB at most", got>>20)
	if got > limit {
		t.Errorf("%d MiB were used, of %d", got>>20, limit>>20)
	}
	if h.metric(`wshub_connections_closed_total{cause="backlog_limit"}`) == 0 {
		t.Error("nobody was cut for it")
	}
}

// handshake opens a connection that takes little in and is not read any more.
func handshake(t *testing.T, addr, url string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest("GET", "http"+strings.TrimPrefix(url, "ws"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	for head := []byte{}; !strings.HasSuffix(string(head), "\r\n\r\n"); {
		b := make([]byte, 1)
		if _, err := conn.Read(b); err != nil {
			t.Fatal(err)
		}
		head = append(head, b[0])
	}
	return conn
}

// peak is the most memory that process pid ever had, in bytes.
func peak(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(status)) {
		var kib int
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}
