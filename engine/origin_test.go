package engine

import (
	"slices"
	"strings"
	"testing"
)

func TestOriginIsTheHostsOwnOrLoopbackOrListed(t *testing.T) {
	listed, err := ParseOrigins(tableOrigins)
	if err != nil {
		t.Fatal(err)
	}
	all, err := ParseOrigins([]string{"*"})
	if err != nil {
		t.Fatal(err)
	}
	const host = "hub.example.com"
	for _, c := range []struct {
		origin, host     string
		byDefault, inUse bool // without a list; with tableOrigins
	}{
		{"", host, true, true},
		{"https://hub.example.com", host, true, true},
		{"http://hub.example.com", host, true, true},
		{"HTTPS://Hub.Example.COM", host, true, true},
		{"https://hub.example.com", "HUB.example.com", true, true},
		{"https://hub.example.com:443", host, true, true},
		{"https://hub.example.com", "hub.example.com:443", true, true},
		{"http://hub.example.com", "hub.example.com:80", true, true},
		{"http://hub.example.com:3000", "hub.example.com:3000", true, true},
		{"http://[2001:db8::1]:3000", "[2001:db8::1]:3000", true, true},
		{"http://hub.example.com:3001", "hub.example.com:3000", false, false},
		{"http://hub.example.com", "hub.example.com:3000", false, false},
		{"https://sub.hub.example.com", host, false, false},
		{"https://example.com", host, false, false},
		{"ftp://hub.example.com", host, false, false},
		{"hub.example.com", host, false, false},
		{"https://hub.example.com/", host, false, false},
		{"https://hub.example.com@evil.example", host, false, false},
		{"https://hub.example.com evil.example", host, false, false},
		{"null", host, false, false},
		{"://", host, false, false},
		{"http://", host, false, false},

		{"http://localhost", host, true, true},
		{"http://localhost:5173", host, true, true},
		{"https://LOCALHOST:5173", host, true, true},
		{"http://127.0.0.1:8080", host, true, true},
		{"http://127.9.9.9", host, true, true},
		{"http://[::1]:8080", host, true, true},
		{"http://[::1]", host, true, true},
		{"http://localhost.evil.example", host, false, false},
		{"http://localhost:80.evil.example", host, false, false},
		{"http://evil-localhost", host, false, false},
		{"http://127.0.0.1.evil.example", host, false, false},
		{"http://128.0.0.1", host, false, false},
		{"http://[::2]", host, false, false},
		{"http://[::1", host, false, false},
		{"http://[::1]evil.example", host, false, false},
		{"http://localhost:99999", host, false, false},
		{"file://localhost", host, false, false},

		{"https://app.example.com", host, false, true},
		{"https://APP.example.com:443", host, false, true},
		{"http://app.example.com", host, false, false},
		{"https://app.example.com:8443", host, false, false},
		{"https://app.example.com.evil.example", host, false, false},
		{"https://x.app.example.com", host, false, false},
		{"https://a.wild.example", host, false, true},
		{"https://a.b.wild.example", host, false, true},
		{"https://wild.example", host, false, false},
		{"https://.wild.example", host, false, false},
		{"https://evilwild.example", host, false, false},
		{"http://a.wild.example", host, false, false},
		{"https://a.wild.example:8443", host, false, false},
		{"https://evil.example/.wild.example", host, false, false},
		{"https://evil.example?.wild.example", host, false, false},
		{"https://\u212A.wild.example", host, false, false},
		{"http://port.example:8080", host, false, true},
		{"http://port.example", host, false, false},
		{"capacitor://localhost", host, false, true},
	} {
		if got := (*Origins)(nil).allow(c.origin, c.host); got != c.byDefault {
			t.Errorf("%q at %q without a list: %v", c.origin, c.host, got)
		}
		if got := listed.allow(c.origin, c.host); got != c.inUse {
			t.Errorf("%q at %q with the list: %v", c.origin, c.host, got)
		}
		if !all.allow(c.origin, c.host) {
			t.Errorf("%q at %q refused in spite of *", c.origin, c.host)
		}
	}
}

// Pages without a host are let in by their names only, each by its own, and by *.
func TestPagesWithoutAHostAreLetInByName(t *testing.T) {
	parse := func(list ...string) *Origins {
		o, err := ParseOrigins(list)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	null, file := parse("null"), parse("https://app.example", " file:// ")
	both, all := parse("FILE://", "Null"), parse("*")
	others := parse("https://*.example", "https://null", "file://localhost", "capacitor://localhost")
	for _, c := range []struct {
		origin string
		by     []*Origins
	}{
		{"null", []*Origins{null, both, all}},
		{"file://", []*Origins{file, both, all}},
		{"FILE://", []*Origins{file, both, all}},
		{"file:///", []*Origins{all}},
		{"file:///etc/page.html", []*Origins{all}},
		{"file://x", []*Origins{all}},
		{"null.example", []*Origins{all}},
		{"nullfile://", []*Origins{all}},
		{"https://null", []*Origins{others, all}},
		{"file://localhost", []*Origins{others, all}},
	} {
		for i, o := range []*Origins{nil, {}, null, file, both, all, others} {
			if got := o.allow(c.origin, "hub.example.com"); got != slices.Contains(c.by, o) {
				t.Errorf("%q by list %d: %v", c.origin, i, got)
			}
		}
	}
}

func TestBadOriginsAreNamed(t *testing.T) {
	for _, bad := range []string{
		"", "example.com", "https://", "https://example.com/", "https://example.com/chat", "https://u@example.com",
		"https://exa mple.com", "https://*", "https://*.*.example.com", "https://a.*.example.com", "https://*example.com",
		"*.example.com", "*://example.com", "https://example.com:99999", "https://example.com:*", "https://bücher.example", "https://[::1",
		"file:///", "file://*", "file:", "nul", "null://", "null,file://",
	} {
		_, err := ParseOrigins([]string{"https://fine.example", bad})
		if err == nil {
			t.Errorf("%q is taken", bad)
		} else if !strings.Contains(err.Error(), `"`+bad+`"`) {
			t.Errorf("%q: the error does not name it: %v", bad, err)
		}
	}
}
