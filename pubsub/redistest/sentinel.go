package redistest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// mainName is how the sentinels know the master.
const mainName = "main"

// failover is how long a set of servers may take to agree on something. A failover takes 2 to 5 s; the first
// election of sentinels may fail, and the next comes after 6 s.
const failover = 40 * time.Second

// SentinelSet is a master, two replicas and three sentinels, two of which must agree that the master is down. That
// takes them a good second.
//
// A server that is killed and restarted is what it was last: the sentinels have servers note that. Its data are
// gone, also a master's that comes back before it was missed: its replicas then throw theirs away. A master that
// was replaced becomes a replica some 5 s after its Restart: the sentinels ping, ask and tell more often than they
// usually do.
type SentinelSet struct {
	// Servers hold the data. The first one begins as the master.
	Servers   []*Server
	Sentinels []*Server

	t testing.TB
}

// StartSentinel starts a set, and returns when all of it is ready for a failover. See Start.
func StartSentinel(t testing.TB, list ...Option) *SentinelSet {
	t.Helper()
	o := read(list)
	set := &SentinelSet{t: t}
	for range 3 {
		set.Servers = append(set.Servers, newServer(t, quick...))
		set.Sentinels = append(set.Sentinels, newServer(t))
	}
	for i, s := range set.Servers {
		if o.proxied {
			s.proxied()
		}
		conf := ""
		if i > 0 {
			conf = "replicaof 127.0.0.1 " + set.Servers[0].publicPort()
		}
		s.configure(conf)
		s.args = append(s.args, o.args...)
	}
	for _, s := range set.Sentinels {
		if o.proxied {
			s.proxied()
		}
		s.watch(set.Servers[0])
	}
	startAll(t, set.Servers[0]) // first: a replica that finds nobody tries again after a second
	startAll(t, slices.Concat(set.Servers[1:], set.Sentinels)...)
	set.WaitHealthy()
	return set
}

// configure gives s a file to begin with, in which sentinels have it note its role.
func (s *Server) configure(text string) {
	s.t.Helper()
	file := filepath.Join(s.dir, "server.conf")
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.args = append([]string{file}, s.args...)
}

// watch makes s a sentinel.
func (s *Server) watch(master *Server) {
	s.t.Helper()
	s.configure(fmt.Sprintf(`sentinel monitor %[1]s 127.0.0.1 %[2]s 2
sentinel down-after-milliseconds %[1]s 1000
sentinel failover-timeout %[1]s 3000
sentinel parallel-syncs %[1]s 1
sentinel announce-ip 127.0.0.1
sentinel announce-port %[3]s`, mainName, master.publicPort(), s.publicPort()))
	s.args = append(s.args, "--sentinel")
	s.ready = "Sentinel ID is"
	s.begin = func() error {
		// How often it pings, asks servers for their state and tells others of itself, instead of 1 s, 10 s and
		// 2 s; how long it does nothing after it was frozen, instead of 30 s. It does not ping a new master for one
		// period: with one of 1 s it would take that for 1 s of silence, and replace it.
		_, err := s.ask(wait, "sentinel", "debug", "ping-period", "200", "info-period", "500", "publish-period", "300",
			"tilt-period", "1000")
		return err
	}
}

// URL is the set's REDIS_URL.
func (set *SentinelSet) URL() string {
	return "redis+sentinel://" + publics(set.Sentinels) + "/" + mainName
}

// Master is the server that most of the sentinels call the master, whatever it says itself.
func (set *SentinelSet) Master() *Server {
	set.t.Helper()
	var master *Server
	until(set.t, failover, func() string {
		master = set.named()
		return need(master != nil, "the sentinels do not agree on a master")
	})
	return master
}

// WaitMaster waits until most of the sentinels call another server the master, and it says so too.
func (set *SentinelSet) WaitMaster(not *Server) *Server {
	set.t.Helper()
	var master *Server
	until(set.t, failover, func() string {
		master = set.named()
		return need(master != nil && master != not && master.isMaster(), "no other master")
	})
	return master
}

// Failover has the sentinels make a replica the master, though nothing is wrong. It does not wait for that, see
// WaitMaster.
func (set *SentinelSet) Failover() {
	set.t.Helper()
	until(set.t, failover, func() (missing string) {
		for _, s := range set.Sentinels {
			_, err := s.ask(glance, "sentinel", "failover", mainName)
			if err == nil {
				return ""
			}
			missing = "no sentinel begins a failover: " + err.Error() // not before the last one is over, say
		}
		return missing
	})
}

// WaitHealthy waits until every sentinel sees the master, both replicas and the other sentinels up and well. No
// server may be killed or frozen.
func (set *SentinelSet) WaitHealthy() {
	set.t.Helper()
	until(set.t, failover, func() string {
		master := set.named()
		if master == nil || !master.isMaster() {
			return "no master"
		}
		for _, s := range set.Servers {
			if s != master && !s.isReplicaOf(master) {
				return s.public() + " is no replica of " + master.public()
			}
		}
		for _, s := range set.Sentinels {
			if missing := s.misses(); missing != "" {
				return "sentinel " + s.public() + ": " + missing
			}
		}
		return ""
	})
}

// named is the server that most of the sentinels call the master, nil if there is none.
func (set *SentinelSet) named() *Server {
	votes := map[string]int{}
	for _, s := range set.Sentinels {
		reply, _ := s.ask(glance, "sentinel", "get-master-addr-by-name", mainName)
		if addr, _ := reply.([]any); len(addr) == 2 {
			votes[fmt.Sprintf("%v:%v", addr...)]++
		}
	}
	for _, s := range set.Servers {
		if votes[s.public()] > len(set.Sentinels)/2 {
			return s
		}
	}
	return nil
}

// misses says who, in the eyes of the sentinel s, is not there or not well.
func (s *Server) misses() string {
	reply, err := s.ask(glance, "sentinel", "master", mainName)
	if err != nil {
		return err.Error()
	}
	master := fields(reply)
	if master["flags"] != "master" || master["num-slaves"] != "2" || master["num-other-sentinels"] != "2" {
		return fmt.Sprintf("master %s with %s replicas and %s other sentinels", master["flags"], master["num-slaves"], master["num-other-sentinels"])
	}
	for _, others := range []struct{ command, flags, link string }{
		{"replicas", "slave", "ok"},
		{"sentinels", "sentinel", ""},
	} {
		reply, _ := s.ask(glance, "sentinel", others.command, mainName)
		list, _ := reply.([]any)
		if len(list) != 2 {
			return "no " + others.command
		}
		for _, one := range list {
			if seen := fields(one); seen["flags"] != others.flags || seen["master-link-status"] != others.link {
				return fmt.Sprintf("%s is %s, link %q", seen["name"], seen["flags"], seen["master-link-status"])
			}
		}
	}
	return ""
}

// need is what is missing unless ok.
func need(ok bool, missing string) string {
	if ok {
		return ""
	}
	return missing
}
