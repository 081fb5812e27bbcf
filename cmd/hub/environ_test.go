package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// injected is what Kubernetes gives each pod of a namespace with services named hub, hub-api and ws.
var injected = map[string]string{
	"HUB_SERVICE_HOST": "10.96.0.12", "HUB_SERVICE_PORT": "80", "HUB_SERVICE_PORT_PUBLIC": "80",
	"HUB_PORT": "tcp://10.96.0.12:80", "HUB_PORT_80_TCP": "tcp://10.96.0.12:80", "HUB_PORT_80_TCP_PROTO": "tcp",
	"HUB_PORT_80_TCP_PORT": "80", "HUB_PORT_80_TCP_ADDR": "10.96.0.12",
	"HUB_API_SERVICE_HOST": "10.96.0.13", "HUB_API_SERVICE_PORT": "53", "HUB_API_PORT": "udp://10.96.0.13:53", "HUB_API_PORT_53_UDP": "udp://10.96.0.13:53",
	"WS_SERVICE_HOST": "10.96.0.14", "WS_PORT": "tcp://10.96.0.14:80", "WS_PORT_80_TCP": "tcp://10.96.0.14:80",
}

func with(env map[string]string, more ...string) map[string]string {
	all := map[string]string{}
	for name, value := range env {
		all[name] = value
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

func TestTheAddressOfAServiceIsNoSetting(t *testing.T) {
	code, stdout, stderr := call(t, injected, "check")
	if code != 0 || stderr != "" {
		t.Fatalf("ends with %d: %s", code, stderr)
	}
	for _, want := range []string{"--port 3000 default", "HUB_PORT is ignored", "WS_PORT is ignored"} {
		if !strings.Contains(strings.Join(strings.Fields(stdout), " "), want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "10.96.0.") {
		t.Errorf("a value is shown:\n%s", stdout)
	}
	for _, c := range []struct {
		env  map[string]string
		addr string
	}{
		{with(injected, "WS_PORT", "4000"), "127.0.0.1:4000"}, // the other name still counts
		{with(injected, "HUB_PORT", "4000"), "127.0.0.1:4000"},
		{with(injected, "HUB_ADDR", "127.0.0.1:5000"), "127.0.0.1:5000"},
	} {
		if got := parsed(t, c.env).cfg.Addr; got != c.addr {
			t.Errorf("listens on %s, want %s", got, c.addr)
		}
	}
}

func TestAVariableThatIsNoSettingIsNamedWithTheNearestOne(t *testing.T) {
	for name, nearest := range map[string]string{
		"HUB_JWT_SECERT": "HUB_JWT_SECRET", "HUB_JWTSECRET": "HUB_JWT_SECRET", "HUB_SECRET": "HUB_JWT_SECRET", "HUB_APIKEY": "HUB_API_KEY",
		"HUB_API_KEYS": "HUB_API_KEY", "HUB_REDIS": "HUB_REDIS_URL", "HUB_MAX_CONNECTION": "HUB_MAX_CONNECTIONS", "HUB_JWKS": "HUB_JWKS_URL",
		"HUB_API_KEY_FIEL": "HUB_API_KEY_FILE", "HUB_LOGLEVEL": "HUB_LOG_LEVEL", "HUB_ORIGIN": "HUB_ORIGINS", "HUB_XYZZY": "",
	} {
		env := map[string]string{name: "value-that-may-be-secret"}
		code, _, stderr := call(t, env, "check")
		if code != 2 || !strings.Contains(stderr, name+" is no setting") || strings.Contains(stderr, "value-that") ||
			strings.Contains(stderr, "did you mean") != (nearest != "") || !strings.Contains(stderr, nearest) {
			t.Errorf("%s ends with %d: %s; want %q", name, code, stderr, nearest)
		}
		if notes := strings.Join(parsed(t, env).notes(), "\n"); !strings.Contains(notes, name) || strings.Contains(notes, "value-that") {
			t.Errorf("the start says of %s: %s", name, notes)
		}
	}
}

func TestAVariableOfAServiceIsPassedOverInItsFormOnly(t *testing.T) {
	for _, c := range []struct{ name, value string }{
		{"HUB_SERVICE_HOST", "10.96.0.12"}, {"HUB_SERVICE_HOST", "fd00::12"}, {"HUB_SERVICE_PORT", "80"}, {"HUB_SERVICE_PORT_HTTP_API", "65535"},
		{"HUB_API_PORT", "tcp://10.96.0.12:80"}, {"HUB_API_PORT", "sctp://[fd00::12]:80"}, {"HUB_PORT_80_TCP", "tcp://10.96.0.12:80"}, {"HUB_PORT_53_UDP", "udp://10.96.0.12:53"},
		{"HUB_PORT_80_TCP_PROTO", "tcp"}, {"HUB_PORT_80_TCP_PORT", "80"}, {"HUB_PORT_80_TCP_ADDR", "10.96.0.12"},
	} {
		if got := parsed(t, map[string]string{c.name: c.value}).env.unknown(parsed(t, nil).flags); len(got) != 0 {
			t.Errorf("%s=%s: %q", c.name, c.value, got)
		}
	}
	for _, c := range []struct{ name, value string }{
		{"HUB_SERVICE_HOST", "hub.example"}, {"HUB_SERVICE_HOST", "10.96.0.12:80"}, {"HUB_SERVICE_PORT", "http"}, {"HUB_SERVICE_PORT", "tcp://10.96.0.12:80"}, {"HUB_SERVICE_PORT_API", "70000"},
		{"HUB_API_PORT", "4000"}, {"HUB_API_PORT", "http://10.96.0.12:80"}, {"HUB_API_PORT", "tcp://10.96.0.12"}, {"HUB_API_PORT", "tcp://:80"}, {"HUB_PORT_80_TCP", "80"},
		{"HUB_PORT_80_TCP_PROTO", "http"}, {"HUB_PORT_80_TCP_PORT", "0"}, {"HUB_PORT_80_TCP_ADDR", "hub"}, {"HUB_PORT_TCP", "tcp://10.96.0.12:80"},
	} {
		if got := strings.Join(parsed(t, map[string]string{c.name: c.value}).env.unknown(parsed(t, nil).flags), "\n"); !strings.HasPrefix(got, c.name+" is no setting") {
			t.Errorf("%s=%s: %q", c.name, c.value, got)
		}
	}
	for _, value := range []string{"tcp://10.96.0.12", "http://10.96.0.12:80", "80 "} {
		if code, _, stderr := call(t, map[string]string{"HUB_PORT": value}, "check"); (code != 2 || !strings.Contains(stderr, "HUB_PORT")) != (value == "80 ") {
			t.Errorf("HUB_PORT=%s ends with %d: %s", value, code, stderr)
		}
	}
}

func TestAVariableThatIsNoSettingIsWarnedOfAtTheStart(t *testing.T) {
	env := map[string]string{"HUB_JWT_SECERT": secret, "HUB_PORT": "tcp://10.96.0.12:80", "HUB_LOG_FORMAT": "json"}
	code, _, stderr := call(t, env, "run", "--addr=127.0.0.1:0", "--control=off")
	if code != 0 || strings.Contains(stderr, secret) {
		t.Fatalf("ends with %d: %s", code, stderr)
	}
	warned := map[string]bool{}
	for line := range strings.Lines(stderr) {
		var l struct{ Level, Message string }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		name, _, _ := strings.Cut(l.Message, " ")
		warned[name] = warned[name] || l.Level == "warn"
	}
	if !warned["HUB_JWT_SECERT"] || !warned["HUB_PORT"] {
		t.Errorf("warned of %v:\n%s", warned, stderr)
	}
	// Where the hub can't start without what was misspelled, the error has both.
	code, _, stderr = call(t, env, "run", "--addr=0.0.0.0:3000")
	if code != 2 || !strings.Contains(stderr, "--open") || !strings.Contains(stderr, "did you mean HUB_JWT_SECRET?") {
		t.Errorf("ends with %d: %s", code, stderr)
	}
}

func TestAnEmptySecretIsNamed(t *testing.T) {
	for _, empty := range []string{"", " \n"} {
		notes := strings.Join(parsed(t, map[string]string{"HUB_API_KEY": empty}).notes(), "\n")
		if !strings.Contains(notes, "HUB_API_KEY is set and empty") {
			t.Errorf("%q: %s", empty, notes)
		}
	}
	if code, _, stderr := call(t, map[string]string{"HUB_NO_SUCH": "", "HUB_ORIGINS": ""}, "check"); code != 0 {
		t.Errorf("empty variables that are no secrets end with %d: %s", code, stderr)
	}
}

func TestBlanksAroundValuesAreNotMeant(t *testing.T) {
	c := parsed(t, map[string]string{
		"HUB_JWT_SECRET": secret + "\n", "HUB_API_KEY": "0123456789abcdef\r\n\r\n fedcba9876543210 \n", "HUB_RESUME_KEY": resumeKey1 + "\n",
		"REDIS_URL": " redis://localhost:6379\n", "HUB_ORIGINS": "https://a.example, https://b.example ,", "HUB_HISTORY": "news:*=10 ; *=20\n",
		"HUB_HEARTBEAT": "1m\n", "HUB_WORKERS": " 9\r", "HUB_OPEN": "true\n", "HUB_DEFAULT_SUBSCRIBE": "a:*, b:*", "HUB_LOG_LEVEL": "warn\n", "HUB_MAX_MESSAGE": "1KiB \n",
	}).cfg
	for what, got := range map[string][]string{
		secret: c.JWTSecret, "0123456789abcdef|fedcba9876543210": c.APIKey, resumeKey1: c.ResumeKey, "redis://localhost:6379": {c.RedisURL},
		"https://a.example|https://b.example": c.Origins, "news:*=10|*=20": c.History, "a:*|b:*": c.DefaultSubscribe, "warn": {c.LogLevel},
	} {
		if strings.Join(got, "|") != what {
			t.Errorf("read %q, want %q", got, what)
		}
	}
	if c.Workers != 9 || !c.Open || c.MaxMessage != 1024 || c.Heartbeat.String() != "1m0s" {
		t.Errorf("read %+v", c)
	}
}

// A passphrase may hold commas: split, its first part alone would be accepted.
func TestSecretsAreNeverSplitAtCommas(t *testing.T) {
	const passphrase = `correct, horse, battery\, staple, and so on and on`
	for _, args := range [][]string{nil, {"--jwt-secret=" + passphrase, "--api-key=" + passphrase}} {
		env := map[string]string{"HUB_JWT_SECRET": passphrase, "HUB_API_KEY": passphrase}
		if args != nil {
			env = nil
		}
		c := parsed(t, env, args...).cfg
		if len(c.JWTSecret) != 1 || c.JWTSecret[0] != passphrase || len(c.APIKey) != 1 || c.APIKey[0] != passphrase {
			t.Errorf("read %q and %q", c.JWTSecret, c.APIKey)
		}
	}
	s := parsed(t, nil, "--api-key=0123456789abcdef", "--api-key=fedcba9876543210")
	if len(s.cfg.APIKey) != 2 {
		t.Errorf("read %q from repeated flags", s.cfg.APIKey)
	}
	// Whoever meant several is told.
	notes := strings.Join(parsed(t, map[string]string{"HUB_API_KEY": "0123456789abcdef,fedcba9876543210"}).notes(), "\n")
	if !strings.Contains(notes, "--api-key (HUB_API_KEY): value 1 holds a comma") || strings.Contains(notes, "0123456789") {
		t.Error(notes)
	}
	if code, _, stderr := call(t, map[string]string{"HUB_RESUME_KEY": resumeKey1 + "," + resumeKey1}, "check"); code != 2 || !strings.Contains(stderr, "one a line") {
		t.Errorf("two resume keys with a comma end with %d: %s", code, stderr)
	}
}

func TestKeysInTheWrongPlaceAreNotPrinted(t *testing.T) {
	const pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIKsecretsecret\n-----END PRIVATE KEY-----\n"
	for name, value := range map[string]string{"HUB_JWT_KEY": pem, "HUB_JWT_SECRET": pem, "HUB_API_KEY": pem} {
		code, stdout, stderr := call(t, map[string]string{name: value}, "check")
		if code != 2 || !strings.Contains(stderr, name) || !strings.Contains(stderr, "PEM") || strings.Contains(stdout+stderr, "secretsecret") {
			t.Errorf("%s ends with %d: %s%s", name, code, stdout, stderr)
		}
	}
	for _, command := range [][]string{{"check"}, {"run"}, {"token", "--sub=1"}} {
		code, stdout, stderr := call(t, map[string]string{"HUB_JWT_KEY": secret}, command...)
		if code != 2 || !strings.Contains(stderr, "--jwt-key") || strings.Contains(stdout+stderr, secret) {
			t.Errorf("%s ends with %d: %s%s", command, code, stdout, stderr)
		}
	}
}

func TestDistanceCountsChanges(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "abc", 0}, {"abc", "", 3}, {"", "abc", 3}, {"abc", "abd", 1}, {"abc", "acb", 1}, {"abc", "bc", 1}, {"bc", "abc", 1}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q to %q takes %d changes, want %d", c.a, c.b, got, c.want)
		}
	}
}
