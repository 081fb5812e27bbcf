package pubsub

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// The rules of README.md, in their order.
const (
	ruleOfOne = iota
	ruleOfCluster
	ruleOfSentinels
)

// rule is a rule of README.md, as the words behind ACL SETUSER hub.
func rule(t testing.TB, number int) []string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```\nACL SETUSER hub ")
	if len(blocks) != 4 {
		t.Fatalf("README.md has %d rules", len(blocks)-1)
	}
	block, _, _ := strings.Cut(blocks[1+number], "```")
	return strings.Fields(block)
}

// allow gives the servers a user with that rule.
func allow(rule []string, servers ...*redistest.Server) {
	for _, s := range servers {
		s.CLI(slices.Concat([]string{"acl", "setuser", "hub"}, rule)...)
	}
}

// asUser is url for the user of the rules.
func asUser(url string) string {
	url = strings.Replace(url, "//", "//hub:password@", 1)
	if strings.HasPrefix(url, "redis+sentinel:") {
		url += "?sentinel_user=hub&sentinel_password=password"
	}
	return url
}

// home is where a hub's Redis is, and whose user has the least rights.
type home struct {
	url     string
	rule    []string
	servers []*redistest.Server
}

// homes are one Redis of each kind.
var homes = map[string]func(testing.TB) home{
	"single": func(t testing.TB) home {
		server := redistest.Start(t)
		p := home{asUser(server.URL()), rule(t, ruleOfOne), []*redistest.Server{server}}
		allow(p.rule, p.servers...)
		return p
	},
	"sentinel": func(t testing.TB) home {
		set := redistest.StartSentinel(t)
		p := home{asUser(set.URL()), rule(t, ruleOfOne), set.Servers}
		allow(p.rule, p.servers...)
		allow(rule(t, ruleOfSentinels), set.Sentinels...)
		return p
	},
	"cluster": func(t testing.TB) home {
		set := redistest.StartCluster(t, 3, 1)
		p := home{asUser(set.URL()), rule(t, ruleOfCluster), set.Servers}
		allow(p.rule, p.servers...)
		return p
	},
}

// ofOneServer skips t in a plain run where kind is a set of servers.
func ofOneServer(t *testing.T, kind string) {
	t.Helper()
	if kind != "single" {
		drills.InProcess(t)
	}
}

func TestTheLeastRightsKeepTheContract(t *testing.T) {
	drills.InProcess(t) // any run has the contract with all rights
	t.Parallel()
	for kind, begin := range homes {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := begin(t)
			var log lines
			cfg := RedisConfig{URL: p.url, History: contractHistory, Presence: contractPresence, Log: log.logger()}
			testContract(t, func(t testing.TB) Broker { return newRedis(t, cfg) })
			cfg.Lifecycle, cfg.Prefix = contractLifecycle, "hub:life" // others have left members
			testClaims(t, func(t testing.TB) Broker { return newRedis(t, cfg) }, lifecycleContract)
			cfg.Lifecycle.Readers = true
			t.Run("a reader", func(t *testing.T) {
				r := quickly(t, cfg)
				mustChange(t, r, enter("p:read", "s_1", "7"))
				o := reads(t, r, "reader", nil)
				eventually(t, "an entry is handled", func() bool { return o.count() > 0 })
				o.stop()
			})
			t.Run("what is no part of the contract", func(t *testing.T) { besides(t, cfg) })
			for _, s := range p.servers {
				if refusals := s.CLI("acl", "log"); strings.Contains(refusals, "username") {
					t.Errorf("refused: %s", refusals)
				}
			}
			if log.contains("NOPERM") {
				t.Errorf("refused: %s", &log.text)
			}
		})
	}
}

