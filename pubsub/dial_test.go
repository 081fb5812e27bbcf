package pubsub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"wshub/pubsub/redistest"
)

// oneConnection is a client of the server at addr, over TLS unless cfg is nil.
type oneConnection struct {
	*redis.Client
	last net.Conn
}

func newOneConnection(t *testing.T, addr string, cfg *tls.Config) *oneConnection {
	one, dial := &oneConnection{}, answered(dialWith(cfg))
	one.Client = redis.NewClient(&redis.Options{
		Addr: addr, Protocol: 2, MaxRetries: -1, DialerRetries: 1, PoolSize: 1, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			one.last = conn
			return conn, err
		},
	})
	t.Cleanup(func() { _ = one.Close() })
	return one
}

func (o *oneConnection) mustPublish(t *testing.T) {
	t.Helper()
	if err := o.Publish(t.Context(), "channel", "1").Err(); err != nil {
		t.Fatal(err)
	}
}

// waitForEnd waits until there is something to read on the idle connection.
func (o *oneConnection) waitForEnd(t *testing.T) {
	t.Helper()
	_ = o.last.SetReadDeadline(time.Now().Add(patience))
	socket := o.last
	if over, ok := socket.(interface{ NetConn() net.Conn }); ok {
		socket = over.NetConn()
	}
	raw, err := socket.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return err != syscall.EAGAIN
	})
	if err != nil {
		t.Fatalf("the connection is not closed: %v", err)
	}
}

func TestTheFirstPublicationAfterAPauseGoesToALiveConnection(t *testing.T) {
	t.Parallel()
	const turns = 20
	server := redistest.StartTLS(t, "--timeout", "1")
	secured := server.Client(t)
	older := secured.Clone()
	older.MaxVersion = tls.VersionTLS12
	for _, way := range []struct {
		name, addr string
		cfg        *tls.Config
	}{{"plain", server.Addr(), nil}, {"TLS 1.3", server.TLSAddr(), secured}, {"TLS 1.2", server.TLSAddr(), older}} {
		t.Run("the server closes, "+way.name, func(t *testing.T) {
			t.Parallel()
			var clients []*oneConnection
			for range turns {
				clients = append(clients, newOneConnection(t, way.addr, way.cfg))
				clients[len(clients)-1].mustPublish(t)
			}
			for _, client := range clients {
				client.waitForEnd(t)
				client.mustPublish(t)
			}
		})
	}
	lasting := redistest.StartTLS(t)
	for _, way := range []struct {
		name, addr string
		cfg        *tls.Config
	}{{"plain", lasting.Addr(), nil}, {"TLS", lasting.TLSAddr(), lasting.Client(t)}} {
		proxy := redistest.NewProxy(t, way.addr)
		for name, end := range map[string]func(){"hangs up": proxy.HangUp, "resets": proxy.Reset} {
			t.Run("a proxy "+name+", "+way.name, func(t *testing.T) {
				client := newOneConnection(t, proxy.Addr(), way.cfg)
				for range turns {
					client.mustPublish(t)
					end()
					client.waitForEnd(t)
				}
				client.mustPublish(t)
			})
		}
	}
}

// Session tickets, which TLS sends behind a handshake, are no reason to drop a connection.
func TestALiveConnectionIsUsedAgain(t *testing.T) {
	server := redistest.StartTLS(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := server.Client(t)
		cfg.MinVersion, cfg.MaxVersion = version, version
		client := newOneConnection(t, server.TLSAddr(), cfg)
		for range 20 {
			client.mustPublish(t)
		}
		if s := client.PoolStats(); s.Misses != 1 || s.StaleConns != 0 {
			t.Errorf("%s: %d connections were made, %d dropped", tls.VersionName(version), s.Misses, s.StaleConns)
		}
	}
}

func TestWhatIsWrongWithACertificateIsTold(t *testing.T) {
	t.Parallel()
	server := redistest.StartTLS(t)
	older := server.Client(t)
	older.MaxVersion = tls.VersionTLS12
	none, stranger, right := server.Client(t), server.Client(t), server.Client(t)
	none.Certificates = nil
	older.Certificates = nil
	stranger.RootCAs = x509.NewCertPool() // the system's are read at the first handshake, which takes seconds under the race detector
	right.ServerName = "another host"
	for _, c := range []struct {
		addr  string
		cfg   *tls.Config
		times int
		want  string // "" for no error
	}{
		{server.TLSAddr(), nil, 20, "did not take the connection"},
		{server.Addr(), server.Client(t), 1, "TLS handshake: "}, // redis waits for the end of a line
		{server.TLSAddr(), stranger, 20, "unknown authority"},
		{server.TLSAddr(), none, 20, "certificate required"},
		{server.TLSAddr(), older, 20, "handshake failure"},
		{server.TLSAddr(), right, 1, ""},
	} {
		for range c.times {
			conn, err := answered(dialWith(c.cfg))(t.Context(), "tcp", c.addr)
			if err == nil {
				_ = conn.Close()
			}
			before := (*unsent)(nil)
			if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || !errors.As(err, &before)) {
				t.Errorf("%v; want %q", err, c.want)
			}
		}
	}
}

func TestABrokerSpeaksTLS(t *testing.T) {
	server := redistest.StartTLS(t)
	r, sink := running(t, RedisConfig{URL: server.TLSURL(), TLS: server.Client(t), History: History{{Count: 10}}})
	mustFollow(t, r, "news", 0)
	mustPublish(t, r, "news", "1")
	if got := sink.event(t, "news"); got != "1" {
		t.Errorf("got %s", got)
	}
}
