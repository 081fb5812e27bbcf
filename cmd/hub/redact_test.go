package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rs/zerolog"
)

func TestURLsAreShownWithoutPasswords(t *testing.T) {
	for raw, want := range map[string]string{
		"":                                "",
		"https://:hunter22@idp":           "https://:xxxxx@idp",
		"https://bob:hunter22@idp:1/2":    "https://bob:xxxxx@idp:1/2",
		"https://hunter22@idp":            "https://%2A%2A%2A@idp",
		"https://:hunter22@idp:badport":   masked,
		"https:hunter22":                  masked,
		"hunter22":                        masked,
		"https://:57#hunter22@idp:6380":   masked,
		"https://:57/hunter22@idp":        masked,
		"https://:57?hunter22@idp":        masked,
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

func TestURLsOfRedisAreShownWithoutPasswords(t *testing.T) {
	for raw, want := range map[string]string{
		"":                                "",
		"redis://localhost/0":             "redis://localhost:6379",
		"rediss://bob:hunter22@host:1/2":  "rediss://bob:xxxxx@host:1/2",
		"unix://bob:hunter22@/tmp/r.sock": "unix://bob:xxxxx@/tmp/r.sock",
		"redis+cluster://:hunter22@a,b:1": "redis+cluster://:xxxxx@a:6379,b:1",
		"redis+sentinel://:hunter22@a/m?sentinel_user=u&sentinel_password=hunter22": "redis+sentinel://:xxxxx@a:26379/m/0?sentinel_user=u&sentinel_password=xxxxx",
		"redis://hunter22@localhost":     masked,
		"redis://:hunter22@host:badport": masked,
		"redis:hunter22":                 masked,
		"hunter22":                       masked,
		"redis://:57#hunter22@host:6380": masked,
	} {
		if got := maskRedis(raw); got != want {
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
	torn := []string{
		"://:57#Wc9secret@host:6380", "://:57/Wc9secret@host:6380", "://:57?Wc9secret@host:6380", "://user:57#Wc9secret@host:6380/0", "://host:6380/0#Wc9secret",
		"://host:6380/0?x=Wc9secret#more", "://:Wc9 secret@host", "://:Wc9\\secret@host", "://:Wc9%zzsecret@host", "://:Wc9[secret@host",
	}
	for scheme, flag := range map[string]string{"https": "jwks-url", "redis": "redis-url", "rediss+cluster": "redis-url", "redis+sentinel": "redis-url", "unix": "redis-url"} {
		rests := torn
		if flag == "redis-url" {
			rests = append(slices.Clone(torn), "://Wc9secret@host", "://host/0?Wc9secret", "://host/m?sentinel_password=a&wc9secret=1@", "://host/m?sentinel_password=a&wc9secret=1",
				"://u:Wc9secret@a,u:Wc9secret@b/m", "://:Wc9secret@host:port")
		}
		for _, rest := range rests {
			code, stdout, stderr := call(t, nil, "check", "--"+flag+"="+scheme+rest)
			lower := strings.ToLower(stdout + stderr)
			if code != 2 || !strings.Contains(stderr, "--"+flag) || strings.Contains(lower, "wc9") || strings.Contains(lower, "secret@") {
				t.Errorf("%s%s ends with %d: %s%s", scheme, rest, code, stdout, stderr)
			}
		}
	}
	for _, right := range []string{"redis://:57%23Wc9%40@host:6380", "redis://:p@ss@host", "unix:///run/redis%401.sock", "rediss://host", "redis://[::1]:6379", "redis://:6379", "redis://host"} {
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
		raws := []string{"https://:" + mark + "@host:1/0", "https://u:" + mark + "@host"}
		if !strings.ContainsAny(secret, "=&") { // names are shown
			raws = append(raws, "https://host/keys?code="+mark, "https://host/keys?"+mark)
		}
		for _, raw := range raws {
			if got := maskURL(raw); strings.Contains(got, "Wc9") {
				t.Fatalf("%q is shown as %q", raw, got)
			}
		}
		for _, raw := range []string{"redis://:" + mark + "@host:1/0", "redis+cluster://u:" + mark + "@host", "redis+sentinel://host/m?sentinel_password=" + mark} {
			if got := maskRedis(raw); strings.Contains(got, "Wc9") {
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
