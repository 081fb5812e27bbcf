package main

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wshub/engine"
	"wshub/engine/proxy"
	"wshub/pubsub"
	"wshub/pubsub/redistest/drills"
	"wshub/session"
)

// Two that are right.
const (
	secret     = "a-secret-of-32-bytes-for-the-tests"
	resumeKey1 = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
)

// bad is, for every flag, values that must be refused.
var bad = map[string][]string{
	"addr":             {"3000", "0.0.0.0", "example.com", "a b", "127.0.0.1:http", "127.0.0.1:65536", "user@127.0.0.1:3000", ":3000", "0.0.0.0:3000", "[::]:3000", "192.0.2.1:3000", "example.com:3000"},
	"port":             {"65536", "-1", "x", ""},
	"path":             {"notification", "/a?b", "/a b", "/connection/websocket", "/emulation"},
	"centrifugo-path":  {"connection", "/a?b", "/a b", "/notification", "on", "/connection/sse"},
	"tls-cert":         {"/does/not/exist", "config.go", "-----BEGIN CERTIFICATE-----"},
	"tls-key":          {"/does/not/exist", "config.go", "-----BEGIN PRIVATE KEY-----"},
	"tls-dir":          {"/does/not/exist", "testdata"},
	"tls-min":          {"1.1", "2", ""},
	"tls-client-ca":    {"/does/not/exist", "config.go", "-----BEGIN CERTIFICATE-----"},
	"tls-client-auth":  {"never", ""},
	"tls-handshakes":   {"0", "65537", "many"},
	"open":             {"maybe"},
	"trust-user-param": {"maybe"},
	"origins":          {"example.com", "https://example.com/path", "https://ex*mple.com"},
	"max-connections":  {"-1", "67108865", "60000000", "many"},
	"client-address":   {"x-real-ip", "proxy", "x-forwarded-for", "forwarded"},
	"trusted-proxies":  {"10.0.0.0/33", "proxy.example", "10.0.0.0/8,all", "fe80::1%eth0"},

	"max-connections-per-address": {"-1", "67108865", "many"},
	"handshake-rate-per-address":  {"-1", "1000001"},

	"handshake-timeout":         {"99ms", "2h", "10", "soon"},
	"heartbeat":                 {"0s", "25h", "25"},
	"message-timeout":           {"1ms", "2h", "x"},
	"max-head":                  {"4095", "65KiB", "-1", "big"},
	"compression":               {"yes", ""},
	"compression-threshold":     {"0", "65MiB", "-1"},
	"compression-window":        {"8", "16", "x"},
	"compression-except":        {"user", "*:user", "user:*=1", "a\x01*"},
	"max-message":               {"0", "65MiB", "-1", "big"},
	"max-queued":                {"1023", "257MiB", "1.5MiB"},
	"max-partial":               {"1023", "2TiB"},
	"max-backlog":               {"1023", "2TiB"},
	"send-buffer":               {"4095", "65MiB"},
	"read-buffer":               {"4095", "17MiB"},
	"pollers":                   {"65", "-1", "two"},
	"broadcast":                 {"", "a\nb", "$hub", "user:1", "hub:to", strings.Repeat("x", 256)},
	"max-topics":                {"0", "65536"},
	"max-node-topics":           {"0", "1073741825"},
	"max-sessions-per-user":     {"-1", "1048577"},
	"message-rate":              {"-1", "1000001"},
	"message-burst":             {"0", "1048577"},
	"workers":                   {"0", "1025"},
	"redis-url":                 {"localhost:6379", "http://localhost", "redis://:secret-password@host:port", "redis://host:6379/zero", "redis://host:6379:1", "redis://a:6379,b:6379", "redis://host?dial_timeout=3s", "redis://host/1", "redis+sentinel://host", "redis+cluster://host/1", "redis://host/0#1"},
	"redis-prefix":              {"hub:", "{hub}", "a b", strings.Repeat("x", 65)},
	"redis-ca":                  {"/does/not/exist", "config.go", "-----BEGIN CERTIFICATE-----"},
	"redis-cert":                {"/does/not/exist", "config.go"},
	"redis-key":                 {"/does/not/exist", "config.go"},
	"redis-wait":                {"-1", "17"},
	"redis-gather":              {"-1ms", "11ms", "1"},
	"redis-pool-size":           {"0", "1025"},
	"node":                      {"a\x01b", strings.Repeat("x", 256)},
	"control":                   {"3001", "on", "127.0.0.1:3000"},
	"pusher-app":                {"id-and-secret", "1:key", "1:key:short", "a b:key:app-secret", ":key:app-secret", "1::app-secret", strings.Repeat("x", 65) + ":key:app-secret", "1:key:app-secret\n1:other:app-secret", "1:key:app-secret\n2:key:app-secret"},
	"pusher-share":              {"1"},
	"pusher-api":                {"off", ""},
	"pusher-webhook":            {"https://example.com", "1=https://example.com", "1"},
	"pusher-subscription-count": {"maybe"},
	"api-key":                   {"too-short", "long-enough-for-a-key\ntoo-short"},
	"console-key":               {"too-short", "long-enough-for-a-key\ntoo-short"},
	"control-tls-cert":          {"/does/not/exist", "config.go", "-----BEGIN CERTIFICATE-----"},
	"control-tls-key":           {"/does/not/exist", "config.go", "-----BEGIN PRIVATE KEY-----"},
	"drain-grace":               {"-1s", "2h"},
	"drain-window":              {"-1s", "25h"},
	"memory-limit":              {"1MiB", "2TiB"},
	"history-bytes":             {"1KiB", "2TiB"},
	"gc-headroom":               {"0", "65GiB"},
	"handshake-rate":            {"-1", "1000001"},
	"history":                   {"news:*", "news:*=", "news:*=-1", "news:*=1000001", "news=10", "a*b*=10", "=10", "n*=10,", "n*=10,999ms", "n*=10,1000h", "n*=10,5m,6m", "n*=10;new*=20"},
	"replay-limit":              {"0", "100001"},
	"resume-key":                {"too-short", strings.Repeat("z", 44), resumeKey1 + "\n" + resumeKey1, resumeKey1 + "\ntoo-short"},
	"presence":                  {"room", "*:room", "room:*=5", "a\x01*", "room:*,room"},
	"presence-grace":            {"50ms", "6m", "x"},
	"presence-events-max":       {"0", "100001"},
	"default-presence":          {"a*b", "a\nb", strings.Repeat("x", 256), "room:*"},
	"lifecycle":                 {"maybe", ""},
	"lifecycle-max":             {"999", "100000001", "x"},
	"webhook":                   {"example.com", "http://example.com", "ftp://example.com", "https://user:secret-password@example.com", "https://example.com/#1", "https://example.com", "https://127.0.0.1/"},
	"webhook-secret":            {"too-short", "whsec_QUJD", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
	"webhook-retry":             {"0s", "169h", "x"},
	"webhook-events":            {"nothing", "user_online,reset,x"},
	"webhook-allow-private":     {"maybe"},
	"jwt-secret":                {"too-short", secret + "\ntoo-short", "-----BEGIN PUBLIC KEY-----.................."},
	"jwt-key":                   {"/does/not/exist", "config.go"},
	"jwks-url":                  {"example.com", "http://example.com/keys", "https://user:secret-password@example.com", "ftp://example.com", "https://example.com/keys#1"},
	"jwt-aud":                   {"hub"},
	"jwt-iss":                   {"issuer"},
	"jwt-skew":                  {"-1s", "11m", "x"},
	"auth-grace":                {"0s", "2h"},
	"default-subscribe":         {"a*b", "a\nb", strings.Repeat("x", 256)},
	"default-publish":           {"a*b", "a\nb", strings.Repeat("x", 256)},
	"log-level":                 {"loud", ""},
	"log-format":                {"xml"},
	"trace-user":                {"a\nb", strings.Repeat("x", 251), strings.Repeat("x,", 17)},
}

func TestEveryBadFlagIsNamedWithExitCode2(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	for _, f := range parsed(t, nil).flags {
		if f.Group != nil && bad[f.Name] == nil {
			t.Errorf("no bad value is tried for --%s", f.Name)
		}
	}
	for flag, values := range bad {
		for _, v := range values {
			for _, command := range []string{"run", "check"} {
				code, _, stderr := call(t, nil, command, "--"+flag+"="+v)
				if code != 2 || !strings.Contains(stderr, "--"+flag) {
					t.Errorf("%s --%s=%q ends with %d: %s", command, flag, v, code, stderr)
				}
			}
		}
	}
}

func TestEveryBadVariableIsNamedWithItsFlag(t *testing.T) {
	tried := 0
	for flag, values := range bad {
		v := values[len(values)-1]
		if v == "" {
			continue // an empty variable counts as none
		}
		if tried++; tried > 20 && drills.IsPlain(t) { // which has some of them, others each time
			break
		}
		name := "HUB_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
		code, _, stderr := call(t, map[string]string{name: v}, "check")
		if code != 2 || !strings.Contains(stderr, "--"+flag) || !strings.Contains(stderr, name) {
			t.Errorf("%s=%q ends with %d: %s", name, v, code, stderr)
		}
	}
}

func TestOfSeveralBadVariablesEachIsNamed(t *testing.T) {
	env := map[string]string{"HUB_PATH": "a", "HUB_BROADCAST": "$b", "HUB_NODE": "n\x01", "HUB_WORKERS": "0", "HUB_DEFAULT_PUBLISH": "a*b"}
	_, _, stderr := call(t, env, "check")
	for name := range env {
		flag := "--" + strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, "HUB_")), "_", "-")
		found := false
		for line := range strings.Lines(stderr) {
			found = found || strings.Contains(line, flag) && strings.Contains(line, "(from "+name+")") && strings.Count(line, "(from ") == 1
		}
		if !found {
			t.Errorf("no line with %s and %s in\n%s", flag, name, stderr)
		}
	}
}

