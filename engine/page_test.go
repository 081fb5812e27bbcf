package engine_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"wshub/engine"
)

// script is a page of so many bytes.
func script(size int) engine.Page {
	return engine.Page{Path: "/a.js", Type: "text/javascript", MaxAge: time.Hour, Body: bytes.Repeat([]byte("x"), size)}
}

// get sends a plain GET with further header lines.
func (c *rawClient) get(t *testing.T, path string, lines ...string) {
	t.Helper()
	head := append([]string{"GET " + path + " HTTP/1.1", "Host: hub.example"}, lines...)
	c.write(t, []byte(strings.Join(head, "\r\n")+"\r\n\r\n"))
}

// fetch reads the whole answer, and the end of the connection.
func (c *rawClient) fetch(t *testing.T) (res *http.Response, body string) {
	t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(c.in); err != nil || len(rest) > 0 || !res.Close {
		t.Errorf("behind the answer: %q, %v; close %v", rest, err, res.Close)
	}
	return res, string(b)
}

func TestPlainGETsAreAnsweredWithPages(t *testing.T) {
	p := script(30_000)
	s := serve(t, engine.Config{Pages: []engine.Page{p}}, echo{})
	ask := func(path string, lines ...string) (*http.Response, string) {
		c := rawTCP(t, s, 0)
		c.get(t, path, lines...)
		return c.fetch(t)
	}
	for _, lines := range [][]string{
		nil,
		{"Origin: https://elsewhere.example"},
		{"Upgrade: h2c", "Connection: Upgrade"},
		{`If-None-Match: "other", W/"other"`},
	} {
		res, body := ask("/a.js?v=1", lines...)
		if res.StatusCode != 200 || body != string(p.Body) || res.Header.Get("Content-Type") != "text/javascript" ||
			res.Header.Get("Access-Control-Allow-Origin") != "*" || res.Header.Get("ETag") != p.ETag() ||
			res.Header.Get("Cache-Control") != "public, max-age=3600" {
			t.Errorf("%q: %v, %d bytes", lines, res, len(body))
		}
	}
	for _, tags := range []string{p.ETag(), "W/" + p.ETag(), `"other", ` + p.ETag(), "*"} {
		res, body := ask("/a.js", "If-None-Match: "+tags)
		if res.StatusCode != 304 || body != "" || res.Header.Get("ETag") != p.ETag() || res.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %v", tags, res)
		}
	}
	if st := s.Stats(); st.Pages != 8 || len(st.Refused) > 0 || st.Open != 0 {
		t.Errorf("%+v", st)
	}
}

func TestOnlyPlainGETsOfThePathGetAPage(t *testing.T) {
	s := serve(t, engine.Config{Pages: []engine.Page{script(10)}}, echo{})
	for head, status := range map[string]int{
		"GET /b.js HTTP/1.1\r\nHost: hub":                                                         426,
		"GET /%61.js HTTP/1.1\r\nHost: hub":                                                       426,
		"GET /a.js/ HTTP/1.1\r\nHost: hub":                                                        426,
		"HEAD /a.js HTTP/1.1\r\nHost: hub":                                                        405,
		"POST /a.js HTTP/1.1\r\nHost: hub\r\nContent-Length: 0":                                   405,
		"GET /a.js HTTP/1.1\r\nHost: hub\r\nContent-Length: 1":                                    413,
		"GET /a.js HTTP/1.0\r\nHost: hub":                                                         400,
		"GET /a.js HTTP/1.1":                                                                      400,
		"GET /a.js HTTP/1.1\r\nHost: a b":                                                         400,
		"GET http://elsewhere/a.js HTTP/1.1\r\nHost: hub":                                         400,
		"GET /a.js HTTP/1.1\r\nHost: hub\r\nX: " + strings.Repeat("x", 8000):                      431,
		strings.TrimSuffix(strings.Replace(request(""), "/notification", "/a.js", 1), "\r\n\r\n"): 404,
	} {
		s := s
		if status == 431 {
			s = serve(t, engine.Config{Pages: []engine.Page{script(10)}, MaxHead: 4 << 10}, echo{})
		}
		c := rawTCP(t, s, 0)
		c.write(t, []byte(head+"\r\n\r\n"))
		if res, err := http.ReadResponse(c.in, nil); err != nil || res.StatusCode != status {
			t.Errorf("%.60q: %v, %v; want %d", head, res, err, status)
		}
	}
}

// A client that asks for a page and does not read it holds up nobody, and is closed.
func TestUnreadPagesHoldNothing(t *testing.T) {
	t.Parallel()
	const places, spare = 10, 192
	s := serve(t, engine.Config{Pollers: 2, MaxConnections: places, SendBuffer: 4 << 10, Pages: []engine.Page{script(200_000)}}, echo{})
	healthy := rawDial(t, s, "")
	const fit, many = places + spare - 1, places + spare + 50
	var clients []*rawClient
	for range fit {
		clients = append(clients, rawTCP(t, s, 1<<10))
	}
	for _, c := range clients {
		c.get(t, "/a.js")
	}
	eventually(t, "the pages are on their way", func() bool { return s.Stats().Pages == fit })
	for range many - fit { // for each the oldest goes, within the time that it has to read
		rawTCP(t, s, 1<<10).get(t, "/a.js")
	}
	eventually(t, "some have gone that were too many", func() bool { return s.Stats().Dropped["closing"] >= 20 })
	healthy.write(t, masked(engine.OpText, "still here"))
	healthy.wantFrame(t, engine.OpText, "still here")
	for range places - 1 {
		rawDial(t, s, "")
	}
	eventually(t, "the others have gone, too", func() bool { st := s.Stats(); return st.Sockets == places && st.Backlog == 0 })
	if st := s.Stats(); st.Open != places || st.Pages != many || len(st.Refused) > 0 {
		t.Errorf("%+v", st)
	}
}

// A slow reader, which takes longer than a closing connection otherwise may, gets all of it.
func TestAPageReachesASlowReader(t *testing.T) {
	t.Parallel()
	p := script(60_000)
	for _, sendBuffer := range []int{4 << 10, 128 << 10} { // queued by us, and by the kernel
		t.Run(fmt.Sprint(sendBuffer), func(t *testing.T) {
			t.Parallel()
			s := serve(t, engine.Config{SendBuffer: sendBuffer, Pages: []engine.Page{p}}, echo{})
			c := rawTCP(t, s, 1<<10)
			c.get(t, "/a.js")
			turn := time.NewTicker(25 * time.Millisecond)
			defer turn.Stop()
			got, buf := 0, make([]byte, 512)
			for err := error(nil); err != io.EOF; {
				<-turn.C
				var n int
				if n, err = c.in.Read(buf); err != nil && err != io.EOF {
					t.Fatalf("%v after %d bytes", err, got)
				}
				got += n
			}
			if got < len(p.Body) {
				t.Errorf("%d bytes came", got)
			}
		})
	}
}

func TestPagesAreBounded(t *testing.T) {
	var many []engine.Page
	for i := range 17 {
		p := script(1)
		p.Path = fmt.Sprint("/", i)
		many = append(many, p)
	}
	for name, list := range map[string][]engine.Page{
		"too many": many, "twice": {script(1), script(2)}, "too large": {script(256<<10 + 1)}, "no path": {{Type: "x"}}, "no type": {{Path: "/x"}},
	} {
		if _, err := engine.New(engine.Config{Addr: "127.0.0.1:0", Pages: list}, echo{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
