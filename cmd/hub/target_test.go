package main

import (
	"slices"
	"strings"
	"testing"
)

func TestSessionsAreDisconnectedAndRevokedByUserOrName(t *testing.T) {
	b := &backend{}
	url := b.start(t)
	for _, c := range []struct{ path, body string }{
		{"disconnect", `{"user":"42"}`},
		{"disconnect", `{"session":"s_2fhfmiposqy91"}`},
		{"revoke", `{"user":"é"}`},
		{"revoke", `{"session":"s_2fhfmiposqy91"}`},
		{"revoke", `{"user":"` + strings.Repeat(`\u0041`, 250) + `"}`},
		{"revoke", `{"user":"42","before":1735689600}`},
		{"revoke", `{"before":1735689600.25,"user":"42"}`},
		{"revoke", `{"session":"s_2fhfmiposqy91","before":1.7356896e9}`},
	} {
		want := "{}"
		if c.path == "disconnect" {
			want = `{"closed_here":2}`
		}
		if status, body, _ := ask(t, "POST", url+"/api/"+c.path, c.body, asJSON...); status != 200 || strings.TrimSpace(body) != want {
			t.Errorf("%s %s is answered %d %s", c.path, c.body, status, body)
		}
	}
	if want := []string{
		"disconnect {User:42 Session:}", "disconnect {User: Session:s_2fhfmiposqy91}", "revoke {User:é Session:}", "revoke {User: Session:s_2fhfmiposqy91}",
		"revoke {User:" + strings.Repeat("A", 250) + " Session:}",
		"revoke {User:42 Session:} before 2025-01-01T00:00:00Z", "revoke {User:42 Session:} before 2025-01-01T00:00:00.25Z",
		"revoke {User: Session:s_2fhfmiposqy91} before 2025-01-01T00:00:00Z",
	}; !slices.Equal(b.targets, want) {
		t.Errorf("done: %q, want %q", b.targets, want)
	}
}

func TestBadTargetsAreRefusedAndReachNobody(t *testing.T) {
	b := &backend{}
	url := b.start(t, "--api-key=0123456789abcdef")
	withKey := append([]string{"X-API-Key", "0123456789abcdef"}, asJSON...)
	for _, path := range []string{"disconnect", "revoke"} {
		for _, c := range []struct {
			body   string
			header []string
			status int
			code   string
		}{
			{`{"user":"42"}`, asJSON, 401, "unauthorized"},
			{`{"user":"42"}`, withKey[:2], 415, "unsupported_media_type"},
			{``, withKey, 400, "bad_json"},
			{`{"user":42}`, withKey, 400, "bad_json"},
			{`{"user":"42","topic":"news"}`, withKey, 400, "bad_json"},
			{`{"user":"42"} {}`, withKey, 400, "bad_json"},
			{"{\"user\":\"\xff\"}", withKey, 400, "bad_json"},
			{`{"user":"` + strings.Repeat("x", 5000) + `"}`, withKey, 413, "too_large"},
		} {
			status, body, _ := ask(t, "POST", url+"/api/"+path, c.body, c.header...)
			if code, _ := errorOf(t, body); status != c.status || code != c.code {
				t.Errorf("%s %.40s is answered %d %s", path, c.body, status, body)
			}
		}
	}
	if len(b.targets) > 0 {
		t.Errorf("done: %q", b.targets)
	}
}

func TestBeforeIsSecondsOrRefused(t *testing.T) {
	b := &backend{}
	url := b.start(t)
	for _, before := range []string{`null`, `"1735689600"`, `0`, `-1`, `1735689600000`, `1e300`, `[1]`, `{}`, `true`, `"now"`, `0.5`} {
		status, body, _ := ask(t, "POST", url+"/api/revoke", `{"user":"42","before":`+before+`}`, asJSON...)
		if code, _ := errorOf(t, body); status != 400 || code != "bad_request" || !strings.Contains(body, "before: want a number of seconds") {
			t.Errorf("%s is answered %d %s", before, status, body)
		}
	}
	for _, body := range []string{`{"user":"42","before":NaN}`, `{"user":"42","before":1,}`, `{"user":"42","befor":1}`} {
		if status, answer, _ := ask(t, "POST", url+"/api/revoke", body, asJSON...); status != 400 {
			t.Errorf("%s is answered %d %s", body, status, answer)
		}
	}
	if status, body, _ := ask(t, "POST", url+"/api/disconnect", `{"user":"42","before":1735689600}`, asJSON...); status != 400 {
		t.Errorf("disconnect is answered %d %s", status, body)
	}
	if len(b.targets) > 0 {
		t.Errorf("done: %q", b.targets)
	}
}

// FuzzBefore: whatever stands there, what is accepted is a time of this era.
func FuzzBefore(f *testing.F) {
	for _, seed := range []string{`1735689600`, `1735689600.25`, `1e9`, `null`, `"1"`, `-0`, `1e999`, `253402300799.9`, ` 1 `} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before, ok := parseBefore(text)
		if text != nil && ok && (before.Unix() < 1 || before.UTC().Year() > 9999) {
			t.Fatalf("%q is %s", text, before)
		}
	})
}

// The session itself says which targets are good.
func TestATargetThatNamesNothingIsRefused(t *testing.T) {
	h := startInside(t)
	for _, body := range []string{`{}`, `{"user":"42","session":"s_2fhfmiposqy91"}`, `{"session":"2fhfmiposqy91"}`, `{"session":"s_!"}`, `{"user":"a\u0000"}`} {
		for _, path := range []string{"disconnect", "revoke"} {
			status, answer, _ := ask(t, "POST", h.control+"/api/"+path, body, asJSON...)
			if code, _ := errorOf(t, answer); status != 400 || code != "bad_request" {
				t.Errorf("%s %s is answered %d %s", path, body, status, answer)
			}
		}
	}
}