func TestABadSettingThatOthersNeedIsNamedOnce(t *testing.T) {
	if _, _, stderr := call(t, nil, "check", "--pusher-app=foo"); strings.Count(stderr, "want id:key:secret") != 1 {
		t.Error(stderr)
	}
}

func TestWhatIsNoSettingIsRefused(t *testing.T) {
	for _, args := range [][]string{{"--pollars=2"}, {"walk"}, {"run", "fast"}, {"--pollers"}, {"--connect"}} {
		if code, _, stderr := call(t, nil, args...); code != 2 || stderr == "" {
			t.Errorf("%q ends with %d: %s", args, code, stderr)
		}
	}
}

func TestSettingsComeFromFlagThenVariableThenDefault(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		args []string
		addr string
	}{
		{nil, nil, "127.0.0.1:3000"},
		{map[string]string{"WS_PORT": "4000"}, nil, "127.0.0.1:4000"},
		{map[string]string{"WS_PORT": ""}, nil, "127.0.0.1:3000"},
		{map[string]string{"WS_PORT": "4000", "HUB_PORT": "5000"}, nil, "127.0.0.1:5000"},
		{map[string]string{"WS_PORT": "4000"}, []string{"--port=6000"}, "127.0.0.1:6000"},
		{map[string]string{"WS_PORT": "4000", "HUB_ADDR": "[::1]:7000"}, nil, "[::1]:7000"},
		{map[string]string{"HUB_ADDR": "[::1]:7000"}, []string{"check", "--addr", "localhost:8000"}, "localhost:8000"},
		{map[string]string{"HUB_ADDR": ":7000", "HUB_OPEN": "true"}, nil, ":7000"},
		{map[string]string{"WS_PORT": "4000", "HUB_ADDR": "0.0.0.0", "HUB_OPEN": "true"}, nil, "0.0.0.0:4000"},
		{map[string]string{"HUB_ADDR": "0.0.0.0", "HUB_OPEN": "true"}, nil, "0.0.0.0:3000"},
		{map[string]string{"HUB_ADDR": "::1"}, []string{"--port=0"}, "[::1]:0"},
		{nil, []string{"--addr=[::1]", "--port=9"}, "[::1]:9"},
		{nil, []string{"--addr=localhost"}, "localhost:3000"},
	} {
		if got := parsed(t, c.env, c.args...).cfg.Addr; got != c.addr {
			t.Errorf("%v %q listens on %s, want %s", c.env, c.args, got, c.addr)
		}
	}
}

