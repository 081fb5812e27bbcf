package fleet

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNamesAndTheirIndexesFit(t *testing.T) {
	const clients = 25
	for _, topology := range []Topology{
		{Topic: "news"}, {Topic: "channel", Default: true, Users: true},
		{Topic: "room", Topics: 10}, {Topic: "room", Topics: 1}, {Users: true}, {Users: true, SignedIn: true},
	} {
		for i := range topology.Number(clients) {
			if got := topology.index(topology.Name(i)); got != i {
				t.Errorf("%+v: topic %d %q has index %d", topology, i, topology.Name(i), got)
			}
			if topology.Of(i) != i {
				t.Errorf("%+v: client %d does not follow topic %d", topology, i, i)
			}
		}
		for _, name := range []string{"", "other", "room-10", "room-01", "room--1", "user:u", "user:u01", "user:x"} {
			if got := topology.index(name); got != -1 {
				t.Errorf("%+v: %q has index %d", topology, name, got)
			}
		}
	}
}

func TestAHistogramSurvivesJSON(t *testing.T) {
	h := NewHist()
	for i := range int64(1000) {
		h.Record(i * 1e6)
	}
	b, err := json.Marshal(Report{Latency: h})
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	if r.Latency.Count() != 1000 || r.Latency.At(99) != h.At(99) || r.Latency.Max() != h.Max() {
		t.Errorf("count %d, p99 %s, max %s", r.Latency.Count(), r.Latency.At(99), r.Latency.Max())
	}
}

func TestHistogramsTakeAnyDuration(t *testing.T) {
	h := NewHist()
	h.Record(-5)
	h.Record(int64(24 * time.Hour))
	if h.Count() != 2 || h.Max() < 9*time.Minute {
		t.Errorf("count %d, max %s", h.Count(), h.Max())
	}
}

func TestReportsAddUp(t *testing.T) {
	a := Report{Counts: Counts{Open: 1, Lost: 2, Closes: map[string]uint64{"1006": 1}}, Sent: []uint64{3, 0}}
	h := NewHist()
	h.Record(1e6)
	a.add(Report{Counts: Counts{Open: 4, Lost: 5, Closes: map[string]uint64{"1006": 2, "1012": 1}}, Sent: []uint64{0, 7, 9}, Latency: h, Behind: 2})
	if a.Counts.Open != 5 || a.Counts.Lost != 7 || a.Counts.Closes["1006"] != 3 || a.Counts.Closes["1012"] != 1 {
		t.Errorf("counts %+v", a.Counts)
	}
	if len(a.Sent) != 3 || a.Sent[0] != 3 || a.Sent[1] != 7 || a.Sent[2] != 9 || a.Latency.Count() != 1 || a.Behind != 2 {
		t.Errorf("report %+v", a)
	}
}

func TestPacesAreEvenAndForgetNothing(t *testing.T) {
	p := NewPace(1e9, 4)
	var got []int64
	for now := int64(0); now <= 3e9; now += 1e9 { // looks once a second
		for {
			at, due := p.Take(now)
			if !due {
				break
			}
			got = append(got, at)
		}
	}
	if len(got) != 9 {
		t.Fatalf("%d moments in 2 s at 4 a second, both ends included", len(got))
	}
	for i, at := range got {
		if want := 1e9 + int64(i)*25e7; at != want {
			t.Errorf("moment %d at %d, want %d", i, at, want)
		}
	}
}

func TestTargetsAreCheckedBeforeDialing(t *testing.T) {
	good := Config{URL: "ws://127.0.0.1:3000/notification", Protocol: "plain", Clients: 20_000}
	addr, err := good.Resolve()
	if err != nil || addr != netip.MustParseAddrPort("127.0.0.1:3000") {
		t.Fatalf("%v, %v", addr, err)
	}
	for want, change := range map[string]func(*Config){
		"--ca":    func(c *Config) { c.URL, c.CA = "wss://127.0.0.1/", "/does/not/exist" },
		"PEM":     func(c *Config) { c.URL, c.CA = "wss://127.0.0.1/", "config.go" },
		"want ws": func(c *Config) { c.URL = "http://127.0.0.1/" },
		"url":     func(c *Config) { c.URL = "ws://[::1" },
		"one of":  func(c *Config) { c.Protocol = "smtp" },
		"family":  func(c *Config) { c.Sources = []netip.Addr{netip.IPv6Loopback()} },
	} {
		bad := good
		change(&bad)
		if _, err := bad.Resolve(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want something about %q", bad, err, want)
		}
	}
}

func TestClientsOnLoopbackHaveManyAddresses(t *testing.T) {
	sources := loopbackSources(1_000_000)
	seen := map[netip.Addr]bool{}
	for _, a := range sources {
		if !a.IsLoopback() || seen[a] {
			t.Fatalf("%s is not a loopback address, or was given twice", a)
		}
		seen[a] = true
	}
	if 28_000*len(sources) < 2_000_000 {
		t.Errorf("%d addresses are too few for a million clients that come and go", len(sources))
	}
}

