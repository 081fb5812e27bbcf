package engine

import (
	"bufio"
	"bytes"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func parsedTableOrigins(t testing.TB) *Origins {
	o, err := ParseOrigins(tableOrigins)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// answer is what the parser makes of a whole head: the response's bytes.
func answer(p *headParser, head []byte, origins *Origins) []byte {
	r, refusal := p.parse(head, []string{tablePath}, origins)
	if refusal != nil {
		return refusal.append(nil)
	}
	return appendSwitch(nil, r.key, "", "")
}

func TestHandshakesAreAnsweredAsTheRFCSays(t *testing.T) {
	origins := parsedTableOrigins(t)
	var p headParser
	for _, c := range handshakeCases() {
		if n := headEnd([]byte(c.head)); n != len(c.head) {
			t.Errorf("%s: the head ends at %d of %d", c.name, n, len(c.head))
		}
		got := answer(&p, []byte(c.head), origins)
		assertAnswer(t, c, got)
	}
}

// assertAnswer compares an answer, from the parser or a socket, with what the case wants.
func assertAnswer(t *testing.T, c handshakeCase, got []byte) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(got)), nil)
	if err != nil {
		t.Errorf("%s: %v", c.name, err)
		return
	}
	if resp.StatusCode != c.status {
		t.Errorf("%s: %.120q, want %d", c.name, got, c.status)
	}
	if c.has != "" && !strings.Contains(string(got), "\n"+c.has) {
		t.Errorf("%s: %q lacks %q", c.name, got, c.has)
	}
	if c.status != 101 && !resp.Close {
		t.Errorf("%s: the refusal does not close", c.name)
	}
}

func TestHeadEndsAtItsFirstBlankLine(t *testing.T) {
	for _, c := range handshakeCases() {
		for i := range c.head {
			if n := headEnd([]byte(c.head[:i])); n >= 0 {
				t.Errorf("%s: ends at %d of %d with %d bytes there", c.name, n, len(c.head), i)
				break
			}
		}
		if n := headEnd([]byte(c.head + "\x81\x85frames\r\n\r\n\n\n")); n != len(c.head) {
			t.Errorf("%s: ends at %d of %d with bytes behind it", c.name, n, len(c.head))
		}
	}
}

func TestRequestKeepsWhatTheHandlerNeeds(t *testing.T) {
	var p headParser
	r, refusal := p.parse([]byte(head(
		"GET /notification?user=42 HTTP/1.1",
		"+Sec-WebSocket-Protocol: hub.v1.json,  bearer.e30.e30.c2ln",
		"+Sec-WebSocket-Protocol: other",
		"+Authorization: Bearer x",
	)), []string{tablePath}, nil)
	if refusal != nil {
		t.Fatal(refusal)
	}
	if want := []string{"hub.v1.json", "bearer.e30.e30.c2ln", "other"}; !slices.Equal(r.Subprotocols, want) {
		t.Errorf("subprotocols %q", r.Subprotocols)
	}
	if r.URL.Query().Get("user") != "42" || r.Header.Get("Authorization") != "Bearer x" || r.Host != "hub.example.com" {
		t.Errorf("got %+v", r.Request)
	}
	if got := string(appendSwitch(nil, r.key, "hub.v1.json", "")); !strings.HasSuffix(got, "\r\nSec-WebSocket-Protocol: hub.v1.json\r\n\r\n") {
		t.Errorf("answer %q", got)
	}
}

func TestRequestOutlivesTheReadBuffer(t *testing.T) {
	var p headParser
	buf := []byte(head("+Sec-WebSocket-Protocol: hub.v1.json"))
	r, refusal := p.parse(buf, []string{tablePath}, nil)
	if refusal != nil {
		t.Fatal(refusal)
	}
	for i := range buf {
		buf[i] = '#'
	}
	if r.key != "dGhlIHNhbXBsZSBub25jZQ==" || r.Subprotocols[0] != "hub.v1.json" || r.Host != "hub.example.com" {
		t.Errorf("key %q, subprotocols %q, host %q", r.key, r.Subprotocols, r.Host)
	}
}