func TestSettingsOfEachKindAreRead(t *testing.T) {
	c := parsed(t, map[string]string{
		"REDIS_URL": "redis://localhost:6379/2", "HUB_API_KEY": "0123456789abcdef\nfedcba9876543210", "HUB_MAX_MESSAGE": "1MB",
		"HUB_HEARTBEAT": "1m30s", "HUB_OPEN": "yes", "HUB_ORIGINS": "https://a.example,https://*.b.example", "HUB_WORKERS": "9", "HUB_REDIS_PREFIX": "shop:eu", "HUB_REDIS_WAIT": "1", "HUB_REDIS_GATHER": "2ms",
	}).cfg
	switch {
	case c.RedisURL != "redis://localhost:6379/2", c.RedisPrefix != "shop:eu", c.RedisWait != 1, c.RedisGather != 2*time.Millisecond, len(c.APIKey) != 2, c.APIKey[1] != "fedcba9876543210", c.MaxMessage != 1e6,
		c.Heartbeat != 90*time.Second, !c.Open, !slices.Equal(c.Origins, []string{"https://a.example", "https://*.b.example"}), c.Workers != 9:
		t.Errorf("read %+v", c)
	}
}

func TestAnOpenHubIsNotPublicUnlessMeant(t *testing.T) {
	code, _, stderr := call(t, nil, "check", "--addr=0.0.0.0:3000")
	if code != 2 || !strings.Contains(stderr, "--open") {
		t.Errorf("ends with %d: %s", code, stderr)
	}
	if code, _, stderr := call(t, nil, "check", "--addr=0.0.0.0:3000", "--open"); code != 0 {
		t.Errorf("with --open ends with %d: %s", code, stderr)
	}
}