func TestURLsNameTopicAndUser(t *testing.T) {
	for want, c := range map[string]struct {
		url, protocol string
		topology      Topology
	}{
		"/n":                     {"ws://h/n", "plain", Topology{Topic: "channel", Default: true}},
		"/n?topic=room-3":        {"ws://h/n", "plain", Topology{Topic: "room", Topics: 5}},
		"/n?user=u13":            {"ws://h/n", "plain", Topology{Users: true}},
		"/n?a=b&topic=news":      {"ws://h/n?a=b", "plain", Topology{Topic: "news"}},
		"/n?topic=in-3&user=u13": {"ws://h/n", "plain", Topology{Topic: "in", Topics: 10, Users: true}},
		"/v1":                    {"ws://h/v1", "hub.v1", Topology{Topic: "news"}},
		"/v1?user=u13":           {"ws://h/v1", "hub.v1", Topology{Topic: "news", Users: true}},
		"/c":                     {"ws://h/c", "centrifugo", Topology{Topic: "news"}},
		"/c?user=u13":            {"ws://h/c", "centrifugo-protobuf", Topology{Users: true}},

		"/app/k?client=hubbench&protocol=7": {"ws://h/app/k", "pusher", Topology{Topic: "news", Users: true, SignedIn: true}},
	} {
		cfg := Config{URL: strings.Replace(c.url, "//h", "//127.0.0.1", 1), Protocol: c.protocol}
		target, err := cfg.target()
		if err != nil {
			t.Fatal(err)
		}
		if got := target.pathOf(c.topology, 13); got != want {
			t.Errorf("%+v: %q, want %q", c.topology, got, want)
		}
	}
}

func TestTokensTakeThePlaceOfUsersInURLs(t *testing.T) {
	for name, query := range map[string]bool{"plain": true, "hub.v1": true, "centrifugo": false, "centrifugo-protobuf": false} {
		target := target{path: "/p", protocol: Protocols[name], secret: "s"}
		u, err := url.Parse(target.pathOf(Topology{Users: true}, 13))
		if err != nil {
			t.Fatal(err)
		}
		if q := u.Query(); q.Has("token") != query || q.Has("user") {
			t.Errorf("%s: %s", name, u)
		}
	}
}

func TestEachClientHasATokenOfItsOwn(t *testing.T) {
	target := target{secret: "s"}
	for _, client := range []int{0, 7} {
		parts := strings.Split(target.tokenOf(client), ".")
		claims, err := base64.RawURLEncoding.DecodeString(parts[1])
		if want := fmt.Sprintf(`"sub":"u%d"`, client); err != nil || !strings.Contains(string(claims), want) {
			t.Errorf("%s, %v: want %s", claims, err, want)
		}
	}
}

// A user's own topic is confirmed beside the one that was asked for.
func TestAClientWaitsForEachOfItsSubscriptions(t *testing.T) {
	for name, p := range Protocols {
		for _, c := range []struct {
			topology Topology
			want     uint8
		}{
			{Topology{Topic: "news"}, 1}, {Topology{Topic: "room", Topics: 5}, 1}, {Topology{Users: true}, 1}, {Topology{Topic: "news", Users: true}, 2},
		} {
			if name == "plain" {
				c.want = 0
			}
			message, n := (&target{protocol: p}).first(c.topology, 3, "")
			if n != c.want || (len(message) > 0) != (n > 0 && name != "sse" && name != "pusher") {
				t.Errorf("%s, %+v: waits for %d, want %d; sends %q", name, c.topology, n, c.want, message)
			}
		}
	}
}

func TestMessagesOfHubV1AreRead(t *testing.T) {
	for text, want := range map[string]Message{
		`{"type":"welcome","session":"s_1"}`:                                            {Kind: Other},
		`{"type":"subscribed","id":1,"topic":"news","position":"e:1","recovered":true}`: {Kind: Subscribed, Topic: "news", Position: "e:1", Recovered: true},
		`{"type":"gap","topic":"news","position":"e:9"}`:                                {Kind: Gap, Topic: "news", Position: "e:9"},
		`{"type":"goodbye","after_ms":1500,"reason":"drain"}`:                           {Kind: Goodbye, After: 1500 * time.Millisecond},
		`{"type":"error","id":2,"code":"forbidden","message":"no","retry":false}`:       {Kind: Failure, Code: "forbidden"},
		`{"type":"ok","id":2,"position":"e:3"}`:                                         {Kind: Ack, Position: "e:3"},
	} {
		all, err := hubV1{}.Parse(nil, []byte(text))
		if err != nil || len(all) != 1 {
			t.Errorf("%s: %+v, %v", text, all, err)
			continue
		}
		if got := all[0]; got.Kind != want.Kind || got.Topic != want.Topic || got.Position != want.Position ||
			got.Recovered != want.Recovered || got.After != want.After || got.Code != want.Code {
			t.Errorf("%s: %+v", text, got)
		}
	}
	for _, text := range []string{`{}`, `[]`, `{"type":1}`, `{"type":"event","topic":"news"}`, `{"type":"event","data":1}`, `{"type":`} {
		if m, err := (hubV1{}).Parse(nil, []byte(text)); err == nil {
			t.Errorf("%s was read as %+v", text, m)
		}
	}
}

func TestRequestsOfHubV1AreJSON(t *testing.T) {
	p := hubV1{}
	for _, b := range [][]byte{
		p.Subscribe(nil, `a"b`, ""), p.Subscribe(nil, "news", "e:1-0"), p.Publish(nil, 2, "news", []byte(`{"a":1}`)),
	} {
		if !json.Valid(b) {
			t.Errorf("not JSON: %s", b)
		}
	}
}

// A million clients have to fit: what one is made of is counted here, its share of the kernel's not.
func TestAClientIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(client{}); size > 48 {
		t.Errorf("a client takes %d bytes", size)
	}
}

func FuzzHubV1(f *testing.F) {
	f.Add([]byte(`{"type":"event","topic":"news","position":"e:1","data":{"a":1}}`))
	f.Add([]byte(`{"type":"goodbye","after_ms":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := hubV1{}.Parse(nil, b)
		for _, m := range all {
			if err == nil && m.Kind == Event && !json.Valid(m.Data) {
				t.Errorf("data of %q is not JSON", b)
			}
		}
	})
}
