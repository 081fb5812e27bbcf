package redistest

import (
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// An Option says how the servers of a set are run.
type Option func(*options)

type options struct {
	proxied bool
	args    []string
}

// Proxied puts a proxy before each server of the set, see Server.Proxy. The servers announce the proxies'
// addresses, so these are what clients are sent to. Replicas and sentinels go through them too, but they fail for
// clients only; the cluster's bus and Move.Keys pass by them.
func Proxied() Option { return func(o *options) { o.proxied = true } }

// Args are arguments for the set's Servers. They come last on the command line.
func Args(args ...string) Option { return func(o *options) { o.args = append(o.args, args...) } }

func read(list []Option) (o options) {
	for _, option := range list {
		option(&o)
	}
	return o
}

// proxied gives s its proxy.
func (s *Server) proxied() {
	s.Proxy = NewProxy(s.t, s.Addr())
	s.args = append(s.args, "--bind-source-addr", peersIP,
		"--replica-announce-ip", "127.0.0.1", "--replica-announce-port", s.publicPort())
}

// quick has a replica acknowledge its first sync within 2 s where nothing is written.
var quick = []string{"--repl-ping-replica-period", "1"}

// public is the address that clients and the other servers of its set know s by.
func (s *Server) public() string {
	if s.Proxy != nil {
		return s.Proxy.Addr()
	}
	return s.Addr()
}

func (s *Server) publicPort() string {
	_, port, _ := net.SplitHostPort(s.public())
	return port
}

func publics(servers []*Server) string {
	list := make([]string, len(servers))
	for i, s := range servers {
		list[i] = s.public()
	}
	return strings.Join(list, ",")
}

// startAll starts servers side by side.
func startAll(t testing.TB, servers ...*Server) {
	t.Helper()
	var all errgroup.Group
	for _, s := range servers {
		all.Go(s.start)
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
}

// until calls find until nothing is missing. After limit the test fails and names the last missing thing.
func until(t testing.TB, limit time.Duration, find func() (missing string)) {
	t.Helper()
	late := time.Now().Add(limit)
	for {
		missing := find()
		if missing == "" {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("after %s: %s", limit, missing)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