func TestUserParamIsBelievedOnLoopbackOrWhenTold(t *testing.T) {
	for _, c := range []struct {
		args []string
		want bool
	}{
		{nil, true},
		{[]string{"--addr=0.0.0.0:3000", "--open"}, false},
		{[]string{"--addr=0.0.0.0:3000", "--open", "--trust-user-param"}, true},
		{[]string{"--jwt-secret=" + secret}, false},
	} {
		if got := sessionOf(t, c.args...).TrustUserParam; got != c.want {
			t.Errorf("%q: %v, want %v", c.args, got, c.want)
		}
	}
}

func TestEachSettingReachesItsPackage(t *testing.T) {
	c := parsed(t, nil, "--addr=localhost:1234", "--path=/x", "--centrifugo-path=/c", "--origins=https://a.example", "--pollers=3", "--max-connections=4", "--read-buffer=5000",
		"--send-buffer=6000", "--max-message=7", "--max-queued=8KiB", "--max-partial=9KiB", "--max-backlog=10KiB", "--heartbeat=11s",
		"--handshake-timeout=12s", "--message-timeout=13s", "--node=n14", "--broadcast=b15", "--workers=16", "--max-topics=17", "--max-node-topics=18",
		"--message-rate=19", "--message-burst=20", "--max-sessions-per-user=21", "--history=a*=22,23m;*=24", "--replay-limit=25",
		"--handshake-rate=26", "--auth-grace=27s", "--max-head=28KiB", "--presence-grace=29s", "--client-address=forwarded", "--trusted-proxies=10.0.0.0/8,::1",
		"--max-connections-per-address=30", "--handshake-rate-per-address=31", "--tls-handshakes=400", "--lifecycle=on", "--lifecycle-max=3000", "--compression=on", "--compression-threshold=30", "--compression-window=11").cfg
	origins, err := engine.ParseOrigins([]string{"https://a.example"})
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.engine(zerolog.Nop())
	if !reflect.DeepEqual(e.Pages, []engine.Page{hubJS}) {
		t.Error("the engine does not get hub.js")
	}
	e.Pages = nil // too much to print
	if want := (engine.Config{
		Addr: "localhost:1234", Paths: []string{"/x", "/c"}, HTTPPaths: []string{"/connection/sse", "/connection/http_stream", "/emulation", "/x"}, Origins: origins, Pollers: 3, MaxConnections: 4, ReadBuffer: 5000, SendBuffer: 6000, MaxMessage: 7,
		MaxQueued: 8 << 10, MaxPartial: 9 << 10, MaxBacklog: 10 << 10, Heartbeat: 11 * time.Second, HandshakeTimeout: 12 * time.Second,
		MessageTimeout: 13 * time.Second, MaxHead: 28 << 10, MaxTLSHandshakes: 400, MaxTLSHandshakesPerAddr: 100, Deflate: 11, Log: zerolog.Nop(),
		ClientAddress: proxy.Forwarded, TrustedProxies: proxy.Networks{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}, MaxPerAddress: 30, AddressRate: 31,
	}); err != nil || !reflect.DeepEqual(e, want) {
		t.Errorf("the engine gets %+v, %v; want %+v", e, err, want)
	}
	history := pubsub.History{{Prefix: "a", Count: 22, Age: 23 * time.Minute}, {Count: 24}}
	got, err := c.session(zerolog.Nop())
	if want := (session.Config{
		Node: "n14", Broadcast: "b15", Workers: 16, MaxTopics: 17, MaxNodeTopics: 18, MessageRate: 19, MessageBurst: 20,
		MaxSessionsPerUser: 21, History: history, ReplayLimit: 25, HandshakeRate: 26, AuthGrace: 27 * time.Second, TrustUserParam: true, PresenceGrace: 29 * time.Second,
		Lifecycle: true, DeflateFrom: 30, Log: zerolog.Nop(),
	}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("the session gets %+v, %v; want %+v", got, err, want)
	}
	if got, want := c.lifecycle(), (pubsub.LifecycleConfig{On: true, MaxEntries: 3000}); !reflect.DeepEqual(got, want) {
		t.Errorf("the broker gets %+v, want %+v", got, want)
	}
}

