package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rs/zerolog"
)

func TestURLsAreShownWithoutPasswords(t *testing.T) {
	for raw, want := range map[string]string{
		"":                                "",
		"redis://localhost:6379/0":        "redis://localhost:6379/0",
		"redis://:hunter22@localhost":     "redis://:xxxxx@localhost",
		"rediss://bob:hunter22@host:1/2":  "rediss://bob:xxxxx@host:1/2",
		"redis://hunter22@localhost":      "redis://%2A%2A%2A@localhost",
		"redis://:hunter22@host:badport":  masked,
		"redis:hunter22":                  masked,
		"hunter22":                        masked,
		"unix://bob:hunter22@/tmp/r.sock": "unix://bob:xxxxx@/tmp/r.sock",
	} {
		if got := maskURL(raw); got != want {
			t.Errorf("%s is shown as %s, want %s", raw, got, want)
		}
	}
}

// A secret is taken out in each form in which it can come into a log line.
func TestNoSecretReachesALog(t *testing.T) {
	const password, key = `p@ss"w\rd<é/`, "0123456789abcdefghij"
	var out bytes.Buffer
	r := newRedactor(password, key, "", "short")
	log := zerolog.New(r.writer(&out))
	log.Info().Str("field", "x"+password+"y").Msg(key)
	quoted, _ := json.Marshal(password)
	log.Info().RawJSON("raw", quoted).Str("url", "redis://:p%40ss%22w%5Crd%3C%C3%A9%2F@host").Msg("a short word stays")
	for _, secret := range []string{password, key, "p@ss", "p%40ss"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q is in the log:\n%s", secret, &out)
		}
	}
	if got := strings.Count(out.String(), masked); got != 4 {
		t.Errorf("%d secrets were masked, want 4:\n%s", got, &out)
	}
	if !strings.Contains(out.String(), "a short word stays") {
		t.Errorf("too much was taken out:\n%s", &out)
	}
	for line := range strings.Lines(out.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON any more: %s", line)
		}
	}
}

func FuzzRedactedTextHoldsNoSecret(f *testing.F) {
	f.Add("secret", "a secret here", "secre")
	f.Fuzz(func(t *testing.T, secret, before, after string) {
		if len(secret) < leastSecret || strings.Contains(masked, secret) || !utf8.ValidString(secret) {
			return
		}
		var out bytes.Buffer
		log := zerolog.New(newRedactor(secret).writer(&out))
		log.Info().Str("f", before+secret+after).Send()
		var line struct{ F string }
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Skip() // a secret that looks like JSON's own words takes them out
		}
		if !strings.Contains(before+masked+after, secret) && strings.Contains(line.F, secret) {
			t.Fatalf("%q is in %q", secret, line.F)
		}
	})
}

func TestASecretThatIsNotUTF8IsRefused(t *testing.T) {
	code, _, stderr := call(t, nil, "check", "--redis-url=redis://:%A3%A3secret@127.0.0.1:1")
	if code != 2 || !strings.Contains(stderr, "not UTF-8") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
