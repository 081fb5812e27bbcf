package pubsub

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A server that speaks of a channel that nobody can have subscribed is none of ours.
func TestForeignChannelsEndTheConnection(t *testing.T) {
	for _, url := range []string{"redis://127.0.0.1:1", "redis+cluster://127.0.0.1:1"} {
		r := newRedis(t, RedisConfig{URL: url, Broadcast: "b", Node: "n"})
		r.arrange(single{"127.0.0.1:1"}.layout())
		t.Cleanup(r.closeMasters)
		m := r.only()
		for _, bus := range []bool{false, true} {
			s := &subscriber{Redis: r, link: m.link, master: m, bus: bus, sharded: r.names.sharded && !bus}
			for _, channel := range []string{"", "h", "hub", "hub:", "hub:t", "hub:{", "hub:{p00}", "hub:{p00}:t", "}", "hub}", "hub:n:m", "b:", "x"} {
				for _, kind := range []signal{message, subscribed, unsubscribed} {
					if err := s.handle(heard{signal: kind, channel: channel, payload: []byte("1")}); !errors.Is(err, errProtocol) {
						t.Errorf("%s: %q: signal %d: %v", url, channel, kind, err)
					}
				}
			}
			for _, channel := range []string{r.names.addressed, r.names.broadcast} { // they were always to be heard
				if err := s.handle(heard{signal: unsubscribed, channel: channel}); !errors.Is(err, errProtocol) {
					t.Errorf("%s: the end of %q: %v", url, channel, err)
				}
			}
		}
	}
}

// deadlineConn knows the read deadline that was set last.
type deadlineConn struct {
	net.Conn
	read time.Time
}

func (c *deadlineConn) SetReadDeadline(t time.Time) error {
	c.read = t
	return c.Conn.SetReadDeadline(t)
}

// A user who may not ask for the role keeps the connection.
func TestAConnectionWhoseRoleIsSecretHasNoDeadline(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	conn := &deadlineConn{Conn: near}
	go func() {
		_, _ = far.Read(make([]byte, 100))
		_, _ = far.Write([]byte("-NOPERM this user has no permissions to run the 'role' command\r\n"))
	}()
	if _, err := newFeed(conn, &inflow{}, 100).role(); !errors.Is(err, errRefused) || !isPermission(err) {
		t.Fatal(err)
	}
	if !conn.read.IsZero() {
		t.Error("the connection ends in 2 s")
	}
}

// fakeServer answers each command, of which it knows the words, with what answer says: nothing if that is nil, and it
// hangs up at "". open is how many connections there are.
func fakeServer(t testing.TB, answer func(args []string) *string) (addr string, open *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open = &atomic.Int64{}
	var running sync.WaitGroup
	ending, end := context.WithCancel(context.Background())
	t.Cleanup(func() {
		end()
		_ = l.Close()
		running.Wait()
	})
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			open.Add(1)
			running.Go(func() {
				defer open.Add(-1)
				defer conn.Close()
				defer context.AfterFunc(ending, func() { _ = conn.Close() })()
				for in := bufio.NewReader(conn); ; {
					args, err := readCommand(in)
					if err != nil {
						return
					}
					text := answer(args)
					if text == nil {
						continue
					}
					if _, err := io.WriteString(conn, *text); err != nil || *text == "" {
						return
					}
				}
			})
		}
	})
	return l.Addr().String(), open
}

func readCommand(in *bufio.Reader) (args []string, err error) {
	f := &feed{in: in}
	n, err := f.number('*')
	if err != nil {
		return nil, err
	}
	for range n {
		arg, err := f.short(maxChannel)
		if err != nil {
			return nil, err
		}
		args = append(args, string(arg))
	}
	return args, nil
}

func silent([]string) *string { return nil }

// mostly asks so many times. A server that is waited for takes the whole of its time each time; one that is late once may be a machine that
// has much to do.
func mostly(t *testing.T, times int, ask func() (found bool, got any)) {
	t.Helper()
	var late []string
	for range times {
		began := time.Now()
		if found, got := ask(); !found || time.Since(began) >= askTimeout {
			late = append(late, fmt.Sprintf("%v after %s", got, time.Since(began)))
		}
	}
	if len(late) > times/2 {
		t.Errorf("%d of %d answers are late or missing: %q", len(late), times, late)
	}
}