// sessionOf is what args mean to the session.
func sessionOf(t *testing.T, args ...string) session.Config {
	t.Helper()
	cfg, err := parsed(t, nil, args...).cfg.session(zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestNoMessageRateMeansNoLimit(t *testing.T) {
	if got := sessionOf(t, "--message-rate=0").MessageRate; got >= 0 {
		t.Errorf("session gets a rate of %d", got)
	}
}

// The ranges of config are those of the packages below: nothing passes here and fails there.
func TestTheEnginesLimitsAreOurs(t *testing.T) {
	for _, f := range parsed(t, nil).flags {
		low, high, ok := strings.Cut(f.Tag.Get("range"), "..")
		if !ok || f.Group.Key != "Public port" || f.Name == "port" {
			continue
		}
		if f.Name == "max-connections" {
			high = low // how many there may be depends on the machine
		}
		for _, v := range []string{low, high} {
			cfg := parsed(t, nil, "--port=0", "--compression=on", "--"+f.Name+"="+v).cfg
			ec, err := cfg.engine(zerolog.Nop())
			if err != nil {
				t.Fatal(err)
			}
			s, err := engine.New(ec, nil)
			if err != nil {
				t.Errorf("--%s=%s passes, but: %v", f.Name, v, err)
				continue
			}
			s.StopAccepting()
		}
	}
}

func TestHelpListsEverySettingWithItsVariable(t *testing.T) {
	code, stdout, stderr := call(t, nil, "--help")
	if code != 0 || stderr != "" {
		t.Fatalf("ends with %d: %s", code, stderr)
	}
	for _, f := range parsed(t, nil).flags {
		for _, want := range append(envNames(f), "--"+f.Name) {
			if !strings.Contains(stdout, want) {
				t.Errorf("no %s in the help", want)
			}
		}
		if f.Help == "" {
			t.Errorf("--%s has no help", f.Name)
		}
	}
}

func TestVersionIsPrinted(t *testing.T) {
	if code, stdout, _ := call(t, nil, "version"); code != 0 || !strings.HasPrefix(stdout, "hub ") {
		t.Errorf("ends with %d: %q", code, stdout)
	}
}

func TestTheHistoryTakesNoMoreThanAQuarterOfTheMemory(t *testing.T) {
	for _, c := range []struct {
		args []string
		want byteSize
	}{
		{nil, 256 << 20},
		{[]string{"--memory-limit", "4GiB"}, 256 << 20},
		{[]string{"--memory-limit", "512MiB"}, 128 << 20},
		{[]string{"--memory-limit", "512MiB", "--history-bytes", "200MiB"}, 200 << 20},
	} {
		if got := parsed(t, nil, c.args...).cfg.HistoryBytes; got != c.want {
			t.Errorf("%q: %s, want %s", c.args, got, c.want)
		}
	}
}
