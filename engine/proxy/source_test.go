package proxy

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// trusted are the proxies of these tests; near is the one that the hub sees.
var (
	trusted = Networks{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}
	near    = netip.MustParseAddr("10.0.0.1")
)

func TestTheClientIsTheFirstFromTheRightThatIsNoProxy(t *testing.T) {
	for _, c := range []struct {
		source Source
		lines  []string
		want   string
	}{
		{XForwardedFor, nil, "10.0.0.1"},
		{XForwardedFor, []string{""}, "10.0.0.1"},
		{XForwardedFor, []string{"192.0.2.1"}, "192.0.2.1"},
		{XForwardedFor, []string{"6.6.6.6, 192.0.2.1"}, "192.0.2.1"},
		{XForwardedFor, []string{"6.6.6.6,192.0.2.1,10.0.0.3 ,\t10.0.0.2"}, "192.0.2.1"},
		{XForwardedFor, []string{"6.6.6.6", "192.0.2.1, 10.9.9.9"}, "192.0.2.1"},
		{XForwardedFor, []string{"192.0.2.1", "10.9.9.9", ""}, "192.0.2.1"},
		{XForwardedFor, []string{"192.0.2.1, , 10.9.9.9,,"}, "192.0.2.1"},
		{XForwardedFor, []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"}, // a client in the proxies' own network
		{XForwardedFor, []string{"192.0.2.1:4711"}, "192.0.2.1"},
		{XForwardedFor, []string{"2001:db8::1"}, "2001:db8::1"},
		{XForwardedFor, []string{"[2001:db8::1]"}, "2001:db8::1"},
		{XForwardedFor, []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		{XForwardedFor, []string{"2001:db8::1, 2001:db8:1::5"}, "2001:db8::1"},
		{XForwardedFor, []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		{XForwardedFor, []string{"192.0.2.1, ::ffff:10.0.0.7"}, "192.0.2.1"},
		// An entry that is no address ends the search: the client has the address of the last proxy.
		{XForwardedFor, []string{"192.0.2.1, unknown, 10.0.0.2"}, "10.0.0.2"},
		{XForwardedFor, []string{"192.0.2.1, unknown"}, "10.0.0.1"},
		{XForwardedFor, []string{"192.0.2.1 10.0.0.2"}, "10.0.0.1"},
		{XForwardedFor, []string{"192.0.2.1:"}, "10.0.0.1"},
		{XForwardedFor, []string{"192.0.2.1:123456"}, "10.0.0.1"},
		{XForwardedFor, []string{"[192.0.2.1]"}, "10.0.0.1"},
		{XForwardedFor, []string{"[2001:db8::1]x"}, "10.0.0.1"},
		{XForwardedFor, []string{"[2001:db8::1"}, "10.0.0.1"},
		{XForwardedFor, []string{"fe80::1%eth0"}, "10.0.0.1"},
		{XForwardedFor, []string{"192.0.2.01"}, "10.0.0.1"},
		{XForwardedFor, []string{"192.0.2.256"}, "10.0.0.1"},
		{XForwardedFor, []string{strings.Repeat("10.0.0.2,", 1000)}, "10.0.0.2"},
		{XForwardedFor, []string{"192.0.2.1" + strings.Repeat(",10.0.0.2", maxHops)}, "10.0.0.2"},
		{XForwardedFor, []string{"192.0.2.1" + strings.Repeat(",10.0.0.2", maxHops-1)}, "192.0.2.1"},

		{Forwarded, nil, "10.0.0.1"},
		{Forwarded, []string{"for=192.0.2.1"}, "192.0.2.1"},
		{Forwarded, []string{"For=192.0.2.1;proto=https;by=203.0.113.43"}, "192.0.2.1"},
		{Forwarded, []string{"by=203.0.113.43 ; FOR=192.0.2.1"}, "192.0.2.1"},
		{Forwarded, []string{"for=6.6.6.6, for=192.0.2.1, for=10.0.0.2"}, "192.0.2.1"},
		{Forwarded, []string{"for=6.6.6.6", "for=192.0.2.1", "for=10.0.0.2"}, "192.0.2.1"},
		{Forwarded, []string{`for="192.0.2.1:4711"`}, "192.0.2.1"},
		{Forwarded, []string{`for="[2001:db8::1]"`}, "2001:db8::1"},
		{Forwarded, []string{`for="[2001:db8::1]:4711";host="a,b;c"`}, "2001:db8::1"},
		{Forwarded, []string{`for=192.0.2.1:_port`}, "192.0.2.1"},
		{Forwarded, []string{`host="\"", for=192.0.2.1;host="a\\"`}, "192.0.2.1"},
		{Forwarded, []string{`for="6.6.6.6, for=192.0.2.1`}, "192.0.2.1"}, // half a quoted string hides nothing
		{Forwarded, []string{`host="\, for=192.0.2.1`}, "192.0.2.1"},
		{Forwarded, []string{`for=192.0.2.1;`}, "192.0.2.1"},
		{Forwarded, []string{"for=192.0.2.1, for=unknown"}, "10.0.0.1"},
		{Forwarded, []string{"for=192.0.2.1, for=_hidden, for=10.0.0.2"}, "10.0.0.2"},
		{Forwarded, []string{"for=192.0.2.1, proto=https"}, "10.0.0.1"},
		{Forwarded, []string{"for=192.0.2.1;for=192.0.2.2"}, "10.0.0.1"},
		{Forwarded, []string{"for=;for=192.0.2.2"}, "10.0.0.1"},
		{Forwarded, []string{"192.0.2.1"}, "10.0.0.1"},
		{Forwarded, []string{`for="192.0.2.1`}, "10.0.0.1"},
		{Forwarded, []string{`for="192.0.2\.1"`}, "10.0.0.1"},
		{Forwarded, []string{`for= 192.0.2.1`}, "10.0.0.1"},

		{Socket, []string{"192.0.2.1"}, "10.0.0.1"},
		{Protocol, []string{"192.0.2.1"}, "10.0.0.1"},
	} {
		header := http.Header{"X-Forwarded-For": c.lines}
		if c.source == Forwarded {
			header = http.Header{"Forwarded": c.lines}
		}
		if got := c.source.Client(near, header, trusted); got.String() != c.want {
			t.Errorf("%s %.100q: %s, want %s", c.source, c.lines, got, c.want)
		}
	}
}

func TestOnlyProxiesOfTheListAreBelieved(t *testing.T) {
	header := http.Header{"X-Forwarded-For": {"192.0.2.1"}, "Forwarded": {"for=192.0.2.1"}}
	for _, source := range []Source{XForwardedFor, Forwarded} {
		for _, peer := range []netip.Addr{netip.MustParseAddr("11.0.0.1"), netip.MustParseAddr("::1"), {}} {
			if got := source.Client(peer, header, trusted); got != peer {
				t.Errorf("%s of %s: %s", source, peer, got)
			}
		}
		if got := source.Client(netip.MustParseAddr("10.1.2.3"), header, nil); got.String() != "10.1.2.3" {
			t.Errorf("%s without proxies: %s", source, got)
		}
	}
}

// Whatever a client sends, the address that the proxy behind it appends is the one that counts.
func FuzzForwardedFields(f *testing.F) {
	for _, s := range []string{"", "6.6.6.6", "10.0.0.2", `for="`, `for="\`, `for=6.6.6.6;host="a,b`, ",,,", "unknown", `"\"\\",`, `for="[::1]:1", by=`, "[", "]", ":", "[::1%25]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sent string) {
		for _, c := range []struct {
			source         Source
			field, appends string
		}{{XForwardedFor, "X-Forwarded-For", "203.0.113.9"}, {Forwarded, "Forwarded", `host="x";for="203.0.113.9:80"`}} {
			for _, lines := range [][]string{{sent + ", " + c.appends}, {sent, c.appends}, {sent + "," + c.appends + ", " + strings.ReplaceAll(c.appends, "203.0.113.9", "10.0.0.2")}} {
				if got := c.source.Client(near, http.Header{c.field: lines}, trusted); got.String() != "203.0.113.9" {
					t.Errorf("%s of %q: %s", c.source, lines, got)
				}
			}
			got := c.source.Client(near, http.Header{c.field: {sent}}, trusted)
			if !got.IsValid() || got.Zone() != "" || got.Is4In6() {
				t.Errorf("%s of %q: %s", c.source, sent, got)
			}
		}
	})
}

func TestNetworksAreRead(t *testing.T) {
	for _, c := range []struct{ text, in, out string }{
		{"10.0.0.0/8", "10.255.0.1", "11.0.0.1"},
		{"10.1.2.3/8", "10.9.9.9", "11.0.0.1"},
		{"192.0.2.7", "192.0.2.7", "192.0.2.8"},
		{"192.0.2.7", "::ffff:192.0.2.7", "::192.0.2.7"},
		{"2001:db8::/32", "2001:db8:1::1", "2001:db9::1"},
		{"::1", "::1", "::2"},
		{"::ffff:10.0.0.0/104", "10.0.0.1", "11.0.0.1"},
		{"::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2"},
	} {
		n, err := ParseNetworks([]string{c.text})
		if err != nil || !n.Contains(netip.MustParseAddr(c.in)) || n.Contains(netip.MustParseAddr(c.out)) {
			t.Errorf("%s: %v, %v", c.text, n, err)
		}
	}
	for _, text := range []string{"", "10.0.0.0/33", "10.0.0", "example.com", "10.0.0.0/-1", "fe80::1%eth0", "::ffff:10.0.0.0/8", "10.0.0.0/8/8"} {
		if n, err := ParseNetworks([]string{text}); err == nil {
			t.Errorf("%q is read as %v", text, n)
		}
	}
	if _, err := ParseNetworks(make([]string, maxNetworks+1)); err == nil {
		t.Error("any number is read")
	}
	for text, all := range map[string]bool{"0.0.0.0/0": true, "::/0": true, "0.0.0.0/1": false} {
		if n, err := ParseNetworks([]string{"192.0.2.7", text}); err != nil || n.Everyone() != all {
			t.Errorf("%s: %v, everyone: %v", text, err, n.Everyone())
		}
	}
}

func TestSourcesHaveNames(t *testing.T) {
	for s := range Source(len(sourceNames)) {
		if got, err := ParseSource(s.String()); err != nil || got != s {
			t.Errorf("%s: %s, %v", s, got, err)
		}
	}
	if _, err := ParseSource("x-real-ip"); err == nil {
		t.Error("any name is read")
	}
}