// besides does what only Redis does: nodes tell each other things, and keep revocations and a key together.
func besides(t *testing.T, cfg RedisConfig) {
	var told, revoked, restored atomic.Int32
	held := Revocation{Subject: "user:held", At: time.Now(), Until: time.Now().Add(time.Minute)}
	cfg.OnControl = func([]byte) { told.Add(1) }
	cfg.OnRevoked = func(list []Revocation) {
		for _, v := range list {
			if v.Subject == held.Subject {
				restored.Add(1)
			} else {
				revoked.Add(1)
			}
		}
	}
	first, _ := running(t, cfg)
	cfg.HeldRevocations = func(yield func(Revocation) bool) { yield(held) }
	second, _ := running(t, cfg)
	eventually(t, "all are told", func() bool { // a node that has come a moment ago may not be
		before := told.Load()
		if err := first.Notify(t.Context(), "", []byte("news")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "one is told", func() bool { return told.Load() > before })
		return told.Load() >= before+2
	})
	for _, r := range []*Redis{first, second} {
		before := told.Load()
		if err := second.Notify(t.Context(), r.cfg.Node, []byte("news")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is told", func() bool { return told.Load() > before })
	}
	if err := first.Revoke(t.Context(), Revocation{Subject: "user:1", At: time.Now(), Until: time.Now().Add(time.Minute)}); err != nil {
		t.Error(err)
	}
	eventually(t, "all is heard", func() bool { return revoked.Load() >= 2 && restored.Load() >= 1 })
	for range 2 {
		if _, err := first.ResumeKey(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestEachRightOfTheRulesIsNeededAndNamed(t *testing.T) {
	t.Parallel()
	for kind, begin := range homes {
		t.Run(kind, func(t *testing.T) {
			ofOneServer(t, kind)
			t.Parallel()
			p := begin(t)
			cfg := RedisConfig{URL: p.url, History: keepAll, Presence: contractPresence, Lifecycle: LifecycleConfig{On: true}, OnRevoked: func([]Revocation) {}}
			if err := newRedis(t, cfg).Check(t.Context()).Err(); err != nil {
				t.Fatalf("with all of it: %v", err)
			}
			r, _ := running(t, cfg)
			words := slices.DeleteFunc(slices.Clone(p.rule), func(w string) bool { return !strings.ContainsAny(w[:1], "+&~") })
			for _, word := range drills.Sample(t, 6, words...) {
				allow(slices.DeleteFunc(slices.Clone(p.rule), func(w string) bool { return w == word }), p.servers...)
				report := newRedis(t, cfg).Check(t.Context())
				spare := word == "+info" || word == "+role"
				elsewhere := strings.HasPrefix(word, "+cluster|")
				text := fmt.Sprint(report)
				if !strings.Contains(text+" ", " "+word) || report.Err() == nil && !spare {
					t.Errorf("without %s: %v\n%s", word, report.Err(), text)
				}
				if !spare && !elsewhere {
					eventually(t, "not ready without "+word, func() bool { return strings.Contains(fmt.Sprint(r.Ready())+" ", " "+word) })
				}
				allow(p.rule, p.servers...)
				ready(t, r)
			}
		})
	}
}

// TestAllThatIsMissingIsNamedAtOnce has users with hardly any right, by Check and by a hub that runs.
func TestAllThatIsMissingIsNamedAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		rule []string
		want []string
	}{
		"pub/sub only":             {[]string{"allkeys", "allchannels", "+@pubsub"}, []string{"+ping", "+time", "+eval", "+evalsha", "+get", "+set", "+mget", "+xadd", "+zadd", "+zscan"}},
		"pub/sub, and nothing":     {[]string{"+@pubsub"}, []string{"+eval", "+get", "+xadd", "+zscan", "&hub:*", "&channel", "~hub:*"}},
		"other keys":               {[]string{"~shop:*", "&shop:*", "+@all"}, []string{"~hub:*", "&hub:*", "&channel"}},
		"no broadcast":             {[]string{"~hub:*", "&hub:*", "+@all"}, []string{"&channel"}},
		"only hears the broadcast": {[]string{"~hub:*", "&hub:*", "+@all", "(+subscribe &channel)"}, []string{"&channel"}},
		"no scripts, no lists":     {[]string{"allkeys", "allchannels", "+@all", "-eval", "-zadd", "-zscan"}, []string{"+eval", "+zadd", "+zscan"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			allow(slices.Concat([]string{"on", ">password", "resetkeys", "resetchannels", "-@all"}, c.rule), server)
			var log lines
			cfg := RedisConfig{URL: asUser(server.URL()), History: keepAll, Log: log.logger(), ProbeEvery: 20 * time.Millisecond, ProbeDeadline: 200 * time.Millisecond}
			r := newRedis(t, cfg)
			start(t, r)
			texts := map[string]func() string{
				"check": func() string { return fmt.Sprint(newRedis(t, cfg).Check(t.Context()).Err()) },
				"Ready": func() string { return fmt.Sprint(r.Ready()) },
			}
			for what, text := range texts {
				eventually(t, what, func() bool { return strings.Contains(text(), "lacks") })
				for _, word := range c.want {
					if !strings.Contains(text()+" ", " "+word+" ") && !strings.Contains(text(), " "+word+",") {
						t.Errorf("%s does not name %s: %s", what, word, text())
					}
				}
			}
			if !log.contains("the user lacks") {
				t.Error("the log does not name it")
			}
			allow(rule(t, ruleOfOne), server)
			ready(t, r)
		})
	}
}

func TestADatabaseNeedsARight(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	least := append(rule(t, ruleOfOne), "~shop:*", "&shop:*")
	allow(least, server)
	r := newRedis(t, RedisConfig{URL: asUser(server.URL()) + "/1", Prefix: "shop", History: keepAll})
	start(t, r)
	if err := trying(t, r.cfg).Err(); err == nil || !strings.Contains(err.Error(), "the user lacks +select") {
		t.Errorf("got %v", err)
	}
	eventually(t, "it is named", func() bool { return strings.Contains(fmt.Sprint(r.Ready()), "the user lacks +select") })
	allow([]string{"+select"}, server)
	if err := trying(t, r.cfg).Err(); err != nil {
		t.Error(err)
	}
	ready(t, r)
}
