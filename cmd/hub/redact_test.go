package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
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
		"redis://:57#hunter22@host:6380":  masked,
		"redis://:57/hunter22@host":       masked,
		"redis://:57?hunter22@host":       masked,
		"redis://host/0?client_name=me":   "redis://host/0?client_name=***",
		"https://idp/keys?code=hunter22":  "https://idp/keys?code=***",
		"https://idp/keys?a=&hunter22&b=": "https://idp/keys?a=***&***&b=***",
		"https://idp/keys?code=%zz":       "https://idp/keys?code=***",
		"https://idp/keys":                "https://idp/keys",
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

// A character of a password that ends it there makes another URL of it: "57" is then a port of this machine.
func TestATornURLIsRefusedAndNothingOfItPrinted(t *testing.T) {
	for _, flag := range []string{"redis-url", "jwks-url"} {
		scheme := map[string]string{"redis-url": "redis", "jwks-url": "https"}[flag]
		for _, rest := range []string{
			"://:57#Wc9secret@host:6380", "://:57/Wc9secret@host:6380", "://:57?Wc9secret@host:6380", "://user:57#Wc9secret@host:6380/0", "://host:6380/0#Wc9secret",
			"://host:6380/0?x=Wc9secret#more", "://:Wc9 secret@host", "://:Wc9\\secret@host", "://:Wc9%zzsecret@host", "://:Wc9[secret@host",
		} {
			code, stdout, stderr := call(t, nil, "check", "--"+flag+"="+scheme+rest)
			if code != 2 || !strings.Contains(stderr, "--"+flag) || strings.Contains(stdout+stderr, "Wc9") || strings.Contains(stdout+stderr, "secret@") {
				t.Errorf("%s%s ends with %d: %s%s", scheme, rest, code, stdout, stderr)
			}
		}
	}
	for _, right := range []string{"redis://:57%23Wc9%40@host:6380", "redis://:p@ss@host", "unix:///run/redis%401.sock?db=2", "rediss://host/1?dial_timeout=3s", "redis://[::1]:6379", "redis://:6379", "redis://host"} {
		if code, _, stderr := call(t, nil, "check", "--redis-url="+right); code != 0 {
			t.Errorf("%s ends with %d: %s", right, code, stderr)
		}
	}
}

func TestAKeySetsURLIsShownWithoutItsQuery(t *testing.T) {
	const key = "s3cr3t-code/+"
	raw := "https://127.0.0.1:1/keys?v=1&code=" + url.QueryEscape(key)
	code, stdout, stderr := call(t, map[string]string{"HUB_JWKS_URL": raw}, "check")
	if code != 0 || strings.Contains(stdout+stderr, "s3cr3t") || !strings.Contains(stdout, "https://127.0.0.1:1/keys?v=***&code=***") {
		t.Errorf("ends with %d: %s%s", code, stdout, stderr)
	}
	var out bytes.Buffer
	s := parsed(t, map[string]string{"HUB_JWKS_URL": raw})
	log, _ := newLogger(s.cfg, &out)
	log.Warn().Str("url", raw).Msg("Get " + key)
	err := newRedactor(s.cfg.secrets()...).error(usageError{fmt.Errorf("fetch %s: %w", raw, io.ErrUnexpectedEOF)})
	if strings.Contains(out.String()+err.Error(), "s3cr3t") {
		t.Errorf("%s%v", &out, err)
	}
	if exitCode(err) != 2 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%#v is another error than before", err)
	}
}

func FuzzMaskedURLsHoldNoSecret(f *testing.F) {
	f.Add("p@ss#w/rd?")
	f.Add("[%")
	f.Fuzz(func(t *testing.T, secret string) {
		mark := "Wc9" + secret + "Wc9"
		raws := []string{"redis://:" + mark + "@host:1/0", "redis://u:" + mark + "@host"}
		if !strings.ContainsAny(secret, "=&") { // names are shown
			raws = append(raws, "https://host/keys?code="+mark, "https://host/keys?"+mark)
		}
		for _, raw := range raws {
			if got := maskURL(raw); strings.Contains(got, "Wc9") {
				t.Fatalf("%q is shown as %q", raw, got)
			}
		}
	})
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