// One sentinel that is frozen, and the connections to it, cost nothing.
func TestASilentSentinelIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	names := func([]string) *string {
		reply := "*2\r\n$9\r\n127.0.0.1\r\n$1\r\n1\r\n"
		return &reply
	}
	one, _ := fakeServer(t, names)
	two, _ := fakeServer(t, names)
	three, open := fakeServer(t, silent)
	r := newRedis(t, RedisConfig{URL: "redis+sentinel://" + one + "," + two + "," + three + "/main"})
	s := r.topology.(*sentinels)
	mostly(t, 20, func() (bool, any) {
		got, _ := s.master(t.Context())
		return got == "127.0.0.1:1", got
	})
	// One that go-redis had dialed before nobody waited any more may lie in its pool.
	eventually(t, "the silent one's connections are closed, but for one", func() bool { return open.Load() <= 1 })
	for _, sentinel := range s.list {
		_ = sentinel.Close()
	}
}

func TestAFrozenNodeOfAClusterIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	well, _ := fakeServer(t, func(args []string) *string {
		reply := "-ERR unknown command\r\n"
		switch args[len(args)-1] {
		case "info":
			reply = "$18\r\ncluster_state:ok\r\n\r\n"
		case "slots":
			reply = "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:1\r\n"
		}
		return &reply
	})
	frozen, open := fakeServer(t, silent)
	r := newRedis(t, RedisConfig{URL: "redis+cluster://" + well + "," + frozen})
	c := r.topology.(*cluster)
	mostly(t, 5, func() (bool, any) {
		v, _ := c.discover(t.Context())
		return v != nil && v.ok, v
	})
	eventually(t, "the frozen one's connections are closed", func() bool { return open.Load() <= 1 })
	for _, client := range c.clients {
		_ = client.Close()
	}
}

func TestANodeSaysWhoServesTheSlots(t *testing.T) {
	node := func(host any, port any) any { return []any{host, port, "id"} }
	v := &view{addr: "10.0.0.1:7000"}
	for _, c := range []struct {
		part any
		want string
	}{
		{[]any{int64(0), int64(9), node("10.0.0.2", int64(7001)), node("10.0.0.3", int64(7002))}, "{0 9 [10.0.0.2:7001 10.0.0.3:7002]}"},
		{[]any{int64(0), int64(9), node("", int64(1))}, "{0 9 [10.0.0.1:1]}"},
		{[]any{int64(0), int64(9), node(nil, int64(1))}, "{0 9 [10.0.0.1:1]}"}, // unknown-endpoint
		{[]any{int64(0), int64(9), node("?", int64(1))}, "{0 9 [10.0.0.1:1]}"}, // hostname, and it has none
		{[]any{int64(0), int64(9), node("::1", int64(1))}, "{0 9 [[::1]:1]}"},
		{[]any{int64(0), int64(9), node("host", nil), "x", nil, []any{}}, "{0 9 []}"},
		{[]any{int64(0), int64(9)}, "{0 -1 []}"},
		{[]any{"0", int64(9), node("host", int64(1))}, "{0 -1 []}"},
		{"OK", "{0 -1 []}"},
		{nil, "{0 -1 []}"},
	} {
		if got := fmt.Sprint(v.parseRange(c.part)); got != c.want {
			t.Errorf("%v: got %s, want %s", c.part, got, c.want)
		}
	}
}

// An event with a position that came on the bus would have its log read by a connection that reads none.
func TestNoEventWithAPositionComesOverTheBus(t *testing.T) {
	r := newRedis(t, RedisConfig{URL: "redis+cluster://127.0.0.1:1", History: History{{Count: 1}}})
	sink := newRecorder()
	r.delivery.sink = sink
	r.Follow("channel", 0, func(error) {})
	s := &subscriber{Redis: r, link: r.bus, bus: true}
	forged := appendEnvelope(nil, &Event{Position: Position{1, ID{5, 1}}, Before: ID{4, 9}, Number: 1, Data: []byte("1")})
	if err := s.handle(heard{signal: message, channel: r.names.attributed, payload: forged}); err != nil {
		t.Fatal(err)
	}
	if got := r.Stats().Drops["bad_envelope"]; got != 1 || len(s.doubts.channels) > 0 {
		t.Errorf("%d drops, %v in doubt", got, s.doubts.channels)
	}
}
