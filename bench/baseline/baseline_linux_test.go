package baseline

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// startRedis runs a Redis of its own for the test.
func startRedis(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("WSHUB_REQUIRE_REDIS") != "" {
			t.Fatal(err)
		}
		t.Skip("no redis-server here")
	}
	addr := freePort(t)
	cmd := exec.Command(program, "--port", fmt.Sprint(addr.Port()), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "accept connections") {
			break
		}
	}
	return "redis://" + addr.String()
}

// serve starts one of the servers and waits until it subscribes and listens.
func serve(t *testing.T, run func(context.Context, Config) error) (Config, *redis.Client) {
	t.Helper()
	addr := freePort(t)
	cfg, err := NewConfig(addr.String(), startRedis(t), "channel", "1s")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, cfg) }()
	client := redis.NewClient(cfg.Redis)
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
		_ = client.Close()
	})
	for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("it ended at once: %v", err)
		default:
		}
		n, err := client.PubSubNumSub(ctx, "channel", userChannel).Result()
		patterns, err2 := client.PubSubNumPat(ctx).Result()
		conn, err3 := net.Dial("tcp", addr.String())
		if err3 == nil {
			_ = conn.Close()
		}
		if err == nil && err2 == nil && err3 == nil && n["channel"] == 1 && n[userChannel] == 1 && patterns == 1 {
			return cfg, client
		}
	}
}

func TestBothServersDeliverByTopicAndUser(t *testing.T) {
	for name, run := range map[string]func(context.Context, Config) error{"floor": Floor, "goroutines": Goroutines} {
		t.Run(name, func(t *testing.T) {
			cfg, client := serve(t, run)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for query, message := range map[string][2]string{
				"":               {"channel", `{"a":1}`},
				"?topic=news":    {"hub:t:news", `{"b":2}`},
				"?user=7":        {"hub:to", `{"to":{"user":"7"},"data":{"c":3}}`},
				"?topic=long":    {"hub:t:long", `"` + strings.Repeat("x", 300) + `"`},
				"?topic=news&x=": {"hub:t:news", `{"d":4}`},
			} {
				conn, _, err := websocket.Dial(ctx, "ws://"+cfg.Addr.String()+"/notification"+query, nil)
				if err != nil {
					t.Fatal(err)
				}
				got := hear(ctx, t, conn, client, message)
				want := message[1]
				if message[0] == userChannel {
					want = `{"c":3}`
				}
				if got != want {
					t.Errorf("%q heard %.80s, want %.80s", query, got, want)
				}
				_ = conn.CloseNow()
			}
		})
	}
}

// hear publishes until the client, who may not be known to the server at once, has heard it.
func hear(ctx context.Context, t *testing.T, conn *websocket.Conn, client *redis.Client, message [2]string) string {
	t.Helper()
	heard := make(chan string, 1)
	go func() {
		_, b, err := conn.Read(ctx)
		if err != nil {
			b = []byte(err.Error())
		}
		heard <- string(b)
	}()
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		if err := client.Publish(ctx, message[0], message[1]).Err(); err != nil {
			t.Fatal(err)
		}
		select {
		case text := <-heard:
			return text
		default:
		}
	}
}

func TestRedisRepliesAreReadWhole(t *testing.T) {
	whole := "*3\r\n$7\r\nmessage\r\n$7\r\nchannel\r\n$4\r\na\r\nb\r\n"
	words, n := reply([]byte(whole + "*3"))
	if n != len(whole) || !slices.Equal(words, []string{"message", "channel", "a\r\nb"}) {
		t.Errorf("%q, %d", words, n)
	}
	for part := range len(whole) {
		if _, n := reply([]byte(whole[:part])); n != 0 {
			t.Errorf("%d bytes were read of %q", n, whole[:part])
		}
	}
	if words, n := reply([]byte("+OK\r\n*1")); n != 5 || words != nil {
		t.Errorf("%q, %d", words, n)
	}
	if words, n := reply([]byte("*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n")); n == 0 || len(words) != 3 {
		t.Errorf("%q, %d", words, n)
	}
}

func FuzzReply(f *testing.F) {
	f.Add([]byte("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n"))
	f.Add([]byte("*2\r\n$-1\r\n$99999999999999999999\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, n := reply(b); n < 0 || n > len(b) {
			t.Errorf("%d of %d bytes", n, len(b))
		}
	})
}
