package pubsub

import (
	"errors"
	"net"
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
	if _, err := newFeed(conn, 100).role(); !errors.Is(err, errRefused) || !isPermission(err) {
		t.Fatal(err)
	}
	if !conn.read.IsZero() {
		t.Error("the connection ends in 2 s")
	}
}