func TestSwitchIsWrittenWithoutAllocating(t *testing.T) {
	dst := make([]byte, 0, 512)
	allocs := testing.AllocsPerRun(100, func() {
		dst = appendSwitch(dst[:0], "dGhlIHNhbXBsZSBub25jZQ==", "hub.v1.json", "")
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// FuzzHandshake checks accepted heads against the same rules written another way.
func FuzzHandshake(f *testing.F) {
	origins := parsedTableOrigins(f)
	for _, c := range handshakeCases() {
		f.Add([]byte(c.head))
	}
	var p headParser
	f.Fuzz(func(t *testing.T, b []byte) {
		n := headEnd(b)
		if n < 0 {
			if regexp.MustCompile(`\n\r?\n`).Match(b) {
				t.Fatal("the blank line was not seen")
			}
			n = len(b)
		}
		r, refusal := p.parse(b[:n], []string{tablePath}, origins)
		got := answer(&p, b[:n], origins)
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(got)), nil)
		if err != nil {
			t.Fatalf("answer %q: %v", got, err)
		}
		if refusal != nil {
			if resp.StatusCode != refusal.Status || refusal.Status < 400 {
				t.Fatalf("answer %q", got)
			}
			return
		}
		if why := broken(string(b[:n])); why != "" {
			t.Fatalf("accepted %q: %s", b[:n], why)
		}
		if len(r.Subprotocols) > maxSubprotocols {
			t.Fatalf("%d subprotocols", len(r.Subprotocols))
		}
	})
}

var (
	grammar  = regexp.MustCompile("^GET ((?:(?i:https?)://[^/?@]+)?)/notification(?:\\?[!-\"$-~]*)? HTTP/1\\.[1-9]\r\n((?:[-!#$%&'*+.^_`|~0-9A-Za-z]+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n)*)\r\n$")
	hostRule = regexp.MustCompile(`^([-._~0-9A-Za-z]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?$`)
	keyRule  = regexp.MustCompile(`^[0-9A-Za-z+/]{22}==$`)
)

// broken names a rule that an accepted head breaks.
func broken(head string) string {
	parts := grammar.FindStringSubmatch(head)
	if parts == nil {
		return "grammar"
	}
	lines := make(map[string][]string)
	for line := range strings.SplitSeq(parts[2], "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		lines[strings.ToLower(name)] = append(lines[strings.ToLower(name)], strings.Trim(value, " \t"))
	}
	one := func(name string, rule *regexp.Regexp) bool {
		return len(lines[name]) == 1 && rule.MatchString(lines[name][0])
	}
	among := func(name, token string) bool {
		return slices.ContainsFunc(strings.Split(strings.Join(lines[name], ","), ","), func(e string) bool {
			e = strings.Trim(e, " \t")
			return len(e) == len(token) && strings.ToLower(e) == token
		})
	}
	_, authority, absolute := strings.Cut(parts[1], "://")
	switch {
	case !one("host", hostRule):
		return "Host"
	case absolute && !strings.EqualFold(authority, lines["host"][0]):
		return "another host"
	case !one("sec-websocket-key", keyRule):
		return "key"
	case !one("sec-websocket-version", regexp.MustCompile("^13$")):
		return "version"
	case !among("upgrade", "websocket"), !among("connection", "upgrade"):
		return "upgrade"
	case lines["transfer-encoding"] != nil:
		return "coding"
	case lines["content-length"] != nil && !one("content-length", regexp.MustCompile("^0+$")):
		return "length"
	case len(lines["origin"]) > 1:
		return "origins"
	case slices.ContainsFunc(lines["origin"], func(o string) bool { return strings.Contains(o, "evil") }):
		return "origin"
	}
	return ""
}

func TestRefusalsTellNothingOfTheRequest(t *testing.T) {
	const secret = "s3cr3t"
	var p headParser
	for _, c := range handshakeCases() {
		h := strings.Replace(c.head, "/notification", "/notification?token="+secret, 1)
		h = strings.Replace(h, "\r\n\r\n", "\r\nAuthorization: "+secret+"\r\n\r\n", 1)
		if got := answer(&p, []byte(h), nil); bytes.Contains(got, []byte(secret)) {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

func TestGarbageIsRefusedWithoutPanic(t *testing.T) {
	var p headParser
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		b := []byte(head())
		for range 1 + rnd.IntN(4) {
			b[rnd.IntN(len(b))] = byte(rnd.IntN(256))
		}
		answer(&p, b, nil)
	}
}

// browserHead is what a current browser sends.
var browserHead = head(
	"Host: localhost:3000",
	"Connection: keep-alive, Upgrade",
	"+Pragma: no-cache",
	"+Cache-Control: no-cache",
	"+User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
	"+Origin: http://localhost:3000",
	"+Accept-Encoding: gzip, deflate, br, zstd",
	"+Accept-Language: en-GB,en;q=0.9",
	"+Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
	"+Sec-WebSocket-Protocol: hub.v1.json",
)

func BenchmarkHandshake(b *testing.B) {
	for _, c := range []struct{ name, head string }{{"bare", head()}, {"browser", browserHead}} {
		raw := []byte(c.head)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var p headParser
			for b.Loop() {
				if _, refusal := p.parse(raw, []string{tablePath}, nil); refusal != nil {
					b.Fatal(refusal.Reason)
				}
			}
		})
	}
}

func BenchmarkHeadEnd(b *testing.B) {
	raw := []byte(browserHead)
	for b.Loop() {
		headEnd(raw)
	}
}

func BenchmarkSwitch(b *testing.B) {
	b.ReportAllocs()
	var dst []byte
	for b.Loop() {
		dst = appendSwitch(dst[:0], "dGhlIHNhbXBsZSBub25jZQ==", "hub.v1.json", "")
	}
}
